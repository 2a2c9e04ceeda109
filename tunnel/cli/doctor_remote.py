"""The doctor's steps from here to a panel: address, name, connection, TLS, the panel itself, token, rights."""

import json
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, Final

from tunnel.cli.address import ALLOW_INSECURE
from tunnel.cli.exits import Exit, Failure
from tunnel.cli.facts import Node
from tunnel.cli.finding import Finding
from tunnel.cli.rest import Rest, without_password

DEADLINE: Final = 10.0  # seconds for each step
SOON: Final = 14  # days; a certificate or a token that ends within them is worth a word
DAY: Final = 86_400.0  # seconds
CHECK_ADDRESS: Final = "check the address, the firewall, and that the panel runs"
RENEW: Final = "make a new token in the panel's admin"


def steps(rest: Rest, nodes: Callable[[], list[Node]]) -> Iterator[Finding]:
    """Check each step, and none beyond the first that fails."""
    for step in (_address, _name, _connection, _tls, _health, _ready, _token):
        finding = step(rest)
        if finding is not None:
            yield finding
            if finding.ok is False:
                return
    yield _rights(nodes)


def _address(rest: Rest) -> Finding:
    where = rest.where
    if where.secure:
        return Finding("address", True, str(where))
    why = "it is this machine" if where.loopback else f"{ALLOW_INSECURE}=1 allows it"
    return Finding("address", None, f"{where} is not encrypted; {why}")


def _name(rest: Rest) -> Finding:
    if rest.proxy:
        return Finding("name", None, f"the proxy {without_password(rest.proxy)} looks it up")
    host = rest.where.host
    try:
        found = socket.getaddrinfo(host, rest.where.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as exc:
        detail = f"there is no address for {host}: {getattr(exc, 'strerror', None) or exc}"
        return Finding(
            "name", False, detail, "check the name, and the resolver of this machine", Exit.NO_LAYER
        )
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    return Finding("name", True, f"{host} is {', '.join(addresses)}")


def _connection(rest: Rest) -> Finding | None:
    if rest.proxy:
        return None  # the panel's own step tells whether the proxy leads there
    where, began = rest.where, time.monotonic()
    try:
        socket.create_connection((where.host, where.port), timeout=DEADLINE).close()
    except OSError as exc:
        reason = exc.strerror or ("no answer in time" if isinstance(exc, TimeoutError) else str(exc))
        return Finding(
            "connection", False, f"port {where.port} of {where.host}: {reason}", CHECK_ADDRESS, Exit.NO_LAYER
        )
    return Finding("connection", True, f"port {where.port} answers in {_ms(began)}")


def _tls(rest: Rest) -> Finding | None:
    where = rest.where
    if not where.secure or rest.proxy:
        return None
    try:
        with (
            socket.create_connection((where.host, where.port), timeout=DEADLINE) as raw,
            rest.tls.wrap_socket(raw, server_hostname=where.host) as secured,
        ):
            certificate, version = secured.getpeercert() or {}, secured.version()
    except ssl.SSLCertVerificationError as exc:
        fix = "name the file of its authority with --ca-file, or give the panel a certificate for this name"
        return Finding(
            "TLS", False, f"the certificate is not trusted: {exc.verify_message}", fix, Exit.NO_LAYER
        )
    except OSError as exc:
        detail = f"no handshake: {getattr(exc, 'reason', None) or exc.strerror or exc}"
        return Finding("TLS", False, detail, "check that this port speaks TLS, 1.2 or newer", Exit.NO_LAYER)
    return _certificate(dict(certificate), version or "TLS")


def _certificate(certificate: dict[str, Any], version: str) -> Finding:
    names = ", ".join(value for _, value in certificate.get("subjectAltName", ())[:3])
    issuer = {key: value for part in certificate.get("issuer", ()) for key, value in part}
    by = issuer.get("organizationName") or issuer.get("commonName") or "nobody named"
    days = int((ssl.cert_time_to_seconds(certificate["notAfter"]) - time.time()) // DAY)
    detail = f"{version}, for {names}, by {by}, {days} days left"
    return Finding("TLS", None if days < SOON else True, detail, "renew it" if days < SOON else "")


def _health(rest: Rest) -> Finding:
    return _fetched(rest, "/tunnel/healthz", "panel", "its process is well")


def _ready(rest: Rest) -> Finding:
    return _fetched(rest, "/tunnel/readyz", "panel ready", "database and channel layer answer")


def _fetched(rest: Rest, path: str, step: str, well: str) -> Finding:
    began = time.monotonic()
    try:
        answer = rest.get(path, patience=DEADLINE)
    except Failure as exc:
        return Finding(step, False, str(exc), CHECK_ADDRESS, exc.code)
    if answer.status == HTTPStatus.OK:
        return Finding(step, True, f"{well}, told in {_ms(began)}")
    if answer.status == HTTPStatus.SERVICE_UNAVAILABLE:
        fix = "on the panel's host: manage.py tunnel doctor"
        return Finding(step, False, f"it is not: {_reasons(answer.body)}", fix, Exit.NO_LAYER)
    return Finding(step, None, f"{path} answers {answer.status}, so this cannot be seen from here")


def _reasons(body: bytes) -> str:
    try:
        told = json.loads(body)
    except (ValueError, RecursionError):
        return "503"
    if not isinstance(told, dict):
        return "503"
    return ", ".join(f"{key} {value}" for key, value in told.items()) or "503"


def _token(rest: Rest) -> Finding:
    try:
        me = rest.call("GET", "me/", patience=DEADLINE)
    except Failure as exc:
        fix = RENEW if exc.code is Exit.REFUSED else CHECK_ADDRESS
        return Finding("token", False, str(exc), fix, exc.code)
    parts = [f"it acts for {me.get('user')}"]
    for name, word in (("scopes", "may"), ("groups", "on the groups")):
        if isinstance(me.get(name), list) and me[name]:
            parts.append(f"{word} {', '.join(map(str, me[name]))}")
    days = _days_left(me.get("expires_at"))
    if days is not None:
        parts.append(f"{days} days left")
    soon = days is not None and days < SOON
    return Finding("token", None if soon else True, "; ".join(parts), RENEW if soon else "")


def _days_left(text: object) -> int | None:
    try:
        ends = datetime.fromisoformat(str(text or ""))
    except ValueError:
        return None
    return int((ends.replace(tzinfo=ends.tzinfo or UTC).timestamp() - time.time()) // DAY)


def _rights(nodes: Callable[[], list[Node]]) -> Finding:
    try:
        seen = nodes()
    except Failure as exc:
        fix = "ask whoever gives permissions on the panel"
        return Finding("rights", False, str(exc), fix, exc.code)
    if not seen:
        fix = "ask for a right on a group of servers, or for a token of such a group"
        return Finding("rights", None, "this token sees no server", fix)
    active = sum(node.active for node in seen)
    return Finding("rights", True, f"it sees {len(seen)} servers, {active} of them connected")


def _ms(began: float) -> str:
    return f"{(time.monotonic() - began) * 1000:.0f} ms"
