"""People at a server that treats them badly, and a process of their own."""

import asyncio
import json
import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest
from websockets.asyncio.server import ServerConnection

from duplex_runtime.errors import DuplexError
from tests.latency_fakes import FAST, at, let_in, refuse, say
from webapp.latency.people import Pace, Person, in_a_process, type_all


def typing(number: int, pace: Pace = FAST) -> Callable[[int], Awaitable[list[Person]]]:
    return lambda port: type_all(port, number, 0.3, 0, ["Why?"], pace)


async def answer(socket: ServerConnection) -> None:
    """An answer in the middle of each question, and one after it."""
    await let_in(socket)
    number = 0
    async for message in socket:
        key = json.loads(message)["insert"]
        if key in "y?":
            number += 1
            await say(socket, "response.output_text.delta", response_id=f"r{number}", slice=number)
            await say(socket, "response.done", response_id=f"r{number}")
        if key == "?":
            await say(socket, "response.output_text.delta", response_id=f"r{number}", slice=number)  # not its first


async def answer_late(socket: ServerConnection) -> None:
    """While the next question is being typed; and much more than anybody reads."""
    await let_in(socket)
    number = 0
    async for message in socket:
        if json.loads(message)["insert"] == "h":
            number += 1
            await say(socket, "response.output_text.delta", response_id=f"r{number}", slice=number)
        for _ in range(20):
            await say(socket, "duplex.slice", index=number)


async def leave(socket: ServerConnection) -> None:
    await let_in(socket)
    await socket.recv()


async def break_down(socket: ServerConnection) -> None:
    await let_in(socket)
    await say(socket, "duplex.pace", level=1)
    await say(socket, "error", error={"message": "the conversation broke off"})
    await socket.wait_closed()


def test_only_an_answer_that_begins_after_the_last_key_counts() -> None:
    (person,) = at([answer], typing(1))
    assert (person.cut_off, person.strained) == ("", False)
    assert len(person.keys) == 4 * len(person.asked) >= 8  # the next question comes after the answer
    assert all(last in person.keys for last, _, _ in person.asked)
    assert all(0 < first - last < 0.3 for last, first, _ in person.asked)
    assert [index for _, _, index in person.asked] == [2 * n + 2 for n in range(len(person.asked))]


def test_an_answer_that_begins_while_the_next_question_is_typed_counts_for_neither() -> None:
    begun = time.monotonic()
    (person,) = at([answer_late], typing(1, replace(FAST, word=0.02)))
    assert len(person.asked) >= 2
    assert all(math.isnan(first) for _, first, _ in person.asked)
    assert time.monotonic() - begun < 9  # seconds; who leaves says goodbye at once


def test_who_is_cut_off_is_named_and_the_others_go_on() -> None:
    people = at([answer, leave, break_down, refuse], typing(4))
    assert [p.cut_off for p in people] == [
        "",
        "the connection was closed in the middle of the talk",
        "the conversation broke off",
        "nobody else today",
    ]
    assert [p.refused for p in people] == [False, False, False, True]
    assert [p.strained for p in people] == [False, False, True, False]
    assert len(people[0].asked) >= 2


def test_nobody_at_home() -> None:
    (person,) = in_a_process(type_all, 9, 1, 0.1, 0, ["Why?"], FAST, most_seconds=60)
    assert person.unreached
    assert person.cut_off.startswith("the server was not reached")


# — a process of their own —


def test_people_who_are_lost_are_an_error() -> None:
    with pytest.raises(DuplexError, match="their process ended with 1"):
        in_a_process(asyncio.sleep, "long", most_seconds=60)
    with pytest.raises(DuplexError, match=r"did not come back within 0 s"):
        in_a_process(asyncio.sleep, 60, most_seconds=0.1)
