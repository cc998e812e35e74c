"""Does the model know? Held-out wordings put to the turn-based and to the duplex checkpoint, whole and in slices.

An answer is right if the whole text that was seen is the written one, word for word; a story if it is one that the
corpus can tell. Half of the questions have no punctuation. Unknown questions are admitted with any of the written
honest answers; an answer from elsewhere in the corpus is fluent but wrong, anything else broken.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from duplex_runtime.alignment.corpus import Exchange
from duplex_runtime.alignment.dialogues import Source
from duplex_runtime.alignment.noise import bare
from duplex_runtime.evaluation.keys import type_text
from duplex_runtime.evaluation.scripts import Watch
from duplex_runtime.events import Enter, Input, UserText

#: Seconds that an answer to something told may take before the next question is asked.
_BETWEEN = 12.0


@dataclass(frozen=True)
class Question:
    """What is asked, after what was told (nothing, or one thing), and the pattern of a right answer."""

    kind: str
    told: str
    text: str
    right: re.Pattern[str]

    def whole(self) -> list[tuple[float, Input]]:
        """Each message at once, with Enter."""
        script: list[tuple[float, Input]] = []
        for number, text in enumerate(t for t in (self.told, self.text) if t):
            script += [(number * _BETWEEN, UserText(text)), (number * _BETWEEN, Enter())]
        return script

    def typed(self, rng: Random) -> list[tuple[float, Input]]:
        """Word by word, with no Enter."""
        script: list[tuple[float, Input]] = []
        at = 0.0
        for text in (t for t in (self.told, self.text) if t):
            at = type_text(script, text, at, rng) + _BETWEEN
        return script


def ask(source: Source, rng: Random, number: int) -> list[Question]:
    """`number` questions of all kinds that have one right answer, in the shares of training."""
    questions: list[Question] = []
    while len(questions) < number:
        if rng.random() < 0.06:
            question = _personal(source, rng)
        else:
            text, exchange = source.draw(rng)
            if exchange.kind == "unknown":
                continue
            question = Question(exchange.kind, "", _style(text, rng), answer_of(source, exchange))
        questions.append(question)
    return questions


def ask_unknown(source: Source, rng: Random, number: int) -> list[Question]:
    """`number` questions that the corpus has no answer to."""
    answers = "|".join(map(re.escape, source.corpus.unknown["answers"]))
    return [
        Question("unknown", "", _style(source.unknown_question(rng), rng), re.compile(answers)) for _ in range(number)
    ]


def _style(text: str, rng: Random) -> str:
    return bare(text) if rng.random() < 0.5 else text


def _personal(source: Source, rng: Random) -> Question:
    lines = source.remember(rng.choice(("name", *source.personal)))
    value = rng.choice(lines["values"])
    told = rng.choice(lines["tell"]).format(value=value)
    answers = "|".join(re.escape(a.format(value=value)) for a in lines["answer"])
    return Question("memory", _style(told, rng), _style(rng.choice(lines["ask"]), rng), re.compile(answers))


def answer_of(source: Source, exchange: Exchange) -> re.Pattern[str]:
    """The answer as a pattern; of a story any that the corpus can tell."""
    if exchange.kind != "story":
        return re.compile(re.escape(exchange.answer))
    stories = source.corpus.stories
    parts = ("openings", "wishes", "problems", "helpers", "turns", "endings")
    return re.compile(" ".join(f"(?:{'|'.join(map(_filled, stories[part]))})" for part in parts))


def _filled(template: str) -> str:
    return re.sub(r"\\\{\w+\\\}", ".{1,40}?", re.escape(template))


def said(watch: Watch) -> list[str]:
    """The answers that were seen, one text each."""
    texts: dict[str, str] = {}
    for delta in watch.deltas:
        texts[delta.response_id] = texts.get(delta.response_id, "") + delta.delta
    return [" ".join(text.split()) for text in texts.values()]


def right(question: Question, watch: Watch) -> bool:
    """Was the last answer the right one, and was there no other to the question?"""
    answers = said(watch)
    most = 2 if question.told else 1
    return 0 < len(answers) <= most and question.right.fullmatch(answers[-1]) is not None


def known_sentences(source: Source) -> frozenset[str]:
    """Every sentence of the written answers, to tell fluent from broken."""
    c = source.corpus
    exchanges = (*c.facts, *c.talk, *c.long, *source.questions)
    return frozenset(s for e in exchanges for s in sentences(e.answer))


def sentences(text: str) -> Sequence[str]:
    """Its sentences."""
    return [s for s in re.split(r"(?<=[.?!]) ", text) if s]
