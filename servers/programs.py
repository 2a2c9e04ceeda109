"""What a running program writes, from the stream of `system.exec` (docs/protocol.md §5).

async with await nodes.open_stream(server, "system", "exec", {"argv": ["make"]}, actor=actor) as stream:
    async for output, data in programs.written(stream):
        ...
stream.end_detail["exitCode"]
"""

from collections.abc import AsyncIterator

from agent_client.protocol.codes import Code
from agent_client.protocol.outputs import STDERR, STDOUT, Outputs
from servers.errors import StreamLost
from servers.transports import ByteStream

__all__ = ["STDERR", "STDOUT", "written"]


async def written(stream: ByteStream) -> AsyncIterator[tuple[int, bytes]]:
    """Yield which output and what was written there, as it comes; each piece counts as used when the next is asked for.

    Raises:
        StreamLost: the stream broke, or ended within a record.
    """
    outputs = Outputs()
    async for piece in stream:
        for output, data in outputs.feed(piece):
            yield output, data
    if not outputs.whole:
        raise StreamLost(Code.PROTOCOL.value, "the output ended in the middle, look on the server what ran")
