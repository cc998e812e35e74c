"""The people of `duplex bench latency`: in a process of their own they type questions key by key and wait for answers.

people = in_a_process(type_all, port, 4, 20.0, 0, ["Why?"], HUMAN, most_seconds=200)
people[0].keys, people[0].asked     # on the monotonic clock, which the server reads as well

Their process imports this module, and `speaker` for the one who speaks. It needs no torch.
"""

from __future__ import annotations

import asyncio
import json
import math
import multiprocessing
import random
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

from duplex_runtime.errors import DuplexError

T = TypeVar("T")
#: For a connection to open and a session to begin: the machine may be busy.
PATIENCE_SECONDS = 30.0


@dataclass(frozen=True)
class Pace:
    """How people type, in seconds: from key to key, and from an answer to the next question (least, most); how long
    they wait for a first word, and for a whole answer."""

    key: tuple[float, float] = (0.08, 0.2)
    think: tuple[float, float] = (0.5, 2.0)
    word: float = 8.0
    answer: float = 40.0


HUMAN = Pace()


@dataclass
class Person:
    """What one of them saw on the monotonic clock. keys: when each was sent. asked: the last key of each question, the
    first word of the answer that began after it (NaN: none) and its slice. slices: number → arrival. cut_off: why they
    had to leave. refused: the server let nobody in any more. unreached: it never knew of them. strained: it slowed
    down."""

    keys: list[float] = field(default_factory=list)
    asked: list[tuple[float, float, int]] = field(default_factory=list)
    slices: dict[int, float] = field(default_factory=dict)
    cut_off: str = ""
    refused: bool = False
    unreached: bool = False
    strained: bool = False


async def enter(port: int) -> tuple[Any, dict[str, Any]]:
    """A session of one's own, and what the server says of it. Raises OSError or TimeoutError if it cannot be reached,
    DuplexError if it lets nobody in."""
    from websockets.asyncio.client import connect
    from websockets.exceptions import ConnectionClosed, WebSocketException

    url, why = f"ws://127.0.0.1:{port}/v1/realtime", "the connection was closed before the session began"
    async with asyncio.timeout(PATIENCE_SECONDS):
        try:
            # max_queue: who leaves with messages unread would wait ten seconds for the goodbye behind them
            socket = await connect(url, max_size=None, max_queue=None, proxy=None)
        except WebSocketException as error:
            raise ConnectionError(str(error)) from None
        try:
            await socket.send(json.dumps({"type": "session.update", "session": {"slice_seconds": "adaptive"}}))
            while (event := json.loads(await socket.recv()))["type"] != "session.created":
                if event["type"] == "error":
                    raise DuplexError("refused", event["error"]["message"])
            return socket, event["session"]
        except ConnectionClosed:
            raise DuplexError("refused", why) from None
        except BaseException:
            socket.transport.abort()
            raise


async def type_all(port: int, number: int, seconds: float, seed: int, questions: list[str], pace: Pace) -> list[Person]:
    """What each of so many people saw, who are let in one after the other and then type for so many seconds."""
    people = [Person() for _ in range(number)]
    inside = []
    for n, person in enumerate(people):  # one after the other: the server counts them in this order
        try:
            socket, _ = await enter(port)
        except DuplexError as error:
            person.cut_off, person.refused = str(error), True
        except OSError as error:  # TimeoutError is one
            person.cut_off, person.unreached = f"the server was not reached ({error!r})", True
        else:
            inside.append(_Typist(socket, person, random.Random(f"{seed}/{number}/{n}"), pace))
    end = time.monotonic() + seconds
    await asyncio.gather(*(typist.talk(end, questions) for typist in inside))
    return people


class _Typist:
    """One person at one socket."""

    def __init__(self, socket: Any, person: Person, rng: random.Random, pace: Pace) -> None:
        self._socket, self._person, self._rng, self._pace = socket, person, rng, pace
        self._typing = False
        self._answer = ""  # the newest one
        self._word, self._done = asyncio.Event(), asyncio.Event()

    async def talk(self, end: float, questions: Sequence[str]) -> None:
        """Ask until `end`, or until the server ends it."""
        from websockets.exceptions import ConnectionClosed

        reading, asking = asyncio.create_task(self._read()), asyncio.create_task(self._ask_all(end, questions))
        await asyncio.wait({reading, asking}, return_when=asyncio.FIRST_COMPLETED)
        early = not asking.done()
        reading.cancel()
        asking.cancel()
        for result in await asyncio.gather(reading, asking, return_exceptions=True):
            if isinstance(result, ConnectionClosed):
                early = True
            elif isinstance(result, Exception):
                raise result
        if early:
            self._person.cut_off = self._person.cut_off or "the connection was closed in the middle of the talk"
        await self._socket.close()

    async def _ask_all(self, end: float, questions: Sequence[str]) -> None:
        await asyncio.sleep(self._rng.uniform(0, self._pace.think[0]))
        while time.monotonic() < end:
            await self._type(self._rng.choice(questions))
            with suppress(TimeoutError):
                await asyncio.wait_for(self._word.wait(), self._pace.word)
                await asyncio.wait_for(self._done.wait(), min(self._pace.answer, max(0.0, end - time.monotonic())))
            await asyncio.sleep(self._rng.uniform(*self._pace.think))

    async def _type(self, question: str) -> None:
        self._typing = True
        for n, key in enumerate(question):
            if n:
                await asyncio.sleep(self._rng.uniform(*self._pace.key))
            self._person.keys.append(time.monotonic())
            await self._socket.send(json.dumps({"type": "duplex.input.edit", "delete": 0, "insert": key}))
        self._person.asked.append((self._person.keys[-1], math.nan, -1))
        self._typing = False
        self._word.clear()
        self._done.clear()

    async def _read(self) -> None:
        person = self._person
        async for message in self._socket:
            now, event = time.monotonic(), json.loads(message)
            if event["type"] == "error":
                person.cut_off = event["error"]["message"]
                return
            if event.get("system") != "duplex":
                continue
            match event["type"]:
                case "duplex.slice":
                    person.slices[event["index"]] = now
                case "response.output_text.delta" if event["response_id"] != self._answer:
                    self._answer = event["response_id"]
                    # one that began before the last key was no answer to the question
                    if person.asked and not self._typing and math.isnan(person.asked[-1][1]):
                        person.asked[-1] = (person.asked[-1][0], now, event["slice"])
                        self._word.set()
                case "response.done" if event["response_id"] == self._answer:
                    self._done.set()
                case "duplex.pace" if event["level"]:
                    person.strained = True


def in_a_process(talk: Callable[..., Coroutine[Any, Any, T]], *arguments: Any, most_seconds: float) -> T:
    """What `await talk(*arguments)` gives in an interpreter of its own: people do not take the server's time."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(sender, talk, arguments), daemon=True)
    process.start()
    sender.close()  # so that its end is seen here
    try:
        if not receiver.poll(most_seconds):
            raise DuplexError("people_lost", f"the people who talk did not come back within {most_seconds:.0f} s")
        found: T = receiver.recv()
        return found
    except EOFError:
        process.join(5)
        why = f"their process ended with {process.exitcode}; its error stands above"
        raise DuplexError("people_lost", f"the people who talk were lost: {why}") from None
    finally:
        process.kill()
        process.join()
        receiver.close()


def _child(sender: Any, talk: Callable[..., Coroutine[Any, Any, Any]], arguments: tuple[Any, ...]) -> None:
    sender.send(asyncio.run(talk(*arguments)))
