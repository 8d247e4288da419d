"""`python -m scripts.bench.far PORT TARGET LATENCY`: passes connections on to another port as if it were far away.

What a client sends arrives LATENCY seconds later, so each request waits that long for its answer, as over a line with
that round-trip time; a new connection waits once more, for TCP's handshake.
"""

from __future__ import annotations

import asyncio
import sys

_CHUNK = 256 << 10


async def _late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, latency: float) -> None:
    """Pass on what comes, each piece `latency` after it came."""
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

    async def read() -> None:
        while data := await reader.read(_CHUNK):
            queue.put_nowait((loop.time() + latency, data))
        queue.put_nowait((0, b""))

    reading = asyncio.create_task(read())
    try:
        while (piece := await queue.get())[1]:
            await asyncio.sleep(max(0, piece[0] - loop.time()))
            writer.write(piece[1])
            await writer.drain()
    finally:
        reading.cancel()
        writer.close()


async def _at_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(_CHUNK):
        writer.write(data)
        await writer.drain()
    writer.close()


async def _main(port: int, target: int, latency: float) -> None:
    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(latency)
        there, back = await asyncio.open_connection("127.0.0.1", target, limit=_CHUNK)
        await asyncio.gather(_late(reader, back, latency), _at_once(there, writer), return_exceptions=True)

    async with await asyncio.start_server(connected, "127.0.0.1", port, limit=_CHUNK) as server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))
