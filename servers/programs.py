"""What a running program writes, from the stream of `system.exec` (docs/protocol.md §5).

async with await nodes.open_stream(server, "system", "exec", {"argv": ["make"]}, actor=actor) as stream:
    async for output, data in programs.written(stream):
        ...
stream.end_detail["exitCode"]
"""

import struct
from collections.abc import AsyncIterator

from agent_client.protocol.codes import Code
from servers.errors import StreamLost
from servers.transports import ByteStream

STDOUT, STDERR = 1, 2
_RECORD = struct.Struct("!BI")  # which output, and how many bytes of it follow


async def written(stream: ByteStream) -> AsyncIterator[tuple[int, bytes]]:
    """Yield which output and what was written there, as it comes; each piece counts as used when the next is asked for.

    Raises:
        StreamLost: the stream broke, or ended within a record.
    """
    head, output, left = bytearray(), 0, 0
    async for piece in stream:
        rest = memoryview(piece)
        while rest:
            if left:
                data = bytes(rest[:left])
                left -= len(data)
                rest = rest[len(data) :]
                yield output, data
            else:
                missing = _RECORD.size - len(head)
                head += rest[:missing]
                rest = rest[missing:]
                if len(head) == _RECORD.size:
                    output, left = _RECORD.unpack(head)
                    head.clear()
    if head or left:
        raise StreamLost(Code.PROTOCOL.value, "the output ended in the middle, look on the server what ran")
