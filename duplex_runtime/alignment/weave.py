"""Dialogues from elsewhere → duplex rows: the six kinds of Duplex-UltraChat with the paper's shares, and ours.

    row = make_row(index, own, dialogues, plan, phrases, WordTable(tokens_of))
    row["kind"], row["output"]       # [{"role": "user", "content": "can you"}, {"role": "assistant", …}, …]

Slices of the model are cut between words. Every row's dice depend on the seed and the row's number alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from duplex_runtime.alignment import kinds
from duplex_runtime.alignment.builder import Builder, Pair
from duplex_runtime.alignment.corpus import Exchange
from duplex_runtime.alignment.noise import normal
from duplex_runtime.alignment.sources import Dialogue
from duplex_runtime.errors import BadInput

#: How silence is written in a row.
IDLE = "<idle>"
#: The paper's slices: 2 s, 4 to 6 words of the person, at most 10 tokens of the model.
PERIOD, WORDS, TOKENS = 2.0, (4, 6), 10
_SENTENCE = re.compile(r"(?<=[.!?\u3002\uff01\uff1f])\s+")


class WordTable:
    """Words as numbers, with the tokens that each takes: slices are cut between words."""

    def __init__(self, tokens_of: Callable[[str], int]) -> None:
        self._tokens_of = tokens_of
        self._numbers: dict[str, int] = {}
        self._words: list[str] = []
        self._tokens: list[int] = []

    def encode(self, text: str) -> list[int]:
        """The numbers of its words."""
        return [self._number(word) for word in text.split()]

    def decode(self, numbers: Sequence[int]) -> str:
        """The words, with spaces between."""
        return " ".join(self._words[n] for n in numbers)

    def tokens(self, numbers: Sequence[int]) -> int:
        """How many tokens they are."""
        return sum(self._tokens[n] for n in numbers)

    def fit(self, numbers: Sequence[int], most: int) -> int:
        """How many of them are at most `most` tokens; a word longer than a slice is one by itself."""
        count = total = 0
        for number in numbers[: most + 1]:
            total += self._tokens[number]
            if total > most:
                break
            count += 1
        return count if count or not most else 1

    def _number(self, word: str) -> int:
        if word not in self._numbers:
            self._numbers[word] = len(self._words)
            self._words.append(word)
            self._tokens.append(self._tokens_of(word))
        return self._numbers[word]


class DialogueTalks:
    """The `Talks` of one row: its own dialogue's turns one after the other, then turns of its neighbours."""

    def __init__(self, own: int, dialogues: Sequence[Dialogue], phrases: Mapping[str, Sequence[str]]) -> None:
        self.own, self.dialogues, self._phrases = own, dialogues, phrases
        self.complete: set[str] = set()
        self._next = 0

    @property
    def left(self) -> int:
        """Turns of the row's own dialogue that were not drawn yet."""
        return len(self.dialogues[self.own].turns) - self._next

    def draw(self, rng: Random) -> tuple[str, Exchange]:
        if self.left:
            self._next += 1
            return self._turn(self.own, self._next - 1)
        other = self.neighbour(rng)
        return self._turn(other, rng.randrange(len(self.dialogues[other].turns)))

    def long(self, rng: Random) -> tuple[str, Exchange]:
        return self.draw(rng)

    def inserted(self, rng: Random, exchange: Exchange) -> tuple[str, Exchange]:
        """The dialogue's next question, which is mostly about the answer before; in short."""
        question, other = self.draw(rng)
        return question, Exchange(other.id, "inner", other.wordings, other.parts[: rng.randint(1, 2)])

    def neighbour(self, rng: Random) -> int:
        """Another dialogue, if there is one."""
        if len(self.dialogues) == 1:
            return self.own
        other = rng.randrange(len(self.dialogues) - 1)
        return other + (other >= self.own)

    def phrases(self, kind: str) -> Sequence[str]:
        return self._phrases[kind]

    def typed(self, text: str, rng: Random, bare_share: float) -> str:
        return text

    def _turn(self, dialogue: int, turn: int) -> tuple[str, Exchange]:
        pair = self.dialogues[dialogue].turns[turn]
        parts = tuple(s for s in _SENTENCE.split(pair.assistant) if s)
        self.complete.add(normal(pair.user))
        return pair.user, Exchange(f"{dialogue}-{turn}", "dialogue", (pair.user,), parts)


