"""`yumna-agent doctor`: what stands between this node and its panel, step by step, and what to do about it.

It dials as the agent does, but its handshake is only tried (docs/protocol.md §1): a running agent keeps its tunnel.
"""

import contextlib
import selectors
import ssl
import sys
import time
from collections.abc import Iterator
from typing import Any, Optional, TextIO, TypeVar, Union

from agent_client import proxy
from agent_client.address import Address, bracketed
from agent_client.advice import CLOCK, HANDSHAKE_FIX, of_answer, of_tls
from agent_client.dial import (
    AddressInfo,
    Connection,
    Socket,
    ask_proxy,
    connect,
    in_words,
    resolve,
    secure,
    tune,
)
from agent_client.finding import Exit, Finding, tell
from agent_client.patience import Patience, TimedOut
from agent_client.printable import printable
from agent_client.protocol import CloseCode, ProtocolError
from agent_client.protocol.handshake import CHECK_SUBPROTOCOL
from agent_client.protocol.messages import HandshakeAck, Ping, Pong, from_master
from agent_client.proxy import Proxy, WrongProxy
from agent_client.reader import Closed
from agent_client.settings import Settings
from agent_client.steady import steady
from agent_client.tls import in_words as tls_in_words
from agent_client.upgrade import Credentials, WrongAnswer, upgrade
from agent_client.wakeup import WakeUp
from agent_client.wire import Wire, WireLost

DEADLINE = 10.0  # seconds for each step; the agent itself gives up after 15 for all of them
CLOCK_TOLERANCE = 5.0  # seconds between the clocks that nobody notices
DAY = 86_400.0  # seconds
SOON = 14  # days; a certificate that ends within them is worth a word

Message = TypeVar("Message")


def run(settings: Settings, out: Optional[TextIO] = None, *, deadline: float = DEADLINE) -> int:
    """Print each step; the exit code is that of the first that failed."""
    code = Exit.DONE
    try:
        for finding in findings(settings, deadline):
            tell(finding, out or sys.stdout)
            if finding.ok is False and code is Exit.DONE:
                code = finding.code
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    return code


def findings(settings: Settings, deadline: float = DEADLINE) -> Iterator[Finding]:
    """Check the way to each master of the list; the walk to one ends with the first step that fails."""
    for warning in settings.warnings:
        yield Finding("settings", None, warning)
    yield Finding("settings", True, f"this is {settings.agent_id}")
    for address in settings.masters:
        with contextlib.closing(_Walk(settings, address, deadline)) as walk:
            yield from walk.steps()


