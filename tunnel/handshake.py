"""May this agent in? The checks of docs/protocol.md §1, cheapest first, before any WebSocket is accepted."""

import asyncio
import hmac
import ipaddress
import os
import time
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from django.conf import settings as django_settings

from agent_client.protocol.handshake import (
    CHECK_SUBPROTOCOL,
    ID_HEADER,
    SECRET_HEADER,
    SUBPROTOCOL,
    valid_agent_id,
    valid_secret,
)
from servers import credentials
from servers.models import Server
from servers.threads import in_thread
from tunnel.attempts import Attempts
from tunnel.conf import settings
from tunnel.models import RefusalReason
from tunnel.sessions import Welcome

Scope = dict[str, Any]

SLOW_CHECKS = 2  # threads for chosen secrets; each check takes a core for about half a second
SLOW_WAITING = 8  # checks that may wait for one of them; beyond it the handshake is answered 5xx
REMEMBERED_FOR = 3600.0  # seconds a checked chosen secret is not hashed again
MAX_REMEMBERED = 2_000

_slow_pool = ThreadPoolExecutor(SLOW_CHECKS, thread_name_prefix="tunnel-secret")
_slow_under_way = 0
_checked: OrderedDict[bytes, float] = OrderedDict()
_checked_key = os.urandom(32)
attempts = Attempts()


class Refused(Exception):
    """The agent may not in; the sentence is for the log, the agent sees none.

    `reason` is what an operator is shown of it, None when the handshake named no agent.
    """

    def __init__(self, sentence: str, reason: RefusalReason | None = None) -> None:
        super().__init__(sentence)
        self.reason = reason


class Overloaded(Exception):
    """Too many chosen secrets are being checked; the agent may try again."""


@dataclass(frozen=True)
class Admission:
    """An agent that may in, and how it dialled; `trial` when it only wants to know whether it may."""

    welcome: Welcome
    basic: bool
    address: str
    trial: bool = False


async def judge(scope: Scope) -> Admission:
    """Run every check in order.

    Raises:
        Refused: one of them failed.
        Overloaded: no thread is free to check a chosen secret.
        django.db.Error: the database is away.
    """
    agent_id, secret = _credentials(scope)
    address = client_address(scope)
    if not secure(scope):
        sentence = "the connection is not secure: dial wss://, or name the proxy in TUNNEL_TRUSTED_PROXIES"
        raise Refused(sentence, RefusalReason.NOT_SECURE)
    _hold_back(address, agent_id)
    try:
        welcome = await _identify(agent_id, secret)
    except Refused:
        attempts.failed(address, agent_id)
        raise
    _hold_back(address, agent_id)  # of guesses sent side by side, all begin before the first has failed
    attempts.succeeded(address, agent_id)
    offered = scope.get("subprotocols", ())
    return Admission(welcome, SUBPROTOCOL not in offered, address, CHECK_SUBPROTOCOL in offered)


def _hold_back(address: str, agent_id: str) -> None:
    if not attempts.allowed(address, agent_id):
        raise Refused("too many failures from this address", RefusalReason.TOO_MANY)


def claimed_id(scope: Scope) -> str:
    """The agent id a refused handshake claimed, for the log; control characters escaped, bounded."""
    return ",".join(_header(scope, ID_HEADER)).encode("unicode_escape").decode()[:80] or "-"


def secure(scope: Scope) -> bool:
    """Tell whether the connection is encrypted as far as this process can know."""
    if scope.get("scheme") == "wss" or settings.TLS_ONLY:
        return True
    if _trusted(_peer(scope)):
        return _last(_header(scope, "X-Forwarded-Proto")) == "https"
    forwarded = any(name == b"forwarded" or name.startswith(b"x-forwarded-") for name, _ in scope["headers"])
    return bool(django_settings.DEBUG) and _loopback(_peer(scope)) and not forwarded


def from_trusted_proxy(scope: Scope) -> bool:
    """Tell whether the peer is a proxy whose headers are believed."""
    return _trusted(_peer(scope))


