import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from webapp.serial import Serial


@pytest.fixture
def run() -> Callable[[Callable[[ThreadPoolExecutor], Coroutine[Any, Any, None]]], None]:
    def run(scene: Callable[[ThreadPoolExecutor], Coroutine[Any, Any, None]]) -> None:
        with ThreadPoolExecutor(2) as pool:
            asyncio.run(asyncio.wait_for(scene(pool), 30))

    return run


def never(error: Exception) -> None:
    raise AssertionError(error)


def test_what_gathers_during_a_call_goes_to_the_next_one_in_order(run: Any) -> None:
    async def scene(pool: ThreadPoolExecutor) -> None:
        go, calls, over = threading.Event(), [], asyncio.Event()

        def work(items: list[int]) -> list[int]:
            go.wait(30)
            return items

        def done(items: list[int]) -> None:
            calls.append(items)
            if sum(map(len, calls)) == 4:
                over.set()

        serial = Serial(pool, work, done, never)
        serial.put(1)
        while serial.waiting:  # the first call has begun
            await asyncio.sleep(0)
        for item in (2, 3, 4):
            serial.put(item)
        assert serial.waiting == 3
        go.set()
        await over.wait()
        assert calls == [[1], [2, 3, 4]]
        await serial.close()

    run(scene)


def test_a_call_that_fails_is_told_and_the_next_one_comes(run: Any) -> None:
    async def scene(pool: ThreadPoolExecutor) -> None:
        results: list[Any] = []
        told = asyncio.Event()

        def work(items: list[int]) -> int:
            return 1 // items[0]

        def note(result: Any) -> None:
            results.append(result)
            told.set()

        serial = Serial(pool, work, note, note)
        for item in (0, 1):
            told.clear()
            serial.put(item)
            await told.wait()
        assert isinstance(results[0], ZeroDivisionError) and results[1] == 1
        await serial.close()

    run(scene)


def test_it_also_works_when_it_is_time_though_nothing_came(run: Any) -> None:
    async def scene(pool: ThreadPoolExecutor) -> None:
        waits = iter([0.0, 0.0])
        calls: list[list[int]] = []
        twice = asyncio.Event()

        def done(items: list[int]) -> None:
            calls.append(items)
            if len(calls) == 2:
                twice.set()

        serial = Serial(pool, lambda items: items, done, never, lambda: next(waits, None))
        await twice.wait()
        assert calls == [[], []]
        await serial.close()

    run(scene)