class _Walk:
    """The way to one master, `deadline` seconds a step."""

    def __init__(self, settings: Settings, address: Address, deadline: float) -> None:
        self._settings = settings
        self._address = address
        self._deadline = deadline
        self._wakeup = WakeUp()
        self._proxy: Optional[Proxy] = None
        self._infos: list[AddressInfo] = []
        self._sock: Optional[Socket] = None
        self._received = b""
        self._round_trip = 0.0
        self._pong: Optional[Pong] = None
        self._heard_at = 0.0  # on the node's wall clock

    def close(self) -> None:
        """Give back what is open."""
        if self._sock is not None:
            self._sock.close()
        self._wakeup.close()

    def steps(self) -> Iterator[Finding]:
        """Check each step, and none beyond the first that fails."""
        yield Finding("address", True, self._address.url)
        for step in (
            self._choose_proxy,
            self._resolve,
            self._connect,
            self._ask_proxy,
            self._secure,
            self._upgrade,
            self._talk,
            self._compare_clocks,
        ):
            found = step()
            if found is not None:
                yield found
                if found.ok is False:
                    return

    @property
    def _next(self) -> Union[Proxy, Address]:
        """Whom we connect to."""
        return self._proxy or self._address

    def _choose_proxy(self) -> Optional[Finding]:
        try:
            self._proxy = proxy.proxy_for(self._address)
        except WrongProxy as exc:
            return Finding("proxy", False, str(exc), "correct https_proxy, or name the panel in no_proxy")
        if self._proxy is None:
            return None
        where = f"{bracketed(self._proxy.host)}:{self._proxy.port}"
        return Finding("proxy", None, f"the environment names {where}, which has to reach the panel for us")

    def _resolve(self) -> Finding:
        host = self._next.host
        fix = "check the name, and this node's resolver (/etc/resolv.conf)"
        try:
            self._infos = resolve(host, self._next.port, self._patience())
        except TimedOut:
            detail = f"the resolver said nothing of {host} within {self._deadline:g} s"
            return Finding("name", False, detail, fix)
        except OSError as exc:
            return Finding("name", False, f"there is no address for {host}: {in_words(exc)}", fix)
        addresses = list(dict.fromkeys(str(info[4][0]) for info in self._infos))
        return Finding("name", True, f"{host} is {', '.join(addresses)}")

    def _connect(self) -> Finding:
        where, began = f"port {self._next.port} of {self._next.host}", steady()
        fix = (
            f"check that the panel runs, and that this node may connect to port {self._next.port} (firewall)"
        )
        try:
            self._sock = connect(self._infos, self._patience())
        except TimedOut:
            return Finding("connection", False, f"{where}: no answer within {self._deadline:g} s", fix)
        except OSError as exc:
            return Finding("connection", False, f"{where}: {in_words(exc)}", fix)
        tune(self._sock)
        return Finding("connection", True, f"{where} answers in {_ms(steady() - began)}")

    def _ask_proxy(self) -> Optional[Finding]:
        if self._proxy is None:
            return None
        fix = "let the proxy connect to the panel's port, or name the panel in no_proxy"
        try:
            ask_proxy(self._open, self._proxy, self._address, self._patience())
        except TimedOut:
            detail = f"the proxy did not connect us within {self._deadline:g} s"
            return Finding("way through the proxy", False, detail, fix)
        except WrongProxy as exc:
            return Finding("way through the proxy", False, str(exc), fix)
        except OSError as exc:
            return Finding("way through the proxy", False, in_words(exc), fix)
        return Finding("way through the proxy", True, f"it connects us to {self._address.host}")

    def _secure(self) -> Finding:
        if not self._address.secure:
            return Finding("TLS", None, "not encrypted; the panel is this machine")
        try:
            secured = secure(self._open, self._address.host, self._settings.ca_file, self._patience())
        except TimedOut:
            detail = f"no handshake within {self._deadline:g} s"
            return Finding("TLS", False, detail, "check that this port is the panel's https:// port")
        except ssl.SSLError as exc:
            return Finding("TLS", False, tls_in_words(exc), of_tls(exc, self._address, time.time()))
        except OSError as exc:
            detail = f"the handshake broke off: {in_words(exc)}"
            return Finding("TLS", False, detail, "check that this port is the panel's https:// port")
        self._sock = secured
        return _certificate(secured)

    def _upgrade(self) -> Finding:
        credentials = Credentials(self._settings.agent_id, self._settings.secret)
        try:
            done = upgrade(self._open, self._address, credentials, self._patience(), CHECK_SUBPROTOCOL)
        except WrongAnswer as exc:
            detail, fix = of_answer(exc, self._settings.agent_id)
            code = Exit.REFUSED if exc.refused else Exit.NO_LAYER
            return Finding("handshake", False, detail, fix, code)
        except TimedOut:
            detail = f"the panel did not answer within {self._deadline:g} s"
            return Finding("handshake", False, detail, HANDSHAKE_FIX)
        except OSError as exc:
            return Finding("handshake", False, f"it broke off: {in_words(exc)}", HANDSHAKE_FIX)
        self._received = done.received
        if done.subprotocol == CHECK_SUBPROTOCOL:
            return Finding("handshake", True, "the panel lets this agent in")
        detail = (
            "let in, but by a panel that cannot only try: an agent that runs here was cut, and dials again"
        )
        return Finding("handshake", None, detail)

    def _talk(self) -> Finding:
        """Wait for HANDSHAKE_ACK, then measure the line with a PING."""
        wire, patience = Wire(Connection(self._open, self._received)), self._patience()
        fix = f"on the panel's host: manage.py tunnel doctor {self._settings.agent_id}"
        awaited = "HANDSHAKE_ACK"
        try:
            _next_message(wire, HandshakeAck, patience)
            awaited, began = "PONG", steady()
            wire.outbox.message(Ping(round(time.time(), 3)).to_text())
            self._pong = _next_message(wire, Pong, patience)
        except TimedOut:
            return Finding("panel", False, f"no {awaited} within {self._deadline:g} s", fix)
        except (WireLost, ProtocolError) as exc:
            return Finding("panel", False, f"no {awaited}: {printable(str(exc))}", fix)
        self._round_trip, self._heard_at = steady() - began, time.time()
        with contextlib.suppress(WireLost):  # it may have closed already
            wire.outbox.close(CloseCode.NORMAL)
            wire.write()
        return Finding("panel", True, f"it answers in {_ms(self._round_trip)}")

    def _compare_clocks(self) -> Finding:
        there = self._pong.server_time if self._pong else None
        if there is None:
            return Finding("clock", None, "the panel does not tell its time")
        ahead = self._heard_at - (there + self._round_trip / 2)
        if abs(ahead) <= CLOCK_TOLERANCE + self._round_trip / 2:
            return Finding("clock", True, "this node and the panel agree")
        way = "ahead of" if ahead > 0 else "behind"
        return Finding(
            "clock", False, f"this node's clock is {abs(ahead):.0f} s {way} the panel's", CLOCK, Exit.FAILED
        )

    @property
    def _open(self) -> Socket:
        assert self._sock is not None  # noqa: S101 - the step before opened it
        return self._sock

    def _patience(self) -> Patience:
        return Patience(self._deadline, self._wakeup, lambda: False)


def _next_message(wire: Wire, wanted: "type[Message]", patience: Patience) -> Message:
    """Send what waits, and return the next message of a kind; all others are dropped.

    Raises:
        TimedOut: none came in time.
        WireLost: the connection is over.
        ProtocolError: what came is no tunnel's.
    """
    while patience.remaining:
        wire.write()
        if not wire.pending:
            patience.wait(wire, wire.events(reading=True) or selectors.EVENT_READ)
        for item in wire.read()[1]:
            if isinstance(item, Closed):
                raise WireLost(f"the panel closed with code {item.code}")
            message = from_master(item) if isinstance(item, str) else None
            if isinstance(message, wanted):
                return message
    raise TimedOut  # much came, but not that


def _certificate(secured: ssl.SSLSocket) -> Finding:
    certificate: dict[str, Any] = dict(secured.getpeercert() or {})
    names = ", ".join(value for _, value in certificate.get("subjectAltName", ())[:3])
    days = int((ssl.cert_time_to_seconds(certificate["notAfter"]) - time.time()) // DAY)
    detail = f"{secured.version()}, for {printable(names)}, {days} days left"
    return Finding(
        "TLS", None if days < SOON else True, detail, "renew the certificate" if days < SOON else ""
    )


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms"
