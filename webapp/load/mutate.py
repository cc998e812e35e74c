"""Messages that no client should send: real ones changed, broken JSON, wrong types, huge numbers, odd characters.

mutator = Mutator(Random(0))
mutator.message()      # text or bytes; every tenth or so is a proper event, at any moment
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from copy import deepcopy
from random import Random
from typing import Any

#: Proper events of a client, from which the others are made.
EVENTS: tuple[dict[str, Any], ...] = (
    {"type": "session.update", "session": {"slice_seconds": "adaptive", "baseline": "barge-in"}},
    {"type": "session.update", "session": {"slice_seconds": 2.0}},
    {
        "type": "session.update",
        "session": {
            "audio": {
                "input": {"format": {"type": "audio/pcm", "rate": 16000}},
                "output": {"voice": None, "system": "duplex"},
            }
        },
    },
    {"type": "duplex.input.edit", "delete": 0, "insert": "hello ", "seq": 1},
    {"type": "duplex.input.edit", "delete": 3, "insert": "", "seq": 2},
    {"type": "duplex.input.enter", "seq": 3},
    {"type": "duplex.ack", "after": 5},
    {
        "type": "conversation.item.create",
        "item": {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "How do bees live?"}]},
    },
    {"type": "input_audio_buffer.append", "audio": base64.b64encode(bytes(640)).decode()},
    {"type": "input_audio_buffer.commit"},
    {"type": "duplex.audio.played", "response_id": "r1", "samples": 2400, "playing": True},
    {"type": "response.create"},
    {"type": "response.cancel"},
    {"type": "input_audio_buffer.clear"},
    {"type": "session.created", "session": {"id": "x"}},
)
#: Text that programs stumble over: control characters, half of a pair, right to left, many marks on one letter, joined
#: emoji, other digits, what looks like markup, a path or a format.
ODD_TEXT = (
    "", " ", "\x00", "\x1b[31m", "\ud800", "\udfff\ud800", "\ufeff", "\u202e", "\u200b\u200d", "e" + "\u0301" * 300,
    "👩‍👩‍👧‍👦" * 20, "١٢٣", "ﷺ" * 50, "\u2028\u2029", "<script>alert(1)</script>", "'; DROP TABLE ratings; --",
    "../../../../etc/passwd", "%s%n%x", "{0.__class__}", "${jndi:x}", "<idle>", "</s>", "<s>", "\r\n\r\n", "\\u0000",
    "NaN", "null", "‹user>", "a" * 5000, "a " * 2000, ". " * 2000,
)  # fmt: skip
#: Values of every kind, at every edge.
ODD_VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 0.5, -0.0, 2**31, 2**53 + 1, 2**63, 2**64, 10**30, -(10**30), 1e308, 5e-324,
    float("inf"), float("-inf"), float("nan"), [], {}, [[]], [None], {"": None}, {"type": {}}, "adaptive", "0", "1e9",
)  # fmt: skip
#: So deep are brackets nested, at most; json gives up at about a thousand.
MAX_DEPTH = 30_000
_NUMBERS = ("1e999", "-1e999", "9" * 400, "-" + "9" * 5000, "0." + "0" * 3000 + "1", "1" + "0" * 4400)


class Mutator:
    """See the module."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._kinds: tuple[tuple[float, Callable[[], str | bytes]], ...] = (
            (0.12, self._proper),
            (0.36, self._changed),
            (0.16, self._broken),
            (0.06, self._no_event),
            (0.06, self._number),
            (0.04, self._deep),
            (0.06, self._binary),
            (0.10, self._text),
            (0.035, self._sound),
            (0.005, self._large),
        )

    def message(self) -> str | bytes:
        """The next one."""
        make = self._rng.choices([kind for _, kind in self._kinds], [share for share, _ in self._kinds])[0]
        return make()

    def query(self) -> str:
        """Behind the address: mostly nothing, else what a resume or a foreign client would send, changed."""
        rng = self._rng
        if rng.random() < 0.7:
            return ""
        token = rng.choice(("", "x", "a" * 3000, "%00", "%ff%fe", "../..", "-1", "é", "&&&===", "[]"))
        after = rng.choice(("", "0", "-1", "1e9", "9" * 500, "NaN", "x", "1&after=2"))
        return rng.choice((f"?resume={token}&after={after}", f"?after={after}", f"?model={token}", f"?{token}"))

    def _event(self) -> dict[str, Any]:
        return deepcopy(self._rng.choice(EVENTS))

    def _odd(self) -> Any:
        return self._rng.choice(ODD_TEXT) if self._rng.random() < 0.4 else deepcopy(self._rng.choice(ODD_VALUES))

    def _proper(self) -> str:
        return json.dumps(self._event())

    def _changed(self) -> str:
        """A value, a key or several are replaced, left out or added."""
        event = self._event()
        for _ in range(self._rng.randint(1, 3)):
            self._change(event)
        return json.dumps(event)

    def _change(self, event: dict[str, Any]) -> None:
        rng, place = self._rng, event
        while inner := [value for value in place.values() if isinstance(value, dict) and value]:
            if rng.random() < 0.4:
                break
            place = rng.choice(inner)
        key = rng.choice(list(place)) if place else "type"
        match rng.randrange(4):
            case 0:
                place.pop(key, None)
            case 1:
                place[rng.choice(("seq", "event_id", "delete", "insert", "type", "session", "x"))] = self._odd()
            case 2:
                place[rng.choice(ODD_TEXT)[:40]] = place.pop(key, None)
            case _:
                place[key] = self._odd()

    def _broken(self) -> str:
        """Characters are dropped, doubled, replaced or cut off."""
        text = list(json.dumps(self._event()))
        for _ in range(self._rng.randint(1, 6)):
            at = self._rng.randrange(len(text))
            match self._rng.randrange(4):
                case 0:
                    text[at] = ""
                case 1:
                    text[at] *= 2
                case 2:
                    text[at] = self._rng.choice('{}[]",:\\/\x00\u2028é0-')
                case _:
                    del text[at + 1 :]
        return "".join(text)

    def _no_event(self) -> str:
        """JSON, but no event; or nothing at all."""
        return self._rng.choice(("", " ", "null", "[]", "true", '"hello"', "NaN", "[" + json.dumps(self._event()) + "]",
                                 json.dumps(self._odd()), '{"type":"duplex.input.edit"}' * 2))  # fmt: skip

    def _number(self) -> str:
        number = self._rng.choice(_NUMBERS)
        return self._rng.choice((
            f'{{"type": "duplex.input.edit", "delete": {number}, "insert": "x"}}',
            f'{{"type": "duplex.input.edit", "delete": 0, "insert": "x", "seq": {number}}}',
            f'{{"type": "duplex.ack", "after": {number}}}',
            f'{{"type": "session.update", "session": {{"slice_seconds": {number}}}}}',
            f'{{"type": "duplex.audio.played", "response_id": "r1", "samples": {number}, "playing": true}}',
            number,
        ))  # fmt: skip

    def _deep(self) -> str:
        depth = self._rng.choice((10, 500, 990, 1010, 5000, MAX_DEPTH))
        if self._rng.random() < 0.5:
            inner = "[" * depth + "]" * (depth if self._rng.random() < 0.7 else 0)
        else:
            depth = min(depth, 10_000)
            inner = '{"a":' * depth + "1" + "}" * depth
        return f'{{"type": "duplex.input.edit", "delete": 0, "insert": {inner}}}' if depth < 5000 else inner

    def _binary(self) -> bytes:
        if self._rng.random() < 0.3:
            return json.dumps(self._event()).encode()
        return self._rng.randbytes(self._rng.choice((0, 1, 2, 7, 100, 4000)))

    def _text(self) -> str:
        text = "".join(self._rng.choices(ODD_TEXT, k=self._rng.randint(1, 4)))
        event = {"type": "duplex.input.edit", "delete": self._rng.choice((0, 0, 1, 10**6)), "insert": text}
        return json.dumps(event, ensure_ascii=self._rng.random() < 0.5).encode("utf-8", "replace").decode()

    def _sound(self) -> str:
        data = self._rng.randbytes(self._rng.choice((0, 1, 2, 640, 641, 30_000)))
        audio = base64.b64encode(data).decode()
        if self._rng.random() < 0.3:
            audio = audio[: self._rng.randint(0, len(audio))] + self._rng.choice(("", "=", "é", "\n", "-_"))
        return json.dumps({"type": "input_audio_buffer.append", "audio": audio})

    def _large(self) -> str:
        """Around the most that a message may have, and far beyond."""
        size = self._rng.choice((64_000, 65_536, 65_537, 200_000, 1_000_000))
        return json.dumps({"type": "duplex.input.edit", "delete": 0, "insert": "a" * size})
