"""Draws what is talked about: written exchanges, and sums, counting, stories and unknown questions made on the spot.

source = Source(load(), held_out=False)
question, exchange = source.draw(rng)
"""

from __future__ import annotations

import re
from random import Random

from duplex_runtime.alignment.corpus import Corpus, Exchange
from duplex_runtime.alignment.noise import normal

_ONES = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
    *("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
)
_TENS = ("", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_SUM = (
    "What is {a} {op} {b}?", "How much is {a} {op} {b}?", "What's {a} {op} {b}?", "Can you add up {a} {op} {b}?",
    "{a} {op} {b}?", "Calculate {a} {op} {b}.", "Tell me {a} {op} {b}.", "What do you get for {a} {op} {b}?",
)  # fmt: skip
_COUNT = ("Count to {b}.", "Can you count to {b}?", "Please count up to {b}.", "Count from one to {b}.",
          "Could you count to {b} for me?", "I want you to count to {b}.")  # fmt: skip
_COUNT_FROM = ("Count from {a} to {b}.", "Can you count from {a} to {b}?", "Please count from {a} up to {b}.")
_COUNT_BACK = ("Count backwards from {b}.", "Can you count down from {b}?", "Count down from {b} to one.")
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
        steering = ("stop", "wait", "greet", "go_on", "repeat", "call", "thanks", "bye")
        self.complete |= {normal(phrase) for kind in steering for phrase in corpus.phrases[kind]}

    def draw(self, rng: Random) -> tuple[str, Exchange]:
        """A question and its exchange, of any kind."""
        kind = rng.choices(
            ("fact", "inner", "talk", "topic", "howto", "list", "sum", "count", "story", "unknown"),
            (17, 10, 15, 20, 4, 5, 8, 3, 4, 14),
        )[0]
        return getattr(self, kind)(rng)

    def short(self, rng: Random) -> tuple[str, Exchange]:
        """A question with a one-sentence answer."""
        kind = rng.choices(("fact", "inner", "talk", "sum", "unknown"), (30, 25, 20, 12, 13))[0]
        return getattr(self, kind)(rng)

    def long(self, rng: Random) -> tuple[str, Exchange]:
        """A question with an answer that takes several slices."""
        kind = rng.choices(("topic", "howto", "list", "count", "story"), (70, 9, 9, 5, 7))[0]
        return getattr(self, kind)(rng)

    def _pick(self, rng: Random, exchanges: tuple[Exchange, ...]) -> tuple[str, Exchange]:
        exchange = rng.choice(exchanges)
        asks = exchange.asks(self.held_out)
        if self.held_out:  # some wordings stand in two exchanges: those that are trained anywhere do not count
            asks = tuple(ask for ask in asks if normal(ask) not in self._trained) or asks
        return rng.choice(asks), exchange

    def fact(self, rng: Random) -> tuple[str, Exchange]:
        return self._pick(rng, self.corpus.facts)

    def inner(self, rng: Random) -> tuple[str, Exchange]:
        return self._pick(rng, self.questions)

    def inner_question(self, rng: Random, topic: Exchange) -> tuple[str, Exchange]:
        """A question about what is being explained."""
        return self._pick(rng, topic.inner)

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
        template = rng.choice(_SUM)
        sign = {"plus": "+", "minus": "-", "times": "*"}[op] if say is str and rng.random() < 0.3 else op
        question = template.format(a=say(a), op=sign, b=say(b))
        answer = f"{words(a).capitalize()} {op} {words(b)} is {words(result)}."
        return question[0].upper() + question[1:], Exchange(f"sum-{a}-{op}-{b}", "sum", (question,), (answer,))

    def count(self, rng: Random) -> tuple[str, Exchange]:
        shape = rng.randrange(4)
        b = rng.choice((5, 6, 7, 8, 9, 10, 10, 10, 12, 15, 20, 20, 25, 30))
        say = str if rng.random() < 0.4 else words
        if shape == 3:
            b = min(b, 20)
            numbers, question = range(b, 0, -1), rng.choice(_COUNT_BACK).format(b=say(b))
        elif shape == 2 and b > 5:
            a = rng.randint(2, b - 3)
            numbers, question = range(a, b + 1), rng.choice(_COUNT_FROM).format(a=say(a), b=say(b))
        else:
            numbers, question = range(1, b + 1), rng.choice(_COUNT).format(b=say(b))
        spoken = [words(n) for n in numbers]
        parts = [*(f"{w}," for w in spoken[:-1]), f"{spoken[-1]}."]
        return question, Exchange(f"count-{question}", "count", (question,), (parts[0].capitalize(), *parts[1:]))

    def story(self, rng: Random) -> tuple[str, Exchange]:
        s = self.corpus.stories
        character, place = rng.choice(s["characters"]), rng.choice(s["places"])
        slots = {"long": character["long"], "short": character["short"], "place": place}
        question = rng.choice(s["ask"])
        parts = [
            rng.choice(s[k]).format(**slots) for k in ("openings", "wishes", "problems", "helpers", "turns", "endings")
        ]
        return question.format(**slots), Exchange(f"story-{character['short']}", "story", (question,), tuple(parts))

    def _fill(self, template: str, rng: Random) -> str:
        slots = self.corpus.unknown["slots"]
        return re.sub(r"\{(\w+)\}", lambda m: rng.choice(slots[m[1]]), template)

    def unknown_question(self, rng: Random) -> str:
        """A question about something that is nowhere in the corpus, often one that nobody wrote."""
        u = self.corpus.unknown
        shape = rng.random()
        while True:
            if shape < 0.5:
                text = self._fill(rng.choice(u["templates"]), rng)
            elif shape < 0.7:  # two halves of different questions: grammar for the ear, sense for nobody
                head = self._fill(rng.choice(u["templates"]), rng).split()
                tail = self._fill(rng.choice(u["templates"]), rng).split()
                text = " ".join(head[: rng.randint(2, max(2, len(head) - 2))] + tail[len(tail) // 2 :])
            else:  # a wording that is known, about something that is not
                thing = rng.choice(u["slots"][rng.choice(("thing", "thing", "person", "place"))])
                exchange = rng.choice(self.corpus.topics)
                text = rng.choice(
                    ("Tell me about {x}.", "What is {x}?", "Explain {x}.", "How does {x} work?", "Who is {x}?",
                     "Why is {x} so {y}?", "What is the capital of {x}?", "How old is {x}?", "Where is {x}?",
                     "What do you know about {x}?", "Can you tell me about {x}?", "How do I fix {x}?",
                     "Can you recommend some {x}?", "Which {x} is the best?", "Who invented {x}?",
                     "What is the difference between {x} and {z}?", "Do you like {x}?", "How big is {x}?")
                ).format(
                    x=thing,
                    y=rng.choice(u["slots"]["adjective"]),
                    z=rng.choice((exchange.id, rng.choice(u["slots"]["thing"]))),
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
            question, answers = rng.choice(u["gibberish"]), u["gibberish_answers"]
        else:
            question, answers = self._fill(rng.choice(u["statements"]), rng), u["statement_answers"]
        return question, Exchange("unknown", "unknown", (question,), (rng.choice(answers),))
