"""Draws what is talked about: written exchanges, and sums, counting, stories and unknown questions made on the spot.

source = Source(load(), held_out=False)
question, exchange = source.draw(rng)
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from random import Random
from typing import Any

from duplex_runtime.alignment.corpus import MODEL_PHRASES, Corpus, Exchange, split
from duplex_runtime.alignment.noise import as_typed, misheard, normal, reworded

_ONES = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
    *("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
)
_TENS = ("", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_SUM = (
    "What is {a} {op} {b}?", "How much is {a} {op} {b}?", "What's {a} {op} {b}?", "Can you add up {a} {op} {b}?",
    "{a} {op} {b}?", "Calculate {a} {op} {b}.", "Tell me {a} {op} {b}.", "What do you get for {a} {op} {b}?",
    "I need to know {a} {op} {b}.", "Please work out {a} {op} {b}.", "Give me {a} {op} {b}.", "And {a} {op} {b}?",
    "How many is {a} {op} {b}?", "What does {a} {op} {b} make?", "Can you do {a} {op} {b}?",
    "What would {a} {op} {b} be?",
)  # fmt: skip
_COUNT = ("Count to {b}.", "Can you count to {b}?", "Please count up to {b}.", "Count from one to {b}.",
          "Could you count to {b} for me?", "I want you to count to {b}.", "Start counting up to {b}.",
          "Let me hear you count to {b}.", "Please count to {b}.")  # fmt: skip
_COUNT_FROM = (
    "Count from {a} to {b}.",
    "Can you count from {a} to {b}?",
    "Please count from {a} up to {b}.",
    "Start at {a} and count to {b}.",
    "Could you count from {a} to {b}?",
    "Count up from {a} to {b}.",
    "Begin with {a} and count up to {b}.",
    "I want you to count from {a} to {b}.",
)
_COUNT_BACK = (
    "Count backwards from {b}.",
    "Can you count down from {b}?",
    "Count down from {b} to one.",
    "Please count down from {b}.",
    "Count backwards from {b} to one.",
    "Could you count down from {b}?",
    "Do a countdown from {b}.",
    "Start at {b} and count down.",
)
#: Words after which nobody is done speaking.
OPEN_WORDS = frozenset(
    """the a an of in to is are do does did about and can you could would will what who where when why how which
    i my your for with on at from tell me that this it's was were by or but if explain please want like know
    need give let's am be have has""".split()  # noqa: SIM905
)


