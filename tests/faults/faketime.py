"""A wrong clock for one process: libfaketime, preloaded, with a file that says how wrong."""

from pathlib import Path

PACKAGE = "faketime"  # of Debian


def library() -> str | None:
    """Return the path of libfaketime for programs with threads, or None where it is not installed."""
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    return str(found[0]) if found else None


class WrongClock:
    """A clock that `set` steps while the process runs. The monotonic clocks stay true: no kernel steps those.

    The process looks at the file each time it wants to know the time, or each second where that is too slow.
    """

    def __init__(self, file: Path, seconds: float, *, each_second: bool = False) -> None:
        self._file = file
        self._look = {"FAKETIME_CACHE_DURATION": "1"} if each_second else {"FAKETIME_NO_CACHE": "1"}
        self.set(seconds)

    def set(self, seconds: float) -> None:
        """Have the clock differ by so many seconds from the true one."""
        new = self._file.with_suffix(".new")
        new.write_text(f"{seconds:+.0f}\n")
        new.replace(self._file)  # whole, whenever it is read

    @property
    def variables(self) -> dict[str, str]:
        """What the process has to find in its environment."""
        preload = library()
        assert preload is not None
        return {
            "LD_PRELOAD": preload,
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "DONT_FAKE_MONOTONIC": "1",
            **self._look,
        }
