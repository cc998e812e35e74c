"""An event loop on a thread of its own, for code that is not asynchronous."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")

#: Name of tasks that nobody waits for; `Background.stop` cancels them.
DETACHED = "remote-engine-detached"


def detach(coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """Run a coroutine beside the current one; whoever calls keeps the task."""
    return asyncio.create_task(coroutine, name=DETACHED)


class Background:
    """Runs coroutines until `stop`, which cancels what is left of them."""

    def __init__(self, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._futures: set[Future[Any]] = set()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def start(self, coroutine: Coroutine[Any, Any, T]) -> Future[T]:
        """Run a coroutine; its future may be cancelled. From any thread."""
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        self._futures.add(future)
        future.add_done_callback(self._futures.discard)
        return future

    def stop(self, last: Coroutine[Any, Any, None]) -> None:
        """Cancel everything, run `last`, end the thread. A second call does nothing."""
        if self._loop.is_closed():
            last.close()
            return
        for future in list(self._futures):
            future.cancel()
        asyncio.run_coroutine_threadsafe(self._end(last), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    async def _end(self, last: Coroutine[Any, Any, None]) -> None:
        # tasks that libraries made end with those who wait for them; to cancel them as well would confuse anyio
        for task in asyncio.all_tasks():
            if task.get_name() == DETACHED:
                task.cancel()
        while tasks := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(tasks)
        await last
        await self._loop.shutdown_asyncgens()
