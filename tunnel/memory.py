"""What a long life of sessions that come and go does to memory, and what helps."""

import ctypes
import gc
from typing import Any, Final

GIVE_BACK: Final = 600.0  # seconds; free pieces gather slowly, and giving them back takes some milliseconds


def set_aside() -> None:
    """Let the garbage collector pass over what is loaded by now, which stays.

    An ended session is garbage in cycles. Python looks for those once a quarter more than everything was made, which
    with all of Django beside it is after hundreds of sessions, and their memory is then in pieces.
    """
    if not gc.get_freeze_count():
        gc.collect()
        gc.freeze()


def give_back() -> bool:
    """Return free pages to the system, in any thread; False where the C library has no such call.

    glibc keeps what lies between pieces that are in use: after some thousand sessions that is 3 MiB of 100, and it
    grows with the logarithm of their number.
    """
    trim: Any = getattr(ctypes.CDLL(None), "malloc_trim", None)
    return trim is not None and bool(trim(0))