def _talks(b: Builder) -> DialogueTalks:
    assert isinstance(b.source, DialogueTalks)
    return b.source


def _rest(b: Builder) -> None:
    """The dialogue to its end."""
    while _talks(b).left:
        whole(b)


def whole(b: Builder) -> None:
    """One turn, nobody interrupts."""
    question, exchange = b.source.draw(b.rng)
    b.say(question)
    b.answer(exchange)


def uninterrupted(b: Builder) -> None:
    """The whole dialogue: each waits until the other has finished."""
    _rest(b)


def interweaving(b: Builder) -> None:
    """Three to five dialogues interlaced: their turns alternate, each dialogue keeps its order."""
    talks = _talks(b)
    others = {talks.neighbour(b.rng) for _ in range(b.rng.randint(2, 4))} - {talks.own}
    strands = [DialogueTalks(d, talks.dialogues, {}) for d in (talks.own, *sorted(others))]
    while strands:
        strand = b.rng.choice(strands)
        question, exchange = strand.draw(b.rng)
        talks.complete |= strand.complete
        b.say(question)
        b.answer(exchange)
        strands = [s for s in strands if s.left]


def termination(b: Builder) -> None:
    """Cut off by the next question behind a transition: silent while the person speaks, then that is answered."""
    question, exchange = b.source.draw(b.rng)
    b.say(question)
    b.cut(exchange)
    _next_question(b, "topic_changes")
    _rest(b)


def regeneration(b: Builder) -> None:
    """A question asked wrongly, corrected while it is answered: the corrected one gets the answer."""
    talks = _talks(b)
    wrong, begun = DialogueTalks(talks.neighbour(b.rng), talks.dialogues, {}).draw(b.rng)
    b.say(wrong)
    b.cut(begun)
    _next_question(b, "corrections")
    _rest(b)


def reset(b: Builder) -> None:
    """Five dialogues, the first four broken off, each by the beginning of the next."""
    talks = _talks(b)
    for _ in range(4):
        strand = DialogueTalks(talks.neighbour(b.rng), talks.dialogues, {})
        question, exchange = strand.draw(b.rng)
        talks.complete |= strand.complete
        b.say(question if not b.pairs else b.breaks_in(b.phrase("topic_changes", new=question)), over=bool(b.pairs))
        b.cut(exchange)
    _next_question(b, "topic_changes")
    _rest(b)


def _next_question(b: Builder, transitions: str) -> None:
    question, exchange = b.source.draw(b.rng)
    text = b.phrase(transitions, new=question) if b.rng.random() < 0.9 else question
    b.say(b.breaks_in(text), over=True)
    b.answer(exchange)


def _then_rest(kind: Callable[[Builder], None]) -> Callable[[Builder], None]:
    def woven(b: Builder) -> None:
        kind(b)
        _rest(b)

    woven.__doc__ = kind.__doc__
    return woven


#: Kind by name: how it is woven, the paper's share in % (None: not in the paper), ours.
KINDS: dict[str, tuple[Callable[[Builder], None], float | None, float]] = {
    "uninterrupted": (uninterrupted, 30.1, 24.0),
    "interweaving": (interweaving, 10.1, 8.1),
    "termination": (termination, 30.3, 24.2),
    "regeneration": (regeneration, 16.6, 13.3),
    "reset": (reset, 6.2, 5.0),
    "back_on_topic": (_then_rest(kinds.inserted_question), 6.7, 5.4),
    "stop": (_then_rest(kinds.stop), None, 3.0),
    "backchannel": (_then_rest(kinds.backchannel), None, 5.0),
    "side_speech": (_then_rest(kinds.side_speech), None, 4.0),
    "hesitation": (_then_rest(kinds.hesitation), None, 3.0),
    "correction": (_then_rest(kinds.correction), None, 2.0),
    "hush": (_then_rest(kinds.hush), None, 1.5),
    "nudge": (_then_rest(kinds.nudge), None, 1.5),
}


