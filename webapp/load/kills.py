"""Part of `duplex loadtest --abuse`: connections are killed at random moments while people type; is anything lost?

Each person types questions word by word, through a proxy of their own that adds 150 ms each way and cuts their
connection again and again. At the end the server's recording of the session is compared with what they sent and what
they received, event by event.
"""

from __future__ import annotations

import asyncio
import difflib
import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from webapp.load.proxy import Proxy
from webapp.load.traveller import Traveller

DELAY_SECONDS = 0.15
#: People who type at the same time.
PEOPLE = 4
#: Seconds between two kills of one person's connection; some fall into the handshake of the next.
BETWEEN_SECONDS = (0.1, 3.0)
#: Seconds from word to word, and from a question to the next.
WORD_SECONDS, QUESTION_SECONDS = (0.03, 0.3), (0.3, 3.0)
#: At the end: nothing came for so long, so that nothing is on its way any more; for which it is waited at most; and for
#: the recording.
QUIET_SECONDS, END_SECONDS, RECORDED_SECONDS = 2.0, 60.0, 20.0
QUESTIONS = (
    "Tell me about volcanoes.",
    "How do bees live?",
    "Why is the sea salty?",
    "What is the capital of France?",
    "No wait, stop.",
    "Count to twenty.",
)


@dataclass(frozen=True)
class Compared:
    """What was lost and what came twice: texts of the person on their way in, events of the server on their way out."""

    texts: int
    events: int
    lost_texts: int
    doubled_texts: int
    lost_events: int
    doubled_events: int


def differences(meant: Sequence[str], came: Sequence[str]) -> tuple[int, int]:
    """How many of `meant` did not come, and how many came that were not meant (or once more); order counts."""
    if list(meant) == list(came):
        return 0, 0
    lost = doubled = 0
    for kind, a, b, c, d in difflib.SequenceMatcher(None, meant, came, autojunk=False).get_opcodes():
        if kind != "equal":
            lost, doubled = lost + b - a, doubled + d - c
    return lost, doubled


def compare(recording: str, traveller: Traveller, systems: Sequence[str]) -> Compared:
    """The recording of a session beside what its client sent and received."""
    sent = [_input_of(event) for event in traveller.sent]
    inputs: dict[str, list[str]] = {system: [] for system in systems}
    happened: dict[str, list[str]] = {system: [] for system in systems}
    for line in recording.splitlines():
        value = json.loads(line)
        match value:
            case {"kind": "input", "system": system}:
                if (typed := _typed_of(value)) is not None:
                    inputs[system].append(typed)
            case {"kind": "event", "system": system, "event": event}:
                happened[system].append(json.dumps(event, sort_keys=True))
    received: dict[str, list[str]] = {system: [] for system in systems}
    for event in traveller.received:
        if event.get("system") in received:
            bare = {key: value for key, value in event.items() if key != "event_id"}
            received[event["system"]].append(json.dumps(bare, sort_keys=True))
    inward = [differences(sent, inputs[system]) for system in systems]
    outward = [differences(happened[system], received[system]) for system in systems]
    return Compared(
        len(sent),
        sum(map(len, happened.values())),
        max(lost for lost, _ in inward),
        max(doubled for _, doubled in inward),
        sum(lost for lost, _ in outward) + traveller.missed,
        sum(doubled for _, doubled in outward) + traveller.again,
    )


def _input_of(event: dict[str, Any]) -> str:
    return "enter" if event["type"] == "duplex.input.enter" else f"text {event['insert']}"


def _typed_of(line: dict[str, Any]) -> str | None:
    """Of a recording's line, what the person did; the server's own doings are none of it."""
    if "text" in line:
        return f"text {line['text']}"
    return "enter" if "enter" in line else None


# — the test —


