"""The output of a running program comes out of its stream however the stream was cut."""

import struct
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from servers import programs
from servers.errors import StreamLost

RECORDS = st.lists(st.tuples(st.sampled_from([programs.STDOUT, programs.STDERR]), st.binary(max_size=50)))


def encoded(records: list[tuple[int, bytes]]) -> bytes:
    return b"".join(struct.pack("!BI", output, len(data)) + data for output, data in records)


async def pieces(data: bytes, sizes: list[int]) -> AsyncIterator[bytes]:
    """Cut `data` into pieces of these sizes, and the rest into one."""
    for size in sizes:
        if data[:size]:
            yield data[:size]
        data = data[size:]
    if data:
        yield data


@given(records=RECORDS, sizes=st.lists(st.integers(1, 20)))
async def test_each_output_is_whole_and_in_order(records: list[tuple[int, bytes]], sizes: list[int]):
    came: dict[int, bytearray] = {programs.STDOUT: bytearray(), programs.STDERR: bytearray()}
    async for output, data in programs.written(pieces(encoded(records), sizes)):
        assert data
        came[output] += data
    for output, whole in came.items():
        assert bytes(whole) == b"".join(data for other, data in records if other == output)


async def test_a_record_is_not_waited_for_until_it_is_whole():
    record = struct.pack("!BI", 1, 2**32 - 1)
    reading = programs.written(pieces(record + b"first", [len(record) + 5]))
    assert await anext(reading) == (1, b"first")


@pytest.mark.parametrize("cut", [1, 3, 6, 8])
async def test_an_end_within_a_record_is_told(cut: int):
    data = encoded([(1, b"four")])
    with pytest.raises(StreamLost, match="in the middle") as lost:
        async for _ in programs.written(pieces(data[:cut], [])):
            pass
    assert lost.value.code == "protocol"
