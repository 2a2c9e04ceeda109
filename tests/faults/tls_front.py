"""A front that ends TLS before a worker which speaks none: `python -m tests.faults.tls_front ADDRESS PORT TO CHAIN KEY`.

It passes bytes on, says nothing by itself, and holds back whoever sends faster than the other side reads.
"""

import asyncio
import contextlib
import ssl
import sys

CHUNK = 64 * 1024  # bytes a read


async def main(address: str, port: int, to: int, chain: str, key: str) -> None:
    """Listen on `address` and pass on to the port `to` of 127.0.0.1, for ever."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(chain, key)

    async def serve(reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        back, worker = await asyncio.open_connection("127.0.0.1", to)
        await asyncio.gather(carry(reader, worker), carry(back, client))

    server = await asyncio.start_server(serve, address, port, ssl=context)
    print("the front listens", flush=True)
    await server.serve_forever()


async def carry(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    """Carry one direction to its end, which ends the other one too."""
    with contextlib.suppress(OSError):
        while data := await source.read(CHUNK):
            sink.write(data)
            await sink.drain()
    sink.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), *sys.argv[4:]))