def words(number: int) -> str:
    """0 to 100 in words."""
    if number == 100:
        return "one hundred"
    if number < 20:
        return _ONES[number]
    return _TENS[number // 10] + (f" {_ONES[number % 10]}" if number % 10 else "")


class Source:
    """Draws exchanges; `held_out` chooses the wordings that training never sees."""

    def __init__(self, corpus: Corpus, held_out: bool = False) -> None:
        self.corpus = corpus
        self.held_out = held_out
        everything = (*corpus.facts, *corpus.talk, *corpus.long)
        self.questions = tuple(q for topic in corpus.topics for q in topic.inner)
        #: Sentences that are complete as they stand: a pause after one of them is not a pause in the middle.
        self.complete = {normal(w) for e in (*everything, *self.questions) for w in (*e.wordings, *e.more)}
        self._trained = {normal(w) for e in (*everything, *self.questions) for w in e.asks(held_out=False)}
        steering = (
            "stop",
            "wait",
            "greet",
            "go_on",
            "repeat",
            "call",
            "thanks",
            "bye",
            "hush",
            "hush_call",
            "nudge_ask",
        )
        self._phrases = {**corpus.phrases, **corpus.manners}
        self.complete |= {
            normal(phrase) for kind in steering for phrase in (*self._phrases[kind], *corpus.more.get(kind, ()))
        }
        self._said: dict[str, Sequence[str]] = {}
        #: What people tell about themselves, but for their name.
        self.personal = tuple(fact["id"] for fact in corpus.memory["facts"])

    # — around the questions —

    def said(self, wordings: Sequence[str], name: str) -> Sequence[str]:
        """Those of the person's wordings that belong to this side of the hold-out; `name` is that of the list."""
        if name not in self._said:
            further = () if self.held_out else self.corpus.more.get(name, ())
            self._said[name] = (*split(wordings, self.held_out), *further)
        return self._said[name]

    def phrases(self, kind: str) -> Sequence[str]:
        """Phrases of a kind; of the person's own those of this side of the hold-out."""
        everything = self._phrases[kind]
        return everything if kind in MODEL_PHRASES else self.said(everything, kind)

    def typed(self, text: str, rng: Random, bare_share: float = 0.4) -> str:
        """`text` as somebody might type it or a speech recogniser hear it."""
        text = as_typed(text, rng, bare_share)
        if text[-1:] not in ".?!" and rng.random() < 0.15:
            text = misheard(text, rng, self.corpus.heard["homophones"])
        return text

    def remember(self, about: str) -> dict[str, Any]:
        """How a name (`name`) or another personal thing is told and asked for: `values`, and wordings with {value}."""
        memory = self.corpus.memory
        if about == "name":
            keys = {
                "tell": "tell_name",
                "ok": "name_ok",
                "ask": "ask_name",
                "answer": "name_is",
                "unknown": "name_unknown",
            }
            lines = {k: [w.replace("{name}", "{value}") for w in memory[name]] for k, name in keys.items()}
            lines["values"] = memory["names"]
        else:
            lines = dict(next(fact for fact in memory["facts"] if fact["id"] == about))
        return lines | {key: self.said(lines[key], f"{key}_{about}") for key in ("tell", "ask", "values")}

    # — questions —

    def draw(self, rng: Random) -> tuple[str, Exchange]:
        """A question and its exchange, of any kind."""
        kind = rng.choices(
            ("fact", "inner", "talk", "topic", "howto", "list", "sum", "word", "count", "story", "unknown"),
            (19, 12, 18, 13, 5, 4, 8, 6, 3, 3, 14),
        )[0]
        return getattr(self, kind)(rng)

    def short(self, rng: Random) -> tuple[str, Exchange]:
        """A question with a one-sentence answer."""
        kind = rng.choices(("fact", "inner", "talk", "sum", "unknown"), (30, 25, 20, 12, 13))[0]
        return getattr(self, kind)(rng)

    def long(self, rng: Random) -> tuple[str, Exchange]:
        """A question with an answer that takes several slices."""
        kind = rng.choices(("topic", "howto", "list", "count", "story"), (62, 16, 10, 5, 7))[0]
        return getattr(self, kind)(rng)

    def _pick(self, rng: Random, exchanges: tuple[Exchange, ...]) -> tuple[str, Exchange]:
        exchange = rng.choice(exchanges)
        asks = exchange.asks(self.held_out)
        if self.held_out:  # some wordings stand in two exchanges: those that are trained anywhere do not count
            asks = tuple(ask for ask in asks if normal(ask) not in self._trained) or asks
        ask = rng.choice(asks)
        if not self.held_out and rng.random() < 0.25 and not exchange.id.startswith(("fact-opposite", "fact-spell")):
            other = reworded(ask, rng, self.corpus.heard["synonyms"])
            if normal(other) not in self.complete:  # no question of another entry, and none that is held out
                ask = other
        return ask, exchange

    def fact(self, rng: Random) -> tuple[str, Exchange]:
        return self._pick(rng, self.corpus.facts)

    def inner(self, rng: Random) -> tuple[str, Exchange]:
        return self._pick(rng, self.questions)

    def inserted(self, rng: Random, exchange: Exchange) -> tuple[str, Exchange]:
        """A question thrown into an answer: mostly about what is being explained."""
        if exchange.inner and rng.random() < 0.75:
            question, inner = self._pick(rng, exchange.inner)
            if inner.leaning and not self.held_out and rng.random() < 0.4:
                question = rng.choice(inner.leaning)
            return question, inner
        return self.fact(rng)

    def talk(self, rng: Random) -> tuple[str, Exchange]:
        return self._pick(rng, self.corpus.talk)

    def topic(self, rng: Random) -> tuple[str, Exchange]:
        return self._pick(rng, self.corpus.topics)

    def howto(self, rng: Random) -> tuple[str, Exchange]:
        return self._pick(rng, self.corpus.howtos)

    def list(self, rng: Random) -> tuple[str, Exchange]:
        return self._pick(rng, self.corpus.lists)

    def sum(self, rng: Random) -> tuple[str, Exchange]:
        """Plus and minus up to twenty, times up to ten, in words or digits."""
        op = rng.choices(("plus", "minus", "times"), (5, 3, 2))[0]
        if op == "times":
            a, b = rng.randint(1, 10), rng.randint(1, 10)
            result = a * b
        else:
            a, b = rng.randint(0, 12), rng.randint(0, 12)
            if op == "minus":
                a, b = max(a, b), min(a, b)
            result = a + b if op == "plus" else a - b
        # digits in the question, words in the answer: one way to say a number
        say = str if rng.random() < 0.4 else words
        template = rng.choice(self.said(_SUM, "sum"))
        sign = {"plus": "+", "minus": "-", "times": "*"}[op] if say is str and rng.random() < 0.3 else op
        question = template.format(a=say(a), op=sign, b=say(b))
        answer = f"{words(a).capitalize()} {op} {words(b)} is {words(result)}."
        return question[0].upper() + question[1:], Exchange(f"sum-{a}-{op}-{b}", "sum", (question,), (answer,))

    def word(self, rng: Random) -> tuple[str, Exchange]:
        """The opposite or the spelling of a word."""
        w = self.corpus.words
        if rng.random() < 0.5:
            word, opposite = rng.choice(w["opposites"])
            asks, answer = "opposite_asks", w["opposite_answer"].format(word=word, opposite=opposite)
        else:
            word = rng.choice(w["spelling"])
            asks, answer = "spelling_asks", w["spelling_answer"].format(word=word, letters=", ".join(word))
        question = rng.choice(self.said(w[asks], asks)).format(word=word)
        return question, Exchange(f"word-{word}", "word", (question,), (answer,))

    def count(self, rng: Random) -> tuple[str, Exchange]:
        shape = rng.randrange(4)
        b = rng.choice((5, 6, 7, 8, 9, 10, 10, 10, 12, 15, 20, 20, 25, 30))
        say = str if rng.random() < 0.4 else words
        if shape == 3:
            b = min(b, 20)
            numbers, question = range(b, 0, -1), rng.choice(self.said(_COUNT_BACK, "count_back")).format(b=say(b))
        elif shape == 2 and b > 5:
            a = rng.randint(2, b - 3)
            numbers, question = (
                range(a, b + 1),
                rng.choice(self.said(_COUNT_FROM, "count_from")).format(a=say(a), b=say(b)),
            )
        else:
            numbers, question = range(1, b + 1), rng.choice(self.said(_COUNT, "count")).format(b=say(b))
        spoken = [words(n) for n in numbers]
        parts = [*(f"{w}," for w in spoken[:-1]), f"{spoken[-1]}."]
        return question, Exchange(f"count-{question}", "count", (question,), (parts[0].capitalize(), *parts[1:]))

    def story(self, rng: Random) -> tuple[str, Exchange]:
        s = self.corpus.stories
        character, place = rng.choice(s["characters"]), rng.choice(s["places"])
        slots = {"long": character["long"], "short": character["short"], "place": place}
        question = rng.choice(self.said(s["ask"], "story_ask"))
        parts = [
            rng.choice(s[k]).format(**slots) for k in ("openings", "wishes", "problems", "helpers", "turns", "endings")
        ]
        return question.format(**slots), Exchange(f"story-{character['short']}", "story", (question,), tuple(parts))

    def _fill(self, template: str, rng: Random) -> str:
        slots = self.corpus.unknown["slots"]
        return re.sub(r"\{(\w+)\}", lambda m: rng.choice(self.said(slots[m[1]], m[1])), template)

    def unknown_question(self, rng: Random) -> str:
        """A question about something that is nowhere in the corpus, often one that nobody wrote."""
        u = self.corpus.unknown
        templates = self.said(u["templates"], "templates")
        shape = rng.random()
        while True:
            if shape < 0.5:
                text = self._fill(rng.choice(templates), rng)
            elif shape < 0.7:  # two halves of different questions: grammar for the ear, sense for nobody
                head = self._fill(rng.choice(templates), rng).split()
                tail = self._fill(rng.choice(templates), rng).split()
                text = " ".join(head[: rng.randint(2, max(2, len(head) - 2))] + tail[len(tail) // 2 :])
            else:  # a wording that is known, about something that is not
                thing = self._fill(rng.choice(("{thing}", "{thing}", "{person}", "{place}")), rng)
                exchange = rng.choice(self.corpus.topics)
                text = rng.choice(
                    ("Tell me about {x}.", "What is {x}?", "Explain {x}.", "How does {x} work?", "Who is {x}?",
                     "Why is {x} so {y}?", "What is the capital of {x}?", "How old is {x}?", "Where is {x}?",
                     "What do you know about {x}?", "Can you tell me about {x}?", "How do I fix {x}?",
                     "Can you recommend some {x}?", "Which {x} is the best?", "Who invented {x}?",
                     "What is the difference between {x} and {z}?", "Do you like {x}?", "How big is {x}?")
                ).format(
                    x=thing,
                    y=self._fill("{adjective}", rng),
                    z=rng.choice((exchange.id, self._fill("{thing}", rng))),
                )  # fmt: skip
            if normal(text) not in self.complete and not self._mentions_topic(text):
                return text
            shape = rng.random()

    def _mentions_topic(self, text: str) -> bool:
        # "Tell me about whales." is known; so is nearly every question with only that noun in it
        return any(normal(text).endswith(f" about {normal(t.id.replace('-', ' '))}") for t in self.corpus.topics)

    def unknown(self, rng: Random) -> tuple[str, Exchange]:
        u = self.corpus.unknown
        kind = rng.random()
        if kind < 0.72:
            question, answers = self.unknown_question(rng), u["answers"]
        elif kind < 0.82:
            question, answers = rng.choice(self.said(u["gibberish"], "gibberish")), u["gibberish_answers"]
        else:
            question, answers = (
                self._fill(rng.choice(self.said(u["statements"], "statements")), rng),
                u["statement_answers"],
            )
        return question, Exchange("unknown", "unknown", (question,), (rng.choice(answers),))
