"""The doctor's steps on the way agents take: the public URL, and a WebSocket upgrade through whatever stands before us."""

import base64
import http.client
import os
import secrets
import ssl
from collections.abc import Iterator
from urllib.parse import SplitResult, urlsplit

from agent_client.protocol.handshake import SUBPROTOCOL
from tunnel.cli.finding import Finding
from tunnel.conf import settings

DEADLINE = 10.0  # seconds; a refused handshake is answered after one
PORTS = {"http": 80, "ws": 80, "https": 443, "wss": 443}
PUBLIC_LINE = "TUNNEL_PUBLIC_URL=https://panel.example.org"
NGINX = 'nginx: proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection "upgrade"'
PROXY = "behind a proxy that speaks TLS: name it in TUNNEL_TRUSTED_PROXIES and let it set X-Forwarded-Proto"

MEANINGS = {
    101: ("a made-up agent id was let in: this is not the panel", "point the public URL at the panel"),
    400: ("the upgrade was refused as malformed", NGINX),
    404: ("nothing answers at /tunnel, or the upgrade was lost on the way", NGINX),
    426: ("the upgrade was lost on the way", NGINX),
    500: ("the panel failed", "look at the panel's log"),
    502: ("the proxy does not reach the panel", "start the panel, or correct the proxy's upstream"),
    503: ("the proxy does not reach the panel", "start the panel, or correct the proxy's upstream"),
    504: ("the proxy gave up waiting for the panel", "raise proxy_read_timeout above 90 s"),
}


def steps(ca_file: str | None) -> Iterator[Finding]:
    """Judge the public URL and try it."""
    url = settings.PUBLIC_URL
    if not url:
        yield Finding("public URL", None, "not set: `tunnel add --env` prints a placeholder", PUBLIC_LINE)
        return
    parts = urlsplit(url)
    if parts.scheme not in PORTS or not parts.hostname:
        yield Finding("public URL", False, f"{url} is no address of a panel", PUBLIC_LINE)
        return
    secure = parts.scheme in ("https", "wss")
    insecure_words = f"{url} is not encrypted: agents dial it on this machine only"
    yield Finding(
        "public URL",
        True if secure else None,
        url if secure else insecure_words,
        "" if secure else PUBLIC_LINE,
    )
    yield _upgrade(parts, ca_file, secure=secure)


def _upgrade(parts: SplitResult, ca_file: str | None, *, secure: bool) -> Finding:
    step = "WebSocket upgrade"
    try:
        status = _status(parts, ca_file, secure=secure)
    except ssl.SSLCertVerificationError as exc:
        fix = "agents need MASTER_CA_FILE=<its PEM> (try doctor --ca-file), or take a certificate of a known authority"
        return Finding(step, False, f"the certificate is not trusted here: {exc.verify_message}", fix)
    except (OSError, http.client.HTTPException) as exc:
        return Finding(
            step, False, f"{parts.netloc} cannot be reached: {exc}", "check name, port, firewall and proxy"
        )
    if status == http.HTTPStatus.FORBIDDEN:
        return Finding(step, True, "reaches the panel, which refuses a made-up agent id (403)")
    meaning, fix = MEANINGS.get(status, ("something else than the panel answers", NGINX))
    return Finding(step, False, f"{meaning} ({status})", fix)


def _status(parts: SplitResult, ca_file: str | None, *, secure: bool) -> int:
    port = parts.port or PORTS[parts.scheme]
    connection: http.client.HTTPConnection
    if secure:
        context = ssl.create_default_context(cafile=ca_file)
        connection = http.client.HTTPSConnection(str(parts.hostname), port, timeout=DEADLINE, context=context)
    else:
        connection = http.client.HTTPConnection(str(parts.hostname), port, timeout=DEADLINE)
    try:
        connection.request("GET", _path(parts.path), headers=_headers())
        return connection.getresponse().status
    finally:
        connection.close()


def _path(path: str) -> str:
    """As the agent makes it: `/tunnel` is appended unless it is the last segment."""
    path = path.rstrip("/")
    return path if path.endswith("/tunnel") else f"{path}/tunnel"


def _headers() -> dict[str, str]:
    return {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
        "Sec-WebSocket-Protocol": SUBPROTOCOL,
        "X-Agent-ID": f"doctor-{secrets.token_hex(8)}",  # new each time: failures are counted by id
        "X-Agent-Secret": secrets.token_urlsafe(16),
    }
