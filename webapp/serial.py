"""Slow work off the event loop: what has gathered goes to a function on another thread, one call at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import suppress
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class Serial(Generic[Item, Result]):
    """Calls `work` with all items since the last call, on `pool`; `done` with what came of it, on the event loop.

    wait_seconds: also call it after so long without an item (None: only with one). An error in `work` goes to
    `failed`, and the items of that call are lost.
    """

    def __init__(
        self,
        pool: Executor,
        work: Callable[[list[Item]], Result],
        done: Callable[[Result], None],
        failed: Callable[[Exception], None],
        wait_seconds: Callable[[], float | None] = lambda: None,
    ) -> None:
        self._pool, self._work, self._done, self._failed = pool, work, done, failed
        self._wait_seconds = wait_seconds
        self._items: list[Item] = []
        self._wake = asyncio.Event()
        self._task = asyncio.create_task(self._run())

    @property
    def waiting(self) -> int:
        """Items that no call has taken yet."""
        return len(self._items)

    def put(self, item: Item) -> None:
        """One more item; from the event loop's thread."""
        self._items.append(item)
        self._wake.set()

    async def close(self) -> None:
        """End after the call under way."""
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    async def _run(self) -> None:
        while True:
            wait = self._wait_seconds()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), wait if wait is None else max(0.005, wait))
            self._wake.clear()
            items, self._items = self._items, []
            try:
                result = await asyncio.get_running_loop().run_in_executor(self._pool, self._work, items)
            except Exception as error:  # belongs to whoever gave the items
                self._failed(error)
            else:
                self._done(result)
