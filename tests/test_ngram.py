"""The language model, read back from its file."""

import math
from itertools import pairwise

import pytest

from duplex_runtime.speech.ngram import arpa

SENTENCES = [line.split() for line in ("tell me more", "tell me a story", "tell us more", "stop", "stop it")]
WORDS = {word for sentence in SENTENCES for word in sentence}


class Model:
    """An ARPA file as anybody would read it."""

    def __init__(self, lines: list[str]) -> None:
        self.p: dict[tuple[str, ...], float] = {}
        self.back: dict[tuple[str, ...], float] = {}
        self.sizes = [int(line.split("=")[1]) for line in lines if line.startswith("ngram ")]
        order = 0
        for line in lines:
            if line.endswith("-grams:"):
                order = int(line[1])
            elif order and line and not line.startswith("\\"):
                p, *rest = line.split()
                self.p[tuple(rest[:order])] = float(p)
                if len(rest) > order:
                    self.back[tuple(rest[:order])] = float(rest[order])

    def log(self, *gram: str) -> float:
        if gram in self.p:
            return self.p[gram]
        return self.back.get(gram[:-1], 0.0) + self.log(*gram[1:])


@pytest.fixture(params=[2, 3])
def model(request: pytest.FixtureRequest) -> Model:
    return Model([*arpa(SENTENCES, request.param, WORDS)])


@pytest.mark.parametrize("context", [("<s>",), ("tell",), ("tell", "me"), ("<s>", "stop"), ("story",), ("it", "us")])
def test_what_may_follow_has_probability_one(model: Model, context: tuple[str, ...]) -> None:
    mass = sum(10 ** model.log(*context[-(len(model.sizes) - 1) :], word) for word in {*WORDS, "</s>"})
    assert mass == pytest.approx(1, abs=0.002)


def test_what_was_said_is_likelier_than_what_was_not(model: Model) -> None:
    more = len(model.sizes) == 3  # looks at one word more
    context = ("<s>", "tell") if more else ("tell",)
    assert model.log(*context, "me") > model.log(*context, "us") > model.log(*context, "stop") > -math.inf
    assert model.log("<s>", "tell") > model.log("<s>", "me")


def test_the_header_counts_the_grams(model: Model) -> None:
    for n, size in enumerate(model.sizes, 1):
        assert size == sum(len(gram) == n for gram in model.p)


def test_a_sentence_is_cut_at_an_unknown_word() -> None:
    model = Model([*arpa(SENTENCES, 2, WORDS - {"me"})])
    assert ("tell", "us") in model.p and ("me",) not in model.p
    assert ("tell", "more") not in model.p, "what stands around the unknown word is no pair"


def test_every_context_of_a_gram_is_there() -> None:
    model = Model([*arpa(SENTENCES, 3, WORDS)])
    for gram in model.p:
        if len(gram) > 1:
            assert gram[:-1] in model.p and gram[:-1] in model.back
    assert all(pair in model.p for sentence in SENTENCES for pair in pairwise(sentence))