def client_address(scope: Scope) -> str:
    """The address the agent dials from: the last hop that is no trusted proxy.

    A hop that is no address was not written by a proxy, and is text of a stranger: the proxy before it counts.
    """
    address = _peer(scope)
    hops = [hop.strip() for value in _header(scope, "X-Forwarded-For") for hop in value.split(",")]
    while hops and _trusted(address) and _is_address(hops[-1]):
        address = hops.pop()
    return address


def _credentials(scope: Scope) -> tuple[str, str]:
    ids, secrets = _header(scope, ID_HEADER), _header(scope, SECRET_HEADER)
    if len(ids) != 1 or len(secrets) != 1:
        raise Refused("the id or the secret header is missing or doubled")
    if not valid_agent_id(ids[0]):
        raise Refused("the id has no valid shape")
    if not valid_secret(secrets[0].encode("latin-1")):
        raise Refused("the secret has no valid shape")
    return ids[0], secrets[0]


def _header(scope: Scope, name: str) -> list[str]:
    wanted = name.lower().encode()
    return [value.decode("latin-1") for key, value in scope["headers"] if key.lower() == wanted]


def _last(values: list[str]) -> str:
    return values[-1].split(",")[-1].strip().lower() if values else ""


def _peer(scope: Scope) -> str:
    """The TCP peer, or `unix` for a unix socket, which has none."""
    client = scope.get("client")
    return client[0] if client and client[0] else "unix"


def _trusted(address: str) -> bool:
    networks = settings.TRUSTED_PROXIES
    if address in networks:
        return True
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    return any(ip in ipaddress.ip_network(network, strict=False) for network in networks if network != "unix")


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return "%" not in text  # a zone is any text


def _loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


async def _identify(agent_id: str, secret: str) -> Welcome:
    row = await in_thread(_row, agent_id)
    stored = row["secret_digest"] if row else ""
    if not await _matches(agent_id, secret, stored or credentials.DUMMY_DIGEST) or row is None or not stored:
        raise Refused("unknown id or wrong secret", RefusalReason.WRONG_SECRET)
    if row["connection_type"] != Server.ConnectionType.TUNNEL:
        sentence = f"connection_type is {row['connection_type']}, not tunnel"
        raise Refused(sentence, RefusalReason.NO_TUNNEL)
    if row["status"] not in (Server.Status.UNKNOWN, Server.Status.ACTIVE):
        raise Refused(f"status is {row['status']}", RefusalReason.SUSPENDED)
    return Welcome(row["pk"], agent_id, row["secret_version"])


def _row(agent_id: str) -> dict[str, Any] | None:
    fields = ("pk", "agent_id", "secret_digest", "secret_version", "connection_type", "status")
    row = Server.objects.filter(agent_id=agent_id).values(*fields).first()
    # A case-insensitive collation must not let `Web-01` in as `web-01`.
    return dict(row) if row is not None and row["agent_id"] == agent_id else None


async def _matches(agent_id: str, secret: str, stored: str) -> bool:
    if not credentials.is_slow(stored):
        return credentials.matches(secret, stored)
    mark = hmac.digest(_checked_key, f"{agent_id}\0{secret}\0{stored}".encode(), "sha256")
    if time.monotonic() - _checked.get(mark, -REMEMBERED_FOR) < REMEMBERED_FOR:
        return True
    matches = await _slow_match(secret, stored)
    if matches:
        _checked[mark] = time.monotonic()
        if len(_checked) > MAX_REMEMBERED:
            _checked.popitem(last=False)
    return matches


async def _slow_match(secret: str, stored: str) -> bool:
    global _slow_under_way
    if _slow_under_way >= SLOW_CHECKS + SLOW_WAITING:
        raise Overloaded
    _slow_under_way += 1
    try:
        return await asyncio.get_running_loop().run_in_executor(
            _slow_pool, credentials.matches, secret, stored
        )
    finally:
        _slow_under_way -= 1
