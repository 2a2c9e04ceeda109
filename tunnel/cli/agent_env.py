"""The `.env` of an agent, printed once with its secret."""

import ipaddress
from urllib.parse import urlsplit

from tunnel.cli.facts import Secret
from tunnel.cli.output import Output

PLACEHOLDER = "https://panel.example.org"


def lines(made: Secret) -> list[str]:
    """Return the lines of the file, ready to paste."""
    url = made.master_url
    comment = (
        []
        if url
        else ["# TUNNEL_PUBLIC_URL is not set on the panel: write the address nodes reach it at here"]
    )
    insecure = ["ALLOW_INSECURE=1"] if _plain_loopback(url) else []
    values = [f"MASTER_URL={url or PLACEHOLDER}", f"AGENT_ID={made.agent_id}", f"AGENT_SECRET={made.secret}"]
    return ["CONNECTION_MODE=tunnel", *comment, *values, *insecure]


def tell(out: Output, made: Secret) -> None:
    """Print the lines, and on stderr what to do with them."""
    if out.as_json:
        env = {name: value for name, _, value in (line.partition("=") for line in lines(made)) if value}
        out.record({"name": made.name, "agent_id": made.agent_id, "env": env})
    else:
        for line in lines(made):
            out.line(line)
    out.note(
        "the secret is shown this once; save these lines on the node as .env (chmod 600) and start the agent there:"
    )
    out.note("  python3 -m agent_client")
    if not made.master_url:
        out.note(
            f"set TUNNEL_PUBLIC_URL on the panel and MASTER_URL is right from the start; now it is {PLACEHOLDER}"
        )


def _plain_loopback(url: str) -> bool:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "ws"):
        return False
    try:
        return parts.hostname == "localhost" or ipaddress.ip_address(parts.hostname or "").is_loopback
    except ValueError:
        return False
