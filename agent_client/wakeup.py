"""Wake a thread that waits in a selector, from another thread or from a signal."""

import contextlib
import os
import threading


class WakeUp:
    """A pipe: `wake` makes `fileno()` readable until `clear`. Any thread may wake, even after `close`."""

    def __init__(self) -> None:
        self._read_end, self._write_end = os.pipe()
        os.set_blocking(self._read_end, False)
        os.set_blocking(self._write_end, False)
        self._lock = threading.Lock()  # a closed number may be another file's by now
        self._closed = False
        self.heard = 0  # how often wake-ups were forgotten, which is a sign of life of who waits

    def fileno(self) -> int:
        """The end to wait on."""
        return self._read_end

    @property
    def signal_fd(self) -> int:
        """The end for `signal.set_wakeup_fd`."""
        return self._write_end

    def wake(self) -> None:
        """Make the waiting thread look."""
        with self._lock, contextlib.suppress(BlockingIOError):  # a full pipe wakes just as well
            if not self._closed:
                os.write(self._write_end, b"\0")

    def clear(self) -> bytes:
        """Forget all wake-ups so far; returns what was written, numbers of signals among it."""
        self.heard += 1
        try:
            return os.read(self._read_end, 4096)
        except BlockingIOError:
            return b""

    def close(self) -> None:
        """Give the pipe back."""
        with self._lock:
            if not self._closed:
                self._closed = True
                os.close(self._read_end)
                os.close(self._write_end)
