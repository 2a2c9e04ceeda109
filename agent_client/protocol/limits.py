"""Every number of the protocol, each with its reason (docs/protocol.md §1–4)."""

from dataclasses import dataclass

KIB = 1024

MAX_TEXT = 256 * KIB  # bytes of UTF-8; half of what stock servers and proxies take in one message
FRAME_HEADER = 13  # kind u8, stream u32, offset u64
MAX_DATA = 256 * KIB  # bytes of a DATA frame
MAX_BINARY = MAX_DATA + FRAME_HEADER
MAX_DEPTH = 32  # nested objects and arrays; no message of ours needs ten
MAX_ID = 128  # characters of a command id; ours are uuid4
MAX_WORD = 64  # characters of a service, an action, an event, a code
MAX_SENTENCE = 4 * KIB  # characters of an error or a reason; longer ones are cut

MAX_AGE = 30.0  # seconds a command may be old, or ahead, on the master's clock
MAX_REMEMBERED_IDS = 65_536  # 2,184 commands a second for as long as an id must be held
MILLISECONDS_ABOVE = 1e11  # a timestamp over this is in milliseconds (the year 5138 in seconds)
LAST_MILLISECOND = 1e14  # the same year; what lies beyond is no time

MAX_PENDING = 1_024  # commands a session may await; a browser page asks for one or two
MAX_RUBBISH = 20  # wrong messages …
RUBBISH_SPAN = 60.0  # … within so many seconds end the session
MAX_MESSAGES_PER_SECOND = 2_000  # beyond awaited replies and granted windows

HELLO_TIMEOUT = 10.0  # seconds for the HELLO of an agent that offered the subprotocol
BASIC_SILENCE_FACTOR = 3  # a basic agent is dead after so many heartbeats without a byte

INITIAL_WINDOW = 128 * KIB  # bytes a bulk stream may send before its first WINDOW
MAX_WINDOW = 1_024 * KIB  # bytes; a line of 100 ms carries 10 MB a second with it
MAX_WINDOWS = 16 * MAX_WINDOW  # bytes of all windows of a session together: what one peer may make us hold
SMALLEST_WINDOW = 16 * KIB  # bytes kept for each stream that may still be opened
MAX_STREAMS = 256  # streams of a session, open or being opened; the browser pages of a node have a few
MAX_DETAIL = 64 * KIB  # bytes of JSON in END or RESET; the longest sentence, all of it escaped, has 48
SMALL_GRANT = KIB  # bytes; a WINDOW that grants less counts as a message nobody waits for
SEND_AT_ONCE = 64 * KIB  # bytes of frames before what became urgent meanwhile is looked at again
CALM_FACTOR = 2.0  # a line is calm while the round trip is below so many times its minimum …
CALM_SLACK = 0.05  # … and so many seconds
CALM_KEPT = 8  # round trips; a way may become longer, and among these are two PINGs that found it empty


@dataclass(frozen=True)
class Timing:
    """How often the two sides speak, in seconds; the master tells it in HANDSHAKE_ACK."""

    ping: float = 8.0  # two lost pings are noticed within `silence`
    silence: float = 18.0  # no byte for so long: the other side is dead
    heartbeat: float = 30.0  # fresh figures
