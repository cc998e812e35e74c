"""Talks cut into time slices: the six kinds of Duplex-UltraChat and what it lacks, each a small function.

A stream is a list of `Pair`s: what the person said in a slice, what the model says to it. `weight` is that of
the loss on the model's first token (FACTS: 1.0 where silence is a decision, 0.3 in plain quiet).

Two habits of the live conversation are built in, so that training and serving see the same stream:
- words without an end mark are never answered in their own slice: one silent slice decides;
- slices silent on both sides are dropped from history (half of them are kept here, to be learned from).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random

from duplex_runtime.alignment.corpus import Exchange
from duplex_runtime.alignment.dialogues import OPEN_WORDS, Source
from duplex_runtime.alignment.noise import as_typed, bare, normal

DECISION, QUIET = 1.0, 0.3


@dataclass(frozen=True)
class Pair:
    """One slice: the person's words ("" is silence), the model's token ids (none is `<idle>`).

    `final`: the model's answer ends here, so its `</s>` is learned.
    """

    user: str
    model: tuple[int, ...]
    weight: float = DECISION
    final: bool = False


@dataclass
class Builder:
    """Lays a talk out in slices of at most `user_words` words and `model_tokens` tokens."""

    source: Source
    encode: Callable[[str], Sequence[int]]
    rng: Random
    user_words: int
    model_tokens: int
    pause_share: float = 0.3  # how often the person pauses between two slices of a sentence
    pairs: list[Pair] = field(default_factory=list)
    _open: str | None = None  # the person's words that the model is about to answer

    # — the person —

    def say(self, text: str, *, over: bool = False) -> None:
        """The person says `text` up to its end; the model is silent and then has the floor.

        over: the model is speaking, so single words that might be a backchannel do not stop it by themselves.
        """
        known = normal(text) in self.source.complete
        half = len(text.split()) // 2
        prefix = ""
        *head, last = self._chunks(text)
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
        for chunk in self._chunks(text):
            self.pairs.append(Pair(chunk, (), weight))
        self.silence(weight)

    def silence(self, weight: float = QUIET, kept: float = 0.5) -> None:
        """A slice with nobody speaking: learned from in `kept` of the cases, dropped in the others."""
        if self.rng.random() < kept:
            self.pairs.append(Pair("", (), weight))

    def _unfinished(self, prefix: str, sure: bool) -> bool:
        """Is this the beginning of a sentence that cannot end here? `sure` unless it is a sentence by itself; of
        those made on the spot nobody knows where in their second half they might have ended."""
        plain = normal(prefix)
        if plain in self.source.complete:
            return False
        return sure or plain.split()[-1:] == [] or plain.split()[-1] in OPEN_WORDS

    def _chunks(self, text: str) -> list[str]:
        words, chunks = text.split(), []
        while words:
            size = self.rng.randint((self.user_words + 1) // 2, self.user_words)
            chunks.append(" ".join(words[:size]))
            words = words[size:]
        return chunks

    # — the model —

    def speak(self, ids: Sequence[int], *, done: bool = True, over: Callable[[], str] | None = None) -> None:
        """The model says `ids`; `done` is False where the person will cut in. `over` gives what the person says
        while it goes on (a backchannel or nothing)."""
        start = 0
        while start < len(ids):
            size = self.model_tokens
            chunk = tuple(ids[start : start + size])
            start += size
            user = self._open if self._open is not None else (over() if over else "")
            self._open = None
            self.pairs.append(Pair(user, chunk, DECISION, final=done and start >= len(ids)))
        if done:
            self.silence()

    def cut(self, exchange: Exchange, over: Callable[[], str] | None = None) -> list[str]:
        """Speak part of an answer, cut where the person breaks in; returns the parts still to be said."""
        parts = [self.encode(part) for part in exchange.parts]
        total = sum(len(p) for p in parts)
        at = self.rng.randint(2, max(2, total - 2))
        self.speak([i for p in parts for i in p][:at], done=False, over=over)
        for index, part in enumerate(parts):
            at -= len(part)
            if at < 0:
                return list(exchange.parts[index:])
        return []

    def resume(self, lead: Sequence[str], rest: Sequence[str]) -> None:
        """Say `lead`, then go on with `rest`."""
        self.speak([i for text in (*lead, *rest) for i in self.encode(text)])

    def answer(self, exchange: Exchange) -> None:
        """Say a whole answer."""
        self.speak([i for part in exchange.parts for i in self.encode(part)])

    # — drawing —

    def typed(self, text: str, bare_share: float = 0.4) -> str:
        """`text` as somebody might type it."""
        return as_typed(text, self.rng, bare_share)

    def phrase(self, kind: str, **slots: str) -> str:
        """A phrase from the corpus."""
        return self.rng.choice(self.source.corpus.phrases[kind]).format(**slots)

    def breaks_in(self, text: str) -> str:
        """What the person says to break in; never starts with a lone backchannel in a slice of its own."""
        first = self._first(text)
        return f"no {text}" if normal(first) in self.backchannels() and normal(first) != normal(text) else text

    def _first(self, text: str) -> str:
        return " ".join(text.split()[: self.user_words])

    def backchannels(self) -> set[str]:
        """All backchannels, normalised."""
        return {normal(b) for b in self.source.corpus.phrases["backchannels"]}


def uninterrupted(b: Builder) -> None:
    """A question, an answer: the model waits for the end of the question, the person for that of the answer."""
    question, exchange = b.source.draw(b.rng)
    b.say(b.typed(question))
    b.answer(exchange)
    turn = b.rng.random()
    if turn < 0.08:
        b.say(b.typed(b.phrase("repeat")))
        b.answer(exchange)
    elif turn < 0.16:
        b.quiet(b.typed(b.phrase(b.rng.choice(("stop", "wait")))))
    elif turn < 0.2:
        b.quiet(b.rng.choice(sorted(b.backchannels())), QUIET)


def hesitation(b: Builder) -> None:
    """Fillers and pauses in the middle of a sentence: patience."""
    question, exchange = b.source.draw(b.rng)
    words = b.typed(question).split()
    for _ in range(b.rng.randint(1, 2)):
        at = b.rng.randint(0, len(words) - 1)
        words.insert(at, b.phrase("fillers"))
    b.say(" ".join(words))
    b.answer(exchange)


def stop(b: Builder) -> None:
    """Told to stop in the middle of an answer: silence; later perhaps asked to go on, or something new."""
    question, exchange = b.source.long(b.rng)
    b.say(b.typed(question))
    rest = b.cut(exchange)
    b.quiet(b.breaks_in(b.typed(b.phrase(b.rng.choices(("stop", "wait"), (3, 1))[0]))))
    if rest and b.rng.random() < 0.4:
        b.say(b.typed(b.phrase("go_on")))
        b.resume([b.phrase("resume_go_on")], rest)


def backchannel(b: Builder) -> None:
    """The person says mm-hm while the model explains: it goes on."""
    question, exchange = b.source.long(b.rng)
    b.say(b.typed(question))
    share = b.rng.choice((0.15, 0.3, 0.5))

    def over() -> str:
        if b.rng.random() > share:
            return ""
        text = b.phrase("backchannels")
        return text + b.rng.choice(("", "", "", ".", "!", "..."))

    b.speak([i for part in exchange.parts for i in b.encode(part)], over=over)


def side_speech(b: Builder) -> None:
    """Words for somebody else, a cough: no reaction, neither in an answer nor in silence."""
    aside = b.phrase(b.rng.choice(("side_speech", "side_speech", "noises")))
    if len(aside.split()) > b.user_words:  # word by word nobody could tell
        return uninterrupted(b)
    if b.rng.random() < 0.3:
        return b.quiet(aside)
    question, exchange = b.source.long(b.rng)
    b.say(b.typed(question))
    once = iter([*[""] * b.rng.randint(1, 4), aside])
    b.speak([i for part in exchange.parts for i in b.encode(part)], over=lambda: next(once, ""))
    return None


def inserted_question(b: Builder) -> None:
    """A question about what is being said: the model answers it and goes back to its unfinished statement."""
    question, exchange = b.source.topic(b.rng)
    b.say(b.typed(question))
    rest = b.cut(exchange)
    template = "questions_inserted"
    if b.rng.random() < 0.75:
        new, inner = b.source.inner_question(b.rng, exchange)
        if b.rng.random() < 0.3:
            template = ""
    else:
        new, inner = b.source.fact(b.rng)
    text = b.phrase(template, new=new) if template else new
    b.say(b.breaks_in(b.typed(text, 0.3)), over=True)
    b.resume([inner.answer, *([b.phrase("bridges")] if rest else [])], rest)


def new_question(b: Builder) -> None:
    """Another question in the middle of an answer: the old answer is dropped."""
    question, exchange = b.source.long(b.rng)
    b.say(b.typed(question))
    b.cut(exchange)
    for _ in range(b.rng.choice((1, 1, 2))):
        new, other = b.source.draw(b.rng)
        text = b.phrase(b.rng.choice(("topic_changes", "topic_changes", "corrections")), new=new)
        b.say(b.breaks_in(b.typed(text, 0.3)), over=True)
        if len(other.parts) > 1 and b.rng.random() < 0.3:
            b.cut(other)
        else:
            return b.answer(other)
    return None


def correction(b: Builder) -> None:
    """Corrected before the model could answer, or while it does: the new question counts."""
    first, _ = b.source.draw(b.rng)
    second, exchange = b.source.draw(b.rng)
    words = bare(first).split()
    cut = words if b.rng.random() < 0.4 else words[: b.rng.randint(1, len(words))]
    b.say(b.typed(f"{' '.join(cut)}{b.rng.choice(('...', ',', ' -', ''))} {b.phrase('corrections', new=second)}"))
    b.answer(exchange)


def called(b: Builder) -> None:
    """Called after a silence."""
    b.say(b.typed(b.phrase("call")))
    b.speak(b.encode(b.phrase("ready")))


def steered_story(b: Builder) -> None:
    """A story whose ending the listener chooses while it is told."""
    question, exchange = b.source.story(b.rng)
    stories = b.source.corpus.stories
    mood = b.rng.choice(sorted(stories["moods"]))
    short = exchange.id.removeprefix("story-")
    b.say(b.typed(question))
    rest = b.cut(exchange)
    b.say(b.breaks_in(b.typed(b.rng.choice(stories["steer_mood"][mood]), 0.3)), over=True)
    ending = b.rng.choice(stories["moods"][mood]).format(short=short, long=short, place="there")
    b.resume([b.phrase("resume_go_on")], [*rest[1:-1][:1], ending])


#: Kinds of talk and their shares. The first six are those of the paper (uninterrupted, termination, regeneration
#: as correction, reset as new_question, back on topic as inserted_question), the rest is ours.
KINDS: dict[Callable[[Builder], None], float] = {
    uninterrupted: 34,
    hesitation: 6,
    stop: 14,
    backchannel: 11,
    inserted_question: 13,
    new_question: 10,
    correction: 5,
    side_speech: 4,
    called: 1,
    steered_story: 2,
}


def make_stream(source: Source, encode: Callable[[str], Sequence[int]], rng: Random, min_tokens: int) -> list[Pair]:
    """Talks one after another, in one rhythm, until about `min_tokens` tokens."""
    b = Builder(
        source,
        encode,
        rng,
        user_words=rng.choice((1, 2, 2, 3, 3, 4, 4, 5, 6, 8, 40)),
        model_tokens=rng.choice((3, 5, 8, 10, 10, 10, 10, 10, 15, 20)),
        pause_share=rng.choice((0.2, 0.4, 0.6, 0.9)),
    )
    if rng.random() < 0.3:
        b.pairs.append(Pair("", (), QUIET))
    kinds, shares = list(KINDS), list(KINDS.values())
    tokens = 0
    while tokens < min_tokens:
        before = len(b.pairs)
        rng.choices(kinds, shares)[0](b)
        tokens += sum(5 + len(p.model) + len(p.user) // 5 for p in b.pairs[before:])
    return b.pairs


def make_turns(source: Source, encode: Callable[[str], Sequence[int]], rng: Random, min_tokens: int) -> list[Pair]:
    """Turn-based talk in the same layout: whole messages, whole answers, never silence."""
    pairs: list[Pair] = []
    tokens = 0

    def turn(text: str, parts: Sequence[str]) -> None:
        nonlocal tokens
        ids = tuple(i for part in parts for i in encode(part))
        pairs.append(Pair(as_typed(text, rng), ids, final=True))
        tokens += 5 + len(ids) + len(text) // 4

    phrases = source.corpus.phrases
    while tokens < min_tokens:
        question, exchange = source.draw(rng)
        if rng.random() < 0.06:
            first, _ = source.draw(rng)
            question = f"{bare(first)}, {rng.choice(phrases['corrections']).format(new=question)}"
        turn(question, exchange.parts)
        after = rng.random()
        if after < 0.06:
            turn(rng.choice(phrases["repeat"]), exchange.parts)
        elif after < 0.09:
            turn(rng.choice(phrases["stop"]), [rng.choice(phrases["resume_go_on"])])
        elif after < 0.11:
            turn(rng.choice(phrases["call"]), [rng.choice(phrases["ready"])])
        elif after < 0.16 and exchange.inner:
            new, inner = source.inner_question(rng, exchange)
            turn(new, inner.parts)
    return pairs
