"""Does the model know when to speak? Situations made from wordings and phrases that training never saw, played to the
real conversation in simulated time.

A situation in an answer is played twice: first the question alone, which tells when the answer is seen and how it
would have gone on; then again with what the person does, at a random moment of it. Questions that get no answer of
at least three seconds are left out (and counted).

silent_mid    of the slices that close before the person has finished a sentence (typed with fillers, false starts and
              pauses of 0.3 to 2 s), the share in which the model stays silent
answers       it begins to answer within one slice of the end of those sentences (2 s and 0.3 s of reaction)
yields        told to stop, or asked something else: 2.5 s after the last key nothing of the old answer is seen any
              more, and after a plain stop nothing at all for 5 s
backchannel   it goes on: what is seen in the end is the whole answer
side_speech   words for somebody else and noises: an answer goes on to its end; in silence none begins
resumes       a question about the answer is answered, and then the answer is said to its end
corrections   a question taken back and asked in other words or replaced before its end: the last one is answered
hush          asked to be silent it answers nothing until it is called, and then it does
nudge         asked for it, it speaks into a long silence
patience      not asked for it, it does not
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from duplex_runtime.alignment.corpus import Exchange
from duplex_runtime.alignment.dialogues import OPEN_WORDS, Source
from duplex_runtime.alignment.noise import bare, normal
from duplex_runtime.evaluation.keys import type_text
from duplex_runtime.evaluation.questions import answer_of, said
from duplex_runtime.evaluation.scripts import Watch, old_words
from duplex_runtime.events import Input

Script = list[tuple[float, Input]]
Play = Callable[[Sequence[Script]], list[Watch]]

#: Seconds: one slice and the reaction to its end; until an interrupted answer is over; of silence after a stop.
ANSWER, YIELD, QUIET = 2.3, 2.5, 5.0


@dataclass(frozen=True)
class Outcome:
    """One situation: how many decisions were right of how many, and what happened."""

    situation: str
    right: int
    of: int
    script: Script
    said: list[str]
    detail: str = ""


def _outcome(situation: str, ok: bool, script: Script, watch: Watch, detail: str = "") -> Outcome:
    return Outcome(situation, int(ok), 1, script, said(watch), detail)


def _style(text: str, rng: Random) -> str:
    return bare(text) if rng.random() < 0.5 else text


def _phrase(source: Source, rng: Random, kind: str, **slots: str) -> str:
    return rng.choice(source.phrases(kind)).format(**slots)


# — sentences —


def sentences_with_pauses(source: Source, rng: Random, number: int, play: Play) -> list[Outcome]:
    """`silent_mid` and `answers`."""
    scripts: list[Script] = []
    ends: list[float] = []
    for _ in range(number):
        question, _ = source.draw(rng)
        words = _style(question, rng).split()
        if rng.random() < 0.4:
            words.insert(rng.randrange(len(words)), _phrase(source, rng, "fillers"))
        elif rng.random() < 0.3:
            words = [*words[: rng.randint(1, min(3, len(words)))], _phrase(source, rng, "fillers"), *words]
        text = " ".join(words)
        words = text.split()
        # a pause where the person thinks: after a beginning that is no sentence by itself
        inside = [i for i in range(1, len(words)) if normal(" ".join(words[:i])) not in source.complete]
        inside = [i for i in inside if i <= max(1, len(words) // 2) or words[i - 1].lower() in OPEN_WORDS]
        pauses = {i: rng.uniform(0.3, 2.0) for i in rng.sample(inside, min(len(inside), rng.randint(1, 2)))}
        script: Script = []
        ends.append(type_text(script, text, 0.3, rng, pauses))
        scripts.append(script)
    outcomes = []
    for script, end, watch in zip(scripts, ends, play(scripts), strict=True):
        early = [at for at in watch.begun.values() if at < end]
        mid = [s for s in watch.slices if s.at < end - 1e-6]
        outcomes.append(Outcome("silent_mid", len(mid) - min(len(mid), len(early)), len(mid), script, said(watch)))
        after = [at for at in watch.begun.values() if at >= end]
        ok = bool(after) and after[0] - end <= ANSWER
        outcomes.append(_outcome("answers", ok, script, watch, f"{after[0] - end:.2f} s" if after else "no answer"))
    return outcomes


def corrections(source: Source, rng: Random, number: int, play: Play) -> list[Outcome]:
    """The last question counts."""
    scripts, rights = [], []
    for _ in range(number):
        first, _ = source.draw(rng)
        second, exchange = source.short(rng)
        while exchange.kind == "unknown":
            second, exchange = source.short(rng)
        begun = bare(first).split()
        begun = begun[: rng.randint(1, len(begun))]
        text = f"{' '.join(begun)}{rng.choice(('...', ',', ' -'))} {_phrase(source, rng, 'corrections', new=second)}"
        script: Script = []
        type_text(script, text, 0.3, rng)
        scripts.append(script)
        rights.append(answer_of(source, exchange))
    watches = play(scripts)
    return [
        _outcome("corrections", bool(said(w)) and right.fullmatch(said(w)[-1]) is not None, s, w)
        for s, right, w in zip(scripts, rights, watches, strict=True)
    ]


# — in the middle of an answer —


@dataclass(frozen=True)
class Answer:
    """A question that was answered at length, and what was seen of it without anybody breaking in."""

    exchange: Exchange
    script: Script
    watch: Watch

    @property
    def span(self) -> tuple[float, float]:
        """When its first and its last word were seen."""
        return self.watch.deltas[0].at, self.watch.deltas[-1].at


def long_answers(source: Source, rng: Random, number: int, play: Play) -> list[Answer]:
    """Long answers, as the model gives them when nobody breaks in."""
    drawn = [source.long(rng) for _ in range(number)]
    scripts: list[Script] = []
    for question, _ in drawn:
        script: Script = []
        type_text(script, _style(question, rng), 0.3, rng)
        scripts.append(script)
    answers = [Answer(e, s, w) for (_, e), s, w in zip(drawn, scripts, play(scripts), strict=True)]
    return [a for a in answers if a.watch.deltas and a.span[1] - a.span[0] >= 3.0 and len(a.watch.begun) == 1]


def _moment(answer: Answer, rng: Random) -> float:
    first, last = answer.span
    return round(rng.uniform(first + 0.5, last - 1.5), 3)


def _break_in(
    answers: Sequence[Answer],
    rng: Random,
    play: Play,
    say: Callable[[], str],
    judge: Callable[[Answer, Watch, float, float], bool],
    situation: str,
    spaces: bool = False,
) -> list[Outcome]:
    """Each answer again, with what `say` gives typed into it; judge(answer, what was seen, first key, last key)."""
    scripts, times = [], []
    for answer in answers:
        script = list(answer.script)
        at = _moment(answer, rng)
        end = type_text(script, say(), at, rng, space=spaces and rng.random() < 0.5)
        scripts.append(script)
        times.append((at, end))
    watches = play(scripts)
    return [
        _outcome(situation, judge(a, w, *t), s, w) for a, s, w, t in zip(answers, scripts, watches, times, strict=True)
    ]


def stops(source: Source, rng: Random, answers: Sequence[Answer], play: Play) -> list[Outcome]:
    """Told to stop: silence."""

    def silent(_: Answer, watch: Watch, start: float, end: float) -> bool:
        return not any(end + YIELD < d.at <= end + YIELD + QUIET for d in watch.deltas)

    def say() -> str:
        return _style(_phrase(source, rng, rng.choice(("stop", "stop", "wait"))), rng)

    return _break_in(answers, rng, play, say, silent, "yields")


def changes(source: Source, rng: Random, answers: Sequence[Answer], play: Play) -> list[Outcome]:
    """Asked something else: the old answer is over."""

    def say() -> str:
        new = source.draw(rng)[0]
        kind = rng.choice(("topic_changes", "topic_changes", "corrections"))
        return _style(_phrase(source, rng, kind, new=new), rng)

    def over(answer: Answer, watch: Watch, start: float, end: float) -> bool:
        old = [w for w in answer.watch.words if w.at > start]
        new = [w for w in watch.words if w.at > start]
        flags = old_words(new, old) if old else [False] * len(new)
        return not any(flag and w.at > end + YIELD for w, flag in zip(new, flags, strict=True))

    return _break_in(answers, rng, play, say, over, "yields")


def backchannels(source: Source, rng: Random, answers: Sequence[Answer], play: Play) -> list[Outcome]:
    """It goes on to the end."""
    return _break_in(
        answers, rng, play, lambda: _phrase(source, rng, "backchannels"), _whole, "backchannel", spaces=True
    )


def _whole(answer: Answer, watch: Watch, start: float, end: float) -> bool:
    """Is what was seen in the end the whole answer, in one?"""
    return said(watch) == said(answer.watch)


def asides(source: Source, rng: Random, answers: Sequence[Answer], play: Play) -> list[Outcome]:
    """Words for somebody else and noises, in an answer and in silence."""

    def say() -> str:
        return _style(_phrase(source, rng, rng.choice(("side_speech", "side_speech", "noises"))), rng)

    outcomes = _break_in(answers, rng, play, say, _whole, "side_speech", spaces=True)
    scripts: list[Script] = []
    for _ in answers:
        script: Script = []
        type_text(script, say(), 0.3, rng)
        scripts.append(script)
    silent = [
        _outcome("side_speech", not w.begun, s, w, "in silence") for s, w in zip(scripts, play(scripts), strict=True)
    ]
    return outcomes + silent


def inserted(source: Source, rng: Random, answers: Sequence[Answer], play: Play) -> list[Outcome]:
    """Answered, and then the rest."""
    answers = [a for a in answers if a.exchange.inner and said(a.watch) == [a.exchange.answer]]
    asked = [source.inserted(rng, a.exchange) for a in answers]
    questions = iter([_phrase(source, rng, "questions_inserted", new=q) for q, _ in asked])
    inner = dict(zip(map(id, answers), (e.answer for _, e in asked), strict=True))

    def resumed(answer: Answer, watch: Watch, start: float, end: float) -> bool:
        after = " ".join("".join(d.delta for d in watch.deltas if d.at > end).split())
        reply = after.find(inner[id(answer)])
        last_words = " ".join(answer.exchange.answer.split()[-4:])
        return reply >= 0 and after.find(last_words, reply + len(inner[id(answer)])) > 0

    return _break_in(answers, rng, play, lambda: next(questions), resumed, "resumes")


# — silence —


def hushes(source: Source, rng: Random, number: int, play: Play) -> list[Outcome]:
    """Silent on request until it is called."""
    scripts, spans = [], []
    for _ in range(number):
        script: Script = []
        at = begin = type_text(script, _phrase(source, rng, "hush"), 0.3, rng)
        for _ in range(rng.randint(1, 3)):
            text = _phrase(source, rng, "hush_talk") if rng.random() < 0.6 else source.draw(rng)[0]
            at = type_text(script, _style(text, rng), at + rng.uniform(8.0, 12.0), rng)
        call = type_text(script, _phrase(source, rng, "hush_call"), at + 5.0, rng)
        scripts.append(script)
        spans.append((begin, call))
    outcomes = []
    for script, (begin, call), watch in zip(scripts, spans, play(scripts), strict=True):
        begun = sorted(watch.begun.values())
        meanwhile = [at for at in begun if begin + 6.0 < at < call]
        outcomes.append(_outcome("hush", not meanwhile and bool(begun) and begun[-1] >= call, script, watch))
    return outcomes


def long_silences(source: Source, rng: Random, number: int, play: Play) -> list[Outcome]:
    """`nudge`: it speaks once into a long silence. `patience`: nobody asked for it, so it does not."""
    outcomes = []
    for situation in ("nudge", "patience"):
        scripts: list[Script] = []
        for _ in range(number):
            script: Script = []
            text = _phrase(source, rng, "nudge_ask") if situation == "nudge" else source.short(rng)[0]
            type_text(script, _style(text, rng), 0.3, rng)
            scripts.append(script)
        expected = 2 if situation == "nudge" else 1
        watches = play(scripts)
        outcomes += [_outcome(situation, len(w.begun) == expected, s, w) for s, w in zip(scripts, watches, strict=True)]
    return outcomes
