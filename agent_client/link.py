"""The link: one thread that owns the connection to a master, and makes a new one whenever it is gone."""

import contextlib
import logging
import threading
import time
from dataclasses import dataclass
from typing import Optional

from agent_client.backoff import Ending, Jitter
from agent_client.commands import Table
from agent_client.conversation import Conversation, End, Staff
from agent_client.dial import Connection, DialFailed, dial
from agent_client.figures import Sampler
from agent_client.inbox import Inbox
from agent_client.masters import Master, Masters
from agent_client.patience import Patience, Stopped, TimedOut
from agent_client.pool import Pool
from agent_client.printable import printable
from agent_client.protocol import AgentSession
from agent_client.protocol.agent import AgentFacts, Ended
from agent_client.protocol.replay import ReplayGuard
from agent_client.settings import Settings
from agent_client.steady import steady
from agent_client.upgrade import Credentials
from agent_client.wakeup import WakeUp
from agent_client.wire import Wire

CONNECT_TIMEOUT = 15.0  # seconds from the name to the WebSocket; a satellite link with a proxy needs five
REPEAT_LOG = 600.0  # seconds until the same trouble with the same master is told again
DEAF_LOOKS = (
    4  # in a row, each five seconds; a turn takes a second at most, and after 18 the master has hung up
)
FAULT_WAIT = 5.0  # seconds after a fault of our own, so that it cannot fill the log

log = logging.getLogger("agent.link")


@dataclass
class _Told:
    """What the log said last about a master that cannot be reached."""

    reason: str = ""
    at: float = float("-inf")


class Link:
    """Keeps the agent connected until `stop`. All that touches a socket happens in its one thread."""

    def __init__(
        self,
        settings: Settings,
        facts: AgentFacts,
        table: Table,
        pool: Pool,
        sampler: Sampler,
        *,
        jitter: Optional[Jitter] = None,
        connect_timeout: float = CONNECT_TIMEOUT,
    ) -> None:
        self._settings = settings
        self._facts = facts
        self._credentials = Credentials(settings.agent_id, settings.secret)
        self._masters = Masters(settings.masters, jitter)
        self._connect_timeout = connect_timeout
        self._guard = ReplayGuard()
        self._wakeup = WakeUp()
        self._heard = self._deaf_for = 0
        self._stopping = threading.Event()
        self._session = "-"
        self._told: dict[str, _Told] = {}
        self._last: Optional[Ended] = None  # what the next HELLO tells the panel of the last session
        self._staff = Staff(
            table, pool, sampler, Inbox(self._wakeup.wake), self._wakeup, self._stopping.is_set, self._opened
        )
        self._master: Optional[Master] = None
        self._thread = threading.Thread(target=self._run, name="agent-link", daemon=True)

    @property
    def alive(self) -> bool:
        """Tell whether the thread runs; before `stop` it always should."""
        return self._thread.is_alive()

    def trouble(self) -> Optional[str]:
        """Say why no session can begin or go on any more, in a few words; to be asked every few seconds, by one thread.

        Each look wakes the thread, and the next one asks whether it has heard. Looks are counted and not seconds: on a
        machine that slept, nobody looked.
        """
        if not self.alive:
            return "the link's thread ended"
        heard = self._wakeup.heard
        self._deaf_for = 0 if heard != self._heard else self._deaf_for + 1
        self._heard = heard
        self._wakeup.wake()
        return "the link's thread hangs" if self._deaf_for >= DEAF_LOOKS else None

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self, timeout: float) -> None:
        """Close the session and end the thread, waiting for it at most `timeout` seconds."""
        self._stopping.set()
        self._wakeup.wake()
        if self._thread.ident is not None:
            self._thread.join(timeout)

    def _run(self) -> None:
        with contextlib.suppress(Stopped):
            while not self._stopping.is_set():
                self._survive()

    def _survive(self) -> None:
        """Take one turn; a fault of our own costs the session, never the agent."""
        try:
            self._turn()
        except Stopped:
            raise
        except Exception:
            log.exception("the link failed, agent=%s session=%s", self._settings.agent_id, self._session)
            self._pause(FAULT_WAIT)

    def _turn(self) -> None:
        """Wait until a master may be dialled, dial it, and talk until that ends."""
        master = self._master = self._masters.choose(steady())
        self._pause(master.not_before - steady())
        try:
            connection = self._dial(master)
        except DialFailed as exc:
            wait = self._masters.ended(master, exc.ending, steady())
            self._tell(master, str(exc), wait)
            return
        end = self._talk(connection)
        self._last = Ended(end.reason, steady())
        if self._stopping.is_set():
            self._log_end(end, "")
            return
        wait = self._masters.ended(master, end.ending, steady(), lived=end.lived, retry_after=end.retry_after)
        self._log_end(end, f", next try in {wait:.1f} s")

    def _dial(self, master: Master) -> Connection:
        patience = Patience(self._connect_timeout, self._wakeup, self._stopping.is_set)
        return dial(master.address, self._credentials, self._settings.ca_file, patience)

    def _talk(self, connection: Connection) -> End:
        now = steady()
        session = AgentSession(
            self._facts, self._guard, now=now, wall_offset=time.time() - now, last=self._last
        )
        wire = Wire(connection)
        try:
            return Conversation(wire, session, self._staff).run()
        finally:
            self._staff.inbox.close()
            wire.close()

    def _pause(self, seconds: float) -> None:
        patience = Patience(max(0.0, seconds), self._wakeup, self._stopping.is_set)
        try:
            while patience.remaining:
                patience.wait()
        except TimedOut:
            return

    def _opened(self, session: str) -> None:
        assert self._master is not None  # noqa: S101 - a session has a master
        self._session = session = printable(session)  # a word of the master
        self._told.clear()
        self._masters.good(self._master)
        log.info(
            "tunnel open agent=%s session=%s master=%s",
            self._settings.agent_id,
            session,
            self._master.address.url,
        )

    def _log_end(self, end: End, then: str) -> None:
        log.log(
            logging.WARNING if end.ending in (Ending.REVOKED, Ending.REPLACED) else logging.INFO,
            "tunnel closed agent=%s session=%s after=%.0fs: %s%s%s",
            self._settings.agent_id,
            self._session,
            end.lived,
            end.reason,
            ADVICE.get(end.ending, ""),
            then,
        )
        self._session = "-"

    def _tell(self, master: Master, reason: str, wait: float) -> None:
        """Log why there is no connection: at once when it is news, else now and then."""
        told = self._told.setdefault(master.address.url, _Told())
        now = steady()
        news = reason != told.reason or now - told.at >= REPEAT_LOG
        if news:
            told.reason, told.at = reason, now
        log.log(
            logging.WARNING if news else logging.DEBUG,
            "no tunnel agent=%s session=- master=%s: %s, next try in %.1f s",
            self._settings.agent_id,
            master.address.url,
            reason,
            wait,
        )


ADVICE = {
    Ending.REVOKED: ": see in the panel whether the server is suspended, has a new secret or another connection type",
    Ending.REPLACED: ": another agent connected with this id, give every machine an id of its own",
}
