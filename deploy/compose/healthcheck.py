"""Is the program of this container well? `healthcheck.py web` or `healthcheck.py worker`; exit code 0 says yes."""

import http.client
import os
import sys
from pathlib import Path

PORT = int(os.environ.get("UVICORN_PORT", "8000"))
PATIENCE = 5.0  # seconds for an answer


def web() -> str:
    """Ask the web server whether it can do its work, as the proxy would; return what is wrong."""
    host = os.environ["ALLOWED_HOSTS"].split(",")[0]
    connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=PATIENCE)
    try:
        connection.request("GET", "/tunnel/readyz", headers={"Host": host, "X-Forwarded-Proto": "https"})
        answer = connection.getresponse()
        said = answer.read().decode("utf-8", "replace")
    except (OSError, http.client.HTTPException) as exc:
        return f"the web server does not answer: {exc}"
    finally:
        connection.close()
    return "" if answer.status == http.client.OK else f"the web server answers {answer.status}: {said}"


def worker() -> str:
    """Nudge the background worker through Redis and see that it works; return what is wrong."""
    import django

    sys.path.insert(0, str(Path.cwd()))
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "yumna_panel.settings")
    django.setup()
    from tunnel.cli.doctor_panel import background_worker

    finding = background_worker()
    return "" if finding.ok else finding.detail


if __name__ == "__main__":
    sys.exit({"web": web, "worker": worker}[sys.argv[1]]() or 0)
