"""What other threads have to say in a session: a bounded queue that the link's thread empties."""

import threading
from collections import deque
from typing import Callable, Optional

from agent_client.protocol import AgentSession

LIMIT = 16  # entries; a thread that brings one more waits, so that replies cannot pile up before a slow line

Say = Callable[[AgentSession], None]
Dropped = Callable[[], None]


class Inbox:
    """Entries belong to one session and are dropped with it. `wake` is called after each new one."""

    def __init__(self, wake: Callable[[], None], limit: int = LIMIT) -> None:
        self._wake = wake
        self._limit = limit
        self._changed = threading.Condition()
        self._session: Optional[AgentSession] = None
        self._entries: deque[tuple[Say, Optional[Dropped]]] = deque()

    def open(self, session: AgentSession) -> None:
        """Take entries for `session` from now on."""
        self._exchange(session)

    def close(self) -> None:
        """Drop all entries and let go who waits to bring one."""
        self._exchange(None)

    def put(self, session: AgentSession, say: Say, dropped: Optional[Dropped] = None) -> bool:
        """Bring an entry, waiting for room; tell whether the session was still there to take it.

        `dropped` is called, in whatever thread, when the entry is never heard.
        """
        with self._changed:
            while self._session is session and len(self._entries) >= self._limit:
                self._changed.wait()
            there = self._session is session
            if there:
                self._entries.append((say, dropped))
        if there:
            self._wake()
        elif dropped is not None:
            dropped()
        return there

    def offer(self, session: AgentSession, say: Say) -> bool:
        """Bring an entry only if there is room now."""
        with self._changed:
            if self._session is not session or len(self._entries) >= self._limit:
                return False
            self._entries.append((say, None))
        self._wake()
        return True

    def take(self) -> Optional[Say]:
        """Return the oldest entry, or None."""
        with self._changed:
            if not self._entries:
                return None
            self._changed.notify()
            return self._entries.popleft()[0]

    def _exchange(self, session: Optional[AgentSession]) -> None:
        with self._changed:
            self._session = session
            unheard = [dropped for _, dropped in self._entries if dropped is not None]
            self._entries.clear()
            self._changed.notify_all()
        for dropped in unheard:
            dropped()
