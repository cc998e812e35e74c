"""The bad network: delay and cuts, with plain TCP behind it."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from random import Random
from typing import Any

import pytest

from webapp.load.proxy import Proxy


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(1000):
            writer.write(data)
        writer.write(b"bye")
    except OSError:
        pass
    finally:
        await closed(writer)


async def closed(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()


def behind(delay: float, test: Callable[[Proxy], Coroutine[Any, Any, None]]) -> None:
    async def all_of_it() -> None:
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        async with server, Proxy(server.sockets[0].getsockname()[1], delay) as proxy:
            await asyncio.wait_for(test(proxy), 20)

    asyncio.run(all_of_it())


def test_everything_arrives_in_order_and_later() -> None:
    async def test(proxy: Proxy) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        begun = time.monotonic()
        for number in range(100):
            writer.write(f"{number},".encode())
        assert await reader.readuntil(b"99,") == b"".join(f"{number},".encode() for number in range(100))
        assert time.monotonic() - begun >= 0.1
        writer.write_eof()
        assert await reader.read() == b"bye"
        await closed(writer)

    behind(0.05, test)


def test_a_kill_cuts_every_connection_and_later_ones_work() -> None:
    async def test(proxy: Proxy) -> None:
        both = [await asyncio.open_connection("127.0.0.1", proxy.port) for _ in range(2)]
        for reader, writer in both:
            writer.write(b"hello")
            assert await reader.readexactly(5) == b"hello"
        assert proxy.kill(Random(0)) == 2
        for reader, writer in both:
            with pytest.raises((OSError, asyncio.IncompleteReadError)):
                await reader.readexactly(1)
            await closed(writer)
        assert (proxy.kills, proxy.connections) == (2, 0)
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writer.write(b"again")
        assert await reader.readexactly(5) == b"again"
        await closed(writer)

    behind(0.0, test)


def test_of_what_is_on_its_way_a_random_part_arrives() -> None:
    arrived = set()

    async def test(proxy: Proxy) -> None:
        for seed in range(12):
            reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
            writer.write(b"x")
            await reader.readexactly(1)
            writer.write(b"0123456789" * 10)
            await asyncio.sleep(0.03)  # on its way back by now
            proxy.kill(Random(seed))
            try:
                data = await reader.read(1000)
            except OSError:
                data = b""
            assert (b"0123456789" * 10).startswith(data)
            arrived.add(len(data))
            await closed(writer)

    behind(0.02, test)
    assert len(arrived) > 2


def test_a_server_that_is_gone_ends_the_connection() -> None:
    async def test() -> None:
        async with Proxy(9, 0.0) as proxy:  # nobody listens there
            reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
            assert await reader.read() == b""
            await closed(writer)

    asyncio.run(test())