@dataclass(frozen=True)
class Plan:
    """How rows are made: shares by kind, and the slices' periods in seconds, of which each row draws one (0 is
    adaptive: slices of any length). Words and tokens are those of 2 s and grow with the period."""

    seed: int = 0
    shares: tuple[tuple[str, float], ...] = tuple((name, share) for name, (_, _, share) in KINDS.items())
    periods: tuple[float, ...] = (0.0, 0.5, 1.0, 2.0, 4.0)
    words: tuple[int, int] = WORDS
    tokens: int = TOKENS

    def __post_init__(self) -> None:
        unknown = [name for name, _ in self.shares if name not in KINDS]
        if unknown or not any(share > 0 for _, share in self.shares) or any(share < 0 for _, share in self.shares):
            raise BadInput(f"kinds: expected shares of {', '.join(KINDS)}, got {dict(self.shares)}")
        if not self.periods or any(p != 0 and not 0.25 <= p <= 10 for p in self.periods):
            raise BadInput(f"periods: expected adaptive or seconds from 0.25 to 10, got {list(self.periods)}")
        if not 1 <= self.words[0] <= self.words[1] or self.tokens < 1:
            raise BadInput(f"expected at least one word and one token a slice, got {self.words} and {self.tokens}")

    @staticmethod
    def parse(seed: int, shares: str | None, periods: str, words: str, tokens: int) -> Plan:
        """From the texts of the command line: `stop=1,reset=2`, `adaptive,2`, `4-6`; raises BadInput."""
        try:
            pairs = [part.split("=") for part in (shares or "").split(",") if part]
            share = tuple((name.strip(), float(value)) for name, value in pairs) or Plan().shares
            least, _, most = words.partition("-")
            period = tuple(0.0 if p.strip() == "adaptive" else float(p) for p in periods.split(","))
            size = (int(least), int(most or least))
        except ValueError:
            raise BadInput(
                "expected --kinds like stop=1,reset=2, --periods like adaptive,0.5,2 and --words like 4-6, "
                f"got {shares!r}, {periods!r} and {words!r}"
            ) from None
        return Plan(seed, share, period, size, tokens)

    def sizes(self, rng: Random) -> tuple[int, int, int]:
        """(fewest words, most words, most tokens) of a row's slices."""
        period = rng.choice(self.periods)
        if not period:
            return 1, rng.randint(1, self.words[1]), self.tokens
        least, most = (max(1, round(w * period / PERIOD)) for w in self.words)
        return least, most, max(1, round(self.tokens * period / PERIOD))


def make_row(
    index: int,
    own: int,
    dialogues: Sequence[Dialogue],
    plan: Plan,
    phrases: Mapping[str, Sequence[str]],
    table: WordTable,
) -> dict[str, Any]:
    """The row of number `index`, from dialogue `own` of `dialogues` and its neighbours there."""
    rng = Random(f"{plan.seed}-{index}")
    names, shares = zip(*plan.shares, strict=True)
    kind = rng.choices(names, shares)[0]
    least, most, tokens = plan.sizes(rng)
    talks = DialogueTalks(own, dialogues, phrases)
    b = Builder(talks, table.encode, rng, most, tokens, least_words=least, fit=table.fit)
    KINDS[kind][0](b)
    return checked(as_row(index, kind, b.pairs, table), tokens, table)


def as_row(index: int, kind: str, pairs: Sequence[Pair], table: WordTable) -> dict[str, Any]:
    """A row in the schema of Duplex-UltraChat; `weights` and `ends` say what is learned of each slice."""
    output: list[dict[str, str]] = []
    for pair in pairs:
        output.append({"role": "user", "content": pair.user or IDLE})
        output.append({"role": "assistant", "content": table.decode(pair.model) if pair.model else IDLE})
    return {
        "id": index,
        "kind": kind,
        "output": output,
        "weights": [pair.weight for pair in pairs],
        "ends": [pair.final for pair in pairs],
    }


def checked(row: dict[str, Any], tokens: int, table: WordTable) -> dict[str, Any]:
    """The row, if it is as it should be: a fault here is one of the program, not of the source."""
    output = row["output"]
    assert output and len(output) % 2 == 0, f"row {row['id']}: no whole pairs"
    assert len(row["weights"]) == len(row["ends"]) == len(output) // 2
    for number, message in enumerate(output):
        text = message["content"]
        assert message["role"] == ("assistant" if number % 2 else "user")
        assert text and text == text.strip(), f"row {row['id']}: an empty slice"
        if number % 2 and text != IDLE:
            ids = table.encode(text)
            assert len(ids) == 1 or table.tokens(ids) <= tokens, f"row {row['id']}: a slice of too many tokens"
    return row