async def run(port: int, recordings: Path, kills: int, seed: int, people: int = PEOPLE) -> dict[str, Any]:
    """Kill that many connections of a server at 127.0.0.1:port, whose recordings are in that folder."""
    begun = time.monotonic()
    shares = [kills // people + (n < kills % people) for n in range(people)]
    done = await asyncio.gather(
        *(_one(port, share, Random(f"{seed}/{n}")) for n, share in enumerate(shares) if share)
    )  # fmt: skip
    compared = [await compared_with(recordings, traveller) for traveller, _ in done]
    unresumed = [traveller.failed for traveller, _ in done if traveller.failed]
    return {
        "kills": sum(cut for _, cut in done),
        "resumed": sum(traveller.resumed for traveller, _ in done),
        "texts": sum(each.texts for each in compared),
        "events": sum(each.events for each in compared),
        "lost": sum(each.lost_texts + each.lost_events for each in compared),
        "doubled": sum(each.doubled_texts + each.doubled_events for each in compared),
        "lost_texts": sum(each.lost_texts for each in compared),
        "lost_events": sum(each.lost_events for each in compared),
        "doubled_texts": sum(each.doubled_texts for each in compared),
        "doubled_events": sum(each.doubled_events for each in compared),
        "not_resumed": len(unresumed),
        "kill_seconds": round(time.monotonic() - begun, 1),
        "kill_why": dict(Counter(unresumed)),
    }


async def _one(port: int, kills: int, rng: Random) -> tuple[Traveller, int]:
    """One person; what they have, and how many of their connections were cut."""
    async with Proxy(port, DELAY_SECONDS) as proxy:
        traveller = Traveller(f"ws://127.0.0.1:{proxy.port}/v1/realtime", Random(rng.random()))
        going = asyncio.create_task(traveller.go())
        try:
            await traveller.began()
            enough = asyncio.Event()
            typing = asyncio.create_task(type_questions(traveller, Random(rng.random()), enough))
            while proxy.kills < kills and not traveller.failed:
                await asyncio.sleep(rng.uniform(*BETWEEN_SECONDS))
                proxy.kill(rng)
            enough.set()
            await typing
            await quiet(traveller)
            await traveller.leave()
        except TimeoutError:
            traveller.failed = traveller.failed or "the session did not begin"
        finally:
            going.cancel()
            await asyncio.gather(going, return_exceptions=True)
        return traveller, proxy.kills


async def type_questions(traveller: Traveller, rng: Random, enough: asyncio.Event) -> None:
    """Numbered questions, until it is enough and the last is whole."""
    number = 0
    while not enough.is_set():
        number += 1
        for word in f"{number}: {rng.choice(QUESTIONS)}".split():
            await traveller.say({"type": "duplex.input.edit", "delete": 0, "insert": f"{word} "})
            await asyncio.sleep(rng.uniform(*WORD_SECONDS))
        if rng.random() < 0.5 or enough.is_set():
            await traveller.say({"type": "duplex.input.enter"})
        await asyncio.sleep(rng.uniform(*QUESTION_SECONDS))


async def quiet(traveller: Traveller) -> None:
    """Until nothing has come for a while, over a connection."""
    end = time.monotonic() + END_SECONDS
    since = time.monotonic()
    while time.monotonic() < end and not traveller.failed:
        since = max(since, traveller.heard_at)
        if traveller.connected and time.monotonic() - since >= QUIET_SECONDS:
            return
        await asyncio.sleep(0.05)


async def compared_with(recordings: Path, traveller: Traveller) -> Compared:
    """Once the recording has grown no more."""
    path = recordings / f"{traveller.session}.jsonl"
    end, size = time.monotonic() + RECORDED_SECONDS, -1
    while time.monotonic() < end and path.is_file() and path.stat().st_size != size:
        size = path.stat().st_size
        await asyncio.sleep(0.2)
    recording = path.read_text(encoding="utf-8") if path.is_file() else ""
    return compare(recording, traveller, ("duplex", "turns"))
