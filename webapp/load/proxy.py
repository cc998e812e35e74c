"""A TCP proxy on this machine that delays everything and cuts connections: a bad network.

async with Proxy(server.port, delay_seconds=0.15) as proxy:
    connect(f"ws://127.0.0.1:{proxy.port}/…")
    proxy.kill(rng)        # every connection; what is on its way is lost, but for a random part
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from random import Random
from types import TracebackType

_CHUNK = 64 * 1024


class _Pipe:
    """One direction of one connection: what comes in leaves `delay_seconds` later, in order."""

    def __init__(self, source: asyncio.StreamReader, target: asyncio.StreamWriter, delay_seconds: float) -> None:
        self._source, self._target, self._delay = source, target, delay_seconds
        self._loop = asyncio.get_running_loop()
        self._chunks: deque[tuple[float, bytes]] = deque()  # when it leaves; nothing: the end
        self._came = asyncio.Event()
        self._cut = False

    async def take(self) -> None:
        """Read until the end."""
        data = b"-"
        while data:
            data = await self._source.read(_CHUNK)
            self._chunks.append((self._loop.time() + self._delay, data))
            self._came.set()

    async def give(self) -> None:
        """Write until the end."""
        while True:
            while not self._chunks:
                self._came.clear()
                await self._came.wait()
            await asyncio.sleep(self._chunks[0][0] - self._loop.time())
            if self._cut:  # what was to arrive has arrived: again it would garble the stream
                return
            _, data = self._chunks.popleft()
            if not data:
                self._target.write_eof()
                return
            self._target.write(data)
            await self._target.drain()

    def spill(self, rng: Random) -> None:
        """A random part of what is on its way still arrives, which may end inside of a message."""
        flying = b"".join(data for _, data in self._chunks)
        self._target.write(flying[: rng.randint(0, len(flying))])
        self._cut = True


class Proxy:
    """See the module. kills: connections that were cut."""

    def __init__(self, port: int, delay_seconds: float) -> None:
        self._to, self._delay = port, delay_seconds
        self._open: dict[asyncio.Task[None], tuple[list[asyncio.StreamWriter], list[_Pipe]]] = {}
        self._server: asyncio.Server | None = None
        self.port = 0
        self.kills = 0

    async def __aenter__(self) -> Proxy:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server
        self._server.close()
        open_now = list(self._open)
        for task in open_now:
            task.cancel()
        await asyncio.gather(*open_now, return_exceptions=True)

    @property
    def connections(self) -> int:
        """That are open."""
        return len(self._open)

    def kill(self, rng: Random) -> int:
        """Cut every connection now, with or without a goodbye of TCP; returns how many there were."""
        cut = list(self._open.items())
        for task, (writers, pipes) in cut:
            for pipe in pipes:
                pipe.spill(rng)
            if rng.random() < 0.5:
                for writer in writers:
                    writer.transport.abort()
            task.cancel()
        self.kills += len(cut)
        return len(cut)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        writers: list[asyncio.StreamWriter] = [writer]
        pipes: list[_Pipe] = []
        self._open[task] = (writers, pipes)
        try:
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self._to)
            writers.append(up_writer)
            pipes += [_Pipe(reader, up_writer, self._delay), _Pipe(up_reader, writer, self._delay)]
            async with asyncio.TaskGroup() as group:
                for pipe in pipes:
                    group.create_task(pipe.take())
                    group.create_task(pipe.give())
        except* OSError:
            pass  # one side has gone: so does the other
        except* asyncio.CancelledError:
            pass  # cut: the end of this task is the end of the connection
        finally:
            del self._open[task]
            for each in writers:
                # what was spilled leaves at once, nothing waits for an answer
                each.close()
                with contextlib.suppress(OSError):
                    await each.wait_closed()
