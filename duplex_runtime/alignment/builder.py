"""Lays a talk out in time slices: what the person says in each, what the model says to it, and what is learned.

    b = Builder(source, vocabulary.encode, rng, user_words=4, model_tokens=10)
    b.say("What is a comet?")
    b.answer(exchange)
    b.pairs

Two habits of the live conversation are built in, so that training and serving see the same stream:
- words without an end mark are never answered in their own slice: one silent slice decides;
- slices silent on both sides are dropped from history (half of them are kept here, to be learned from).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Protocol

from duplex_runtime.alignment.corpus import Exchange
from duplex_runtime.alignment.dialogues import OPEN_WORDS
from duplex_runtime.alignment.noise import normal

#: Weights of the loss on the model's first token: where silence (or speech) is a decision, in plain quiet, and
#: where a slice was cut before the person saw any of it: what stands there is nothing that the model decided.
DECISION, QUIET, CUT = 1.0, 0.3, 0.0


class Talks(Protocol):
    """What is talked about: the written corpus (`dialogues.Source`), or dialogues from elsewhere."""

    complete: set[str]

    def draw(self, rng: Random) -> tuple[str, Exchange]:
        """A question and its exchange."""

    def long(self, rng: Random) -> tuple[str, Exchange]:
        """One with an answer that takes several slices."""

    def inserted(self, rng: Random, exchange: Exchange) -> tuple[str, Exchange]:
        """A question that a listener throws into that answer."""

    def phrases(self, kind: str) -> Sequence[str]:
        """What people (or the model) say to steer a talk."""

    def typed(self, text: str, rng: Random, bare_share: float) -> str:
        """`text` as somebody might type it or a recogniser hear it."""


@dataclass(frozen=True)
class Pair:
    """One slice: the person's words ("" is silence), the model's token ids (none is `<idle>`).

    `final`: the model's answer ends here, so its `</s>` is learned.
    """

    user: str
    model: tuple[int, ...]
    weight: float = DECISION
    final: bool = False


@dataclass(frozen=True)
class Note:
    """Something the model keeps in mind when it forgets the rest: what was said, in one slice. `at` is the pair
    with which it began."""

    at: int
    about: str
    user: str
    model: tuple[int, ...]

    @property
    def pair(self) -> Pair:
        """As it stands at the beginning of a stream that was begun anew; nothing of it is learned again."""
        return Pair(self.user, self.model, CUT)


@dataclass
class Builder:
    """Lays a talk out in slices of at most `user_words` words and `model_tokens` tokens.

    whole: messages and answers are not cut (turn-based talk). keep: the token with which the model marks what it
    shall keep in mind, if its layout has one. fit(ids, most): how many of `ids` are a slice of at most `most` tokens.
    starts_word(id): does a word begin with this token? Only there is an answer cut, as in a live talk.
    """

    source: Talks
    encode: Callable[[str], Sequence[int]]
    rng: Random
    user_words: int
    model_tokens: int
    pause_share: float = 0.3  # how often the person pauses between two slices of a sentence
    whole: bool = False
    keep: int | None = None
    least_words: int = 0  # of a slice that does not end a sentence; 0 for half of the most
    fit: Callable[[Sequence[int], int], int] = lambda ids, most: most
    starts_word: Callable[[int], bool] = lambda id_: True
    pairs: list[Pair] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    told: dict[str, str] = field(default_factory=dict)  # what the person told, by kind
    nudging: bool = False  # asked to speak after a long silence
    _open: str | None = None  # the person's words that the model is about to answer
    _opened_at: int = 0  # the pair with which they began
    _said: str = ""  # all of them

    # — the person —

    def say(self, text: str, *, over: bool = False) -> None:
        """The person says `text` up to its end; the model is silent and then has the floor.

        over: the model is speaking, so single words that might be a backchannel do not stop it by themselves.
        """
        self._opened_at, self._said = len(self.pairs), text
        if self.whole:
            self._open = text
            return
        known = normal(text) in self.source.complete
        half = len(text.split()) // 2
        prefix = ""
        *head, last = self.chunks(text)
        for chunk in head:
            prefix = f"{prefix} {chunk}".strip()
            self.pairs.append(Pair(chunk, ()))
            share = self.pause_share / 2 if over else self.pause_share
            if self.rng.random() < share and self._unfinished(prefix, known or len(prefix.split()) <= half):
                self.silence(DECISION, kept=0.7)
        if last[-1] in ".?!":
            self._open = last
        else:
            self.pairs.append(Pair(last, (), DECISION if over else QUIET))
            self._open = ""

    def quiet(self, text: str, weight: float = DECISION) -> None:
        """The person says something that gets no answer: a stop, words for somebody else."""
        for chunk in self.chunks(text):
            self.pairs.append(Pair(chunk, (), weight))
        self.silence(weight)

    def silence(self, weight: float = QUIET, kept: float = 0.5) -> None:
        """A slice with nobody speaking: learned from in `kept` of the cases, dropped in the others."""
        if self.nudging and self.pairs and self.pairs[-1] == Pair("", (), self.pairs[-1].weight):
            return  # two of them in a row are the long silence
        if self.rng.random() < kept:
            self.pairs.append(Pair("", (), weight))

    def long_silence(self) -> None:
        """Nobody has spoken for long: the conversation lays two silent slices. It speaks if it was asked to."""
        if self.pairs and self.pairs[-1] == Pair("", (), self.pairs[-1].weight):
            self.pairs.pop()
        self.pairs.append(Pair("", (), QUIET))
        if self.nudging:
            self._open = ""
            self.speak(self.encode(self.phrase("nudge")))
        else:
            self.pairs.append(Pair("", (), DECISION))

    def _unfinished(self, prefix: str, sure: bool) -> bool:
        """Is this the beginning of a sentence that cannot end here? `sure` unless it is a sentence by itself; of
        those made on the spot nobody knows where in their second half they might have ended."""
        plain = normal(prefix)
        if plain in self.source.complete:
            return False
        return sure or plain.split()[-1:] == [] or plain.split()[-1] in OPEN_WORDS

    def chunks(self, text: str) -> list[str]:
        """`text` as the words of successive slices."""
        words, chunks = text.split(), []
        while words:
            size = self.rng.randint(self.least_words or (self.user_words + 1) // 2, self.user_words)
            chunks.append(" ".join(words[:size]))
            words = words[size:]
        return chunks

    # — the model —

    def speak(self, ids: Sequence[int], *, done: bool = True, over: Callable[[], str] | None = None) -> None:
        """The model says `ids`; `done` is False where the person will cut in. `over` gives what the person says
        while it goes on (a backchannel or nothing): that too cuts the slice before it, to what was seen."""
        if self.whole:
            self.pairs.append(Pair(self._open or "", tuple(ids), final=done))
            self._open = None
            return
        start = 0
        user, self._open = self._open or "", None
        while start < len(ids):
            size = self.model_tokens
            said = over() if over and start + 1 < len(ids) else ""
            if said:
                size = min(self.rng.randint(0, size), len(ids) - start - 1)
                size = self._back_to_word(ids, start + size, start) - start
            chunk = tuple(ids[start : start + self.fit(ids[start:], size)])
            start += len(chunk)
            self.pairs.append(Pair(user, chunk, DECISION if chunk else CUT, final=done and start >= len(ids)))
            user = said
        if done:
            self.silence()

    def note(self, about: str, text: str) -> None:
        """The model says `text` to what it was just told, and keeps both in mind."""
        ids = self.encode(text) if self.keep is None else (self.keep, *self.encode(text))
        if self.keep is not None:
            self.notes.append(Note(self._opened_at, about, self._said, tuple(ids)))
        self.speak(ids)

    def cut(self, exchange: Exchange) -> list[str]:
        """Speak part of an answer, cut where the person breaks in; returns the parts still to be said."""
        parts = [self.encode(part) for part in exchange.parts]
        whole = [i for p in parts for i in p]
        at = self._back_to_word(whole, self.rng.randint(2, max(2, len(whole) - 2)), 1)
        self.speak(whole[:at], done=False)
        if self.rng.random() < 0.1:  # it had begun another slice, of which nothing was seen
            self.pairs.append(Pair("", (), CUT))
        for index, part in enumerate(parts):
            at -= len(part)
            if at < 0:
                return list(exchange.parts[index:])
        return []

    def _back_to_word(self, ids: Sequence[int], at: int, least: int) -> int:
        """The nearest place up to `at`, not before `least`, at which a word begins."""
        while at > least and at < len(ids) and not self.starts_word(ids[at]):
            at -= 1
        return at

    def resume(self, lead: Sequence[str], rest: Sequence[str]) -> None:
        """Say `lead`, then go on with `rest`."""
        self.speak([i for text in (*lead, *rest) for i in self.encode(text)])

    def answer(self, exchange: Exchange) -> None:
        """Say a whole answer."""
        self.speak([i for part in exchange.parts for i in self.encode(part)])

    # — drawing —

    def typed(self, text: str, bare_share: float = 0.4) -> str:
        """`text` as somebody might type it."""
        return self.source.typed(text, self.rng, bare_share)

    def phrase(self, kind: str, **slots: str) -> str:
        """A phrase with its slots filled."""
        return self.rng.choice(self.source.phrases(kind)).format(**slots)

    def breaks_in(self, text: str) -> str:
        """What the person says to break in; never starts with a lone backchannel in a slice of its own."""
        first = " ".join(text.split()[: self.user_words])
        lone = {normal(b) for b in self.source.phrases("backchannels")}
        return f"no {text}" if normal(first) in lone and normal(first) != normal(text) else text
