"""A bad network on this machine: passes TCP on to a server, late, and cuts connections when told to.

with Proxy(served.port, delay_seconds=0.05) as proxy:
    connect(f"ws://127.0.0.1:{proxy.port}/v1/realtime")
    proxy.cut()                    # all connections; what was under way is lost
    proxy.down = True              # and nobody gets through until it is False again
"""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from typing import Any

#: Seconds that the proxy's thread may take for anything.
PATIENCE = 30.0


class Proxy:
    """See the module. delay_seconds: of every byte, in each direction."""

    def __init__(self, port: int, delay_seconds: float = 0.0) -> None:
        self.down = False
        self._target, self._delay = port, delay_seconds
        self._open: set[asyncio.StreamWriter] = set()
        self._passing: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._server: asyncio.Server = self._do(asyncio.start_server(self._passes, "127.0.0.1", 0))
        self.port = int(self._server.sockets[0].getsockname()[1])

    def cut(self) -> int:
        """Break every connection off; returns how many there were."""
        return int(self._do(self._cut()))

    def close(self) -> None:
        """Break everything off and end."""
        self._server.close()
        self._do(self._cut())
        self._do(self._ended())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE)
        self._loop.close()

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _do(self, what: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(what, self._loop).result(PATIENCE)

    async def _cut(self) -> int:
        broken, self._open = self._open, set()
        for writer in broken:
            writer.transport.abort()
        return len(broken) // 2

    async def _ended(self) -> None:
        for task in self._passing:
            task.cancel()
        await asyncio.gather(*self._passing, return_exceptions=True)

    async def _passes(self, from_client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        if self.down:
            to_client.transport.abort()
            return
        from_server, to_server = await asyncio.open_connection("127.0.0.1", self._target)
        self._open |= {to_client, to_server}
        ways = [self._pass(from_client, to_server), self._pass(from_server, to_client)]
        self._passing |= (tasks := {asyncio.create_task(way) for way in ways})
        for task in tasks:
            task.add_done_callback(self._passing.discard)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Everything from one side to the other, `delay` later; then the end of it too."""
        loop = asyncio.get_running_loop()

        def late(act: Any, *arguments: Any) -> None:
            loop.call_later(self._delay, do, act, *arguments)

        def do(act: Any, *arguments: Any) -> None:
            with suppress(OSError):  # it has closed meanwhile
                if writer in self._open:
                    act(*arguments)

        try:
            while data := await reader.read(65_536):
                late(writer.write, data)
            late(writer.write_eof)
        except ConnectionError:
            late(writer.transport.abort)
