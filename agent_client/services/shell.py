"""Service `shell`: terminals that outlive their viewers (docs/protocol.md §5)."""

import threading
from typing import TYPE_CHECKING, Optional

from agent_client.calls import Call
from agent_client.commands import Action, Service
from agent_client.params import Flag, Param, Text, Whole
from agent_client.protocol.limits import KIB
from agent_client.protocol.messages import MAX_STREAM
from agent_client.protocol.text import JsonObject
from agent_client.settings import Settings
from agent_client.streams import Opened
from agent_client.watch import Watch

if TYPE_CHECKING:
    from agent_client.shells import Shells  # with the first shell: most agents never need a terminal

LARGEST_SIDE = 1000  # columns or rows; the widest screens with the smallest letters have 600
LONGEST_NAME = 64  # characters of a user, a terminal, a language
LONGEST_PATH = 4096  # PATH_MAX
LONGEST_LINE = (
    16 * KIB
)  # characters; Linux starts nothing with a longer one of four bytes each than twice that
LARGEST_WINDOW = 256 * KIB  # bytes under way to a viewer; more is felt as a Ctrl-C that comes late

_SIZE = (
    Param("cols", Whole(1, LARGEST_SIDE), required=True),
    Param("rows", Whole(1, LARGEST_SIDE), required=True),
)
_WINDOW = Param("window", Whole(1, LARGEST_WINDOW))


class ShellService:
    """The actions, and the shells once there are any."""

    def __init__(self, settings: Settings, watch: Watch) -> None:
        self._settings = settings
        self._watch = watch
        self._lock = threading.Lock()
        self._shells: Optional[Shells] = None

    def service(self) -> Service:
        """Return what the table of commands holds."""
        handle = Param("handle", Text(LONGEST_NAME, shortest=1), required=True)
        return Service(
            "shell",
            (
                Action(
                    "open",
                    params=(
                        *_SIZE,
                        Param("term", Text(LONGEST_NAME)),
                        Param("lang", Text(LONGEST_NAME)),
                        Param("cwd", Text(LONGEST_PATH, shortest=1)),
                        Param("user", Text(LONGEST_NAME, shortest=1)),
                        _WINDOW,
                    ),
                    opens=self._open,
                ),
                Action(
                    "pipe",
                    params=(
                        Param("line", Text(LONGEST_LINE)),
                        Param("lang", Text(LONGEST_NAME)),
                        Param("cwd", Text(LONGEST_PATH, shortest=1)),
                        Param("user", Text(LONGEST_NAME, shortest=1)),
                        _WINDOW,
                    ),
                    opens=self._pipe,
                ),
                Action(
                    "attach",
                    params=(
                        handle,
                        Param("offset", Whole(0, 2**63), required=True),
                        *_SIZE,
                        Param("write", Flag(), required=True),
                        Param("record", Flag()),
                        _WINDOW,
                    ),
                    opens=self._attach,
                ),
                Action(
                    "resize", self._resize, (Param("stream", Whole(1, MAX_STREAM), required=True), *_SIZE)
                ),
                Action("list", self._list),
                Action("close", self._close, (handle,)),
            ),
        )

    def stop(self) -> None:
        """End all shells; the watch ends when they are gone."""
        with self._lock:
            shells = self._shells
        if shells is not None:
            shells.stop()

    def _made(self) -> "Shells":
        from agent_client.shells import Shells, Times

        with self._lock:
            if self._shells is None:
                self._shells = Shells(
                    self._watch, Times(self._settings.shell_keep), self._settings.shell_user
                )
            return self._shells

    def _open(self, call: Call) -> Opened:
        from agent_client.shells import Wishes

        params = call.params
        wishes = Wishes(params["cols"], params["rows"], params["term"], params["lang"], params["cwd"])
        return self._made().open(wishes, params["user"], call.check)

    def _pipe(self, call: Call) -> Opened:
        from agent_client.shells import PipeWishes

        params = call.params
        wishes = PipeWishes(params["line"], params["lang"], params["cwd"])
        return self._made().pipe(wishes, params["user"], call.check)

    def _attach(self, call: Call) -> Opened:
        from agent_client.shells import Size

        params = call.params
        size = Size(params["cols"], params["rows"])
        return self._made().attach(
            params["handle"],
            params["offset"],
            size,
            writes=params["write"],
            records=bool(params["record"]),
        )

    def _resize(self, call: Call) -> JsonObject:
        from agent_client.shells import Size

        params = call.params
        return self._made().resize(params["stream"], Size(params["cols"], params["rows"]))

    def _list(self, _call: Call) -> JsonObject:
        with self._lock:
            shells = self._shells
        return {"shells": [] if shells is None else shells.listed()}

    def _close(self, call: Call) -> JsonObject:
        self._made().close(call.params["handle"])
        return {}
