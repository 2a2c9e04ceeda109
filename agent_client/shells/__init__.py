"""The shells of this node: opened, found again, listed, ended. Imported when the first one is opened."""

import logging
import threading
from typing import Callable, Optional

from agent_client.calls import Refused
from agent_client.protocol.codes import Code
from agent_client.protocol.text import JsonObject
from agent_client.shells.shell import TYPED, Shell, Times
from agent_client.shells.start import PipeWishes, Wishes, start_piped, start_shell, user_of
from agent_client.shells.viewer import Size, Viewer
from agent_client.streams import Opened
from agent_client.watch import Watch

MOST_SHELLS = 16  # on a node; each costs a process and up to 1 MiB here
MOST_ENDED = 16  # that are kept for their last output
STOP_GRACE = 1.0  # seconds from hang-up to kill when the agent stops

log = logging.getLogger("agent.shells")

__all__ = ["MOST_ENDED", "MOST_SHELLS", "PipeWishes", "Shells", "Size", "Times", "Wishes"]


class Shells:
    """All shells of this agent, by handle. `policy` is the user the settings name, if any."""

    def __init__(self, watch: Watch, times: Times, policy: Optional[str] = None) -> None:
        self._watch = watch
        self._times = times
        self._policy = policy
        self._lock = threading.Lock()
        self._shells: dict[str, Shell] = {}
        self._starting = 0
        self._stopping = False

    def open(self, wishes: Wishes, user: Optional[str], check: Callable[[], None]) -> Opened:
        """Start a shell; the one who opened it looks at it and may type. `check` raises when nobody wants it any more.

        Raises:
            Refused: the settings forbid it, there are too many, or it cannot be started.
        """
        owner = user_of(user, self._policy)
        self._claim()
        try:
            started = start_shell(owner, wishes)
            size = Size(wishes.cols, wishes.rows)
            shell = Shell(started, owner, size, self._times, self._watch.wake)
        finally:
            self._release()
        viewer = shell.view(0, size, writes=True)
        self._keep(shell)
        try:
            check()
        except Refused as exc:
            viewer.lost(exc.code, str(exc))
            shell.close()
            raise
        described = {"handle": shell.handle, "offset": 0, "pid": shell.pid, "shell": shell.path}
        return Opened({**described, **_members(shell.size)}, viewer, TYPED)

    def pipe(self, wishes: PipeWishes, user: Optional[str], check: Callable[[], None]) -> Opened:
        """Start a shell at pipes, which ends with its stream. `check` raises when nobody wants it any more.

        Raises:
            Refused: the settings forbid it, there are too many, or it cannot be started.
        """
        from agent_client.services.streamed import INPUT_WINDOW, Running

        owner = user_of(user, self._policy)
        if self._watch.busy:
            raise Refused(Code.BUSY, "too many programs and shells run at streams, wait until one ends")
        process, path = start_piped(owner, wishes)
        running = Running(process, b"", self._watch.wake, leaves_rest=True)
        self._watch.add(running)
        log.info("shell at pipes pid=%s user=%s program=%s", running.pid, owner.name, path)
        try:
            check()
        except Refused as exc:
            running.lost(exc.code, str(exc))
            raise
        return Opened({"pid": running.pid, "shell": path}, running, INPUT_WINDOW)

    def attach(self, handle: str, offset: int, size: Size, *, writes: bool, records: bool = False) -> Opened:
        """Look at a shell, or record it, from a position on or from a later one where that is gone.

        Raises:
            Refused: there is no such shell, it has not written so much yet, or too many look at it.
        """
        if writes and records:
            raise Refused(Code.INVALID_PARAMS, "who records a shell may not type in it")
        shell = self._find(handle)
        viewer: Viewer = shell.view(offset, size, writes=writes, records=records)
        data = {"offset": viewer.position, "end": shell.written, **_members(shell.size)}
        return Opened(data, viewer, TYPED)

    def resize(self, stream: int, size: Size) -> JsonObject:
        """Note the size of whoever looks through a stream; return what programs see now.

        Raises:
            Refused: no shell is looked at through it.
        """
        for shell in self._all():
            if shell.resize(stream, size):
                return _members(shell.size)
        raise Refused(Code.NOT_FOUND, f"stream {stream} looks at no shell")

    def listed(self) -> "list[JsonObject]":
        """Describe all shells, the oldest first."""
        return [shell.describe() for shell in self._all()]

    def close(self, handle: str) -> None:
        """End a shell.

        Raises:
            Refused: there is none.
        """
        self._find(handle).close()

    def stop(self) -> None:
        """End all shells: hang up now, kill soon. The watch ends when they are gone."""
        with self._lock:
            self._stopping = True
        self._times.ended = 0.0
        for shell in self._all():
            shell.close(STOP_GRACE)

    def _claim(self) -> None:
        with self._lock:
            if self._stopping:
                raise Refused(Code.BUSY, "the agent is stopping")
            alive = sum(shell.alive for shell in self._shells.values())
            if alive + self._starting >= MOST_SHELLS:
                raise Refused(Code.BUSY, f"{MOST_SHELLS} shells are open on this node, end one of them")
            self._starting += 1

    def _release(self) -> None:
        with self._lock:
            self._starting -= 1

    def _keep(self, shell: Shell) -> None:
        ended = [one for one in self._all() if not one.alive]
        for one in ended[:-MOST_ENDED]:
            one.close()
        with self._lock:
            self._shells[shell.handle] = shell
            stopping = self._stopping
        self._watch.add(shell)
        if stopping:
            shell.close(STOP_GRACE)

    def _find(self, handle: str) -> Shell:
        with self._lock:
            shell = self._shells.get(handle)
        if shell is None or shell.gone:
            raise Refused(Code.NOT_FOUND, "there is no such shell, or it has ended")
        return shell

    def _all(self) -> "list[Shell]":
        with self._lock:
            self._shells = {handle: shell for handle, shell in self._shells.items() if not shell.gone}
            return list(self._shells.values())


def _members(size: Size) -> JsonObject:
    return {"cols": size.cols, "rows": size.rows}
