from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

import pytest

import duplex_runtime.models
from duplex_runtime.alignment.corpus import load
from duplex_runtime.alignment.dialogues import Source
from duplex_runtime.alignment.noise import normal
from duplex_runtime.alignment.streams import KINDS, Builder, Pair, backchannel, make_stream, make_turns, stop
from duplex_runtime.layout import EMBEDDED
from duplex_runtime.models.vocabulary import TokenizerFile
from duplex_runtime.slices import ends_sentence

SPECIAL = range(6)


@pytest.fixture(scope="module")
def source() -> Source:
    return Source(load())


@pytest.fixture(scope="module")
def vocabulary() -> TokenizerFile:
    return TokenizerFile(Path(duplex_runtime.models.__file__).parent / "embedded" / "tokenizer.json")


def talk(kind: Callable[[Builder], None], source: Source, vocabulary: TokenizerFile, seed: int) -> Builder:
    rng = Random(seed)
    builder = Builder(source, vocabulary.encode, rng, rng.choice((1, 2, 3, 5, 8, 40)), rng.choice((3, 8, 10, 20)))
    kind(builder)
    return builder


def check(pairs: Sequence[Pair], model_tokens: int) -> None:
    for before, pair in zip([Pair("", ()), *pairs], pairs, strict=False):
        assert pair.user == " ".join(pair.user.split())
        assert len(pair.model) <= model_tokens
        assert not set(pair.model) & set(SPECIAL)
        assert 0.0 < pair.weight <= 1.0
        assert pair.model or not pair.final, "only an answer can end"
        if pair.user and pair.model and not before.model:
            assert ends_sentence(pair.user), f"{pair.user!r} is answered in its own slice"


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.__name__)
def test_every_kind_of_talk_is_made_of_valid_slices(
    kind: Callable[[Builder], None], source: Source, vocabulary: TokenizerFile
) -> None:
    for seed in range(50):
        builder = talk(kind, source, vocabulary, seed)
        assert builder.pairs
        check(builder.pairs, builder.model_tokens)
        # nobody says half of "I see" and waits two seconds
        most = max(builder.user_words, 4) if kind is backchannel else builder.user_words
        assert all(len(p.user.split()) <= most for p in builder.pairs)


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.__name__)
def test_the_same_dice_make_the_same_talk(
    kind: Callable[[Builder], None], source: Source, vocabulary: TokenizerFile
) -> None:
    for seed in range(5):
        assert talk(kind, source, vocabulary, seed).pairs == talk(kind, source, vocabulary, seed).pairs


def test_whole_streams_hold_for_many_seeds(source: Source, vocabulary: TokenizerFile) -> None:
    for seed in range(50):
        pairs = make_stream(source, vocabulary.encode, Random(seed), 300)
        check(pairs, 20)
        ids = sum(len(EMBEDDED.user(vocabulary, p.user) + EMBEDDED.close(p.model)) for p in pairs)
        assert ids >= 200


def test_told_to_stop_it_is_silent_until_asked_again(source: Source, vocabulary: TokenizerFile) -> None:
    phrases = {normal(p) for kind in ("stop", "wait") for p in source.corpus.phrases[kind]}
    found = 0
    for seed in range(80):
        pairs = talk(stop, source, vocabulary, seed).pairs
        for i, pair in enumerate(pairs):
            if normal(pair.user) in phrases and i and pairs[i - 1].model:
                found += 1
                assert pair.model == ()
    assert found > 20


def test_through_backchannels_it_goes_on(source: Source, vocabulary: TokenizerFile) -> None:
    found = 0
    for seed in range(80):
        builder = talk(backchannel, source, vocabulary, seed)
        for before, pair in zip(builder.pairs, builder.pairs[1:], strict=False):
            if before.model and not before.final and normal(pair.user) in builder.backchannels():
                found += 1
                assert pair.model
    assert found > 50


def test_an_answer_that_is_not_interrupted_is_said_completely(source: Source, vocabulary: TokenizerFile) -> None:
    for seed in range(30):
        rng = Random(seed)
        question, exchange = source.long(rng)
        builder = Builder(source, vocabulary.encode, rng, 4, 7)
        builder.say(question)
        builder.answer(exchange)
        said = [i for pair in builder.pairs for i in pair.model]
        assert vocabulary.decode(said).split() == exchange.answer.split()
        assert [p.final for p in builder.pairs if p.model].count(True) == 1


def test_an_answer_cut_off_does_not_end(source: Source, vocabulary: TokenizerFile) -> None:
    for seed in range(30):
        builder = Builder(source, vocabulary.encode, Random(seed), 4, 7)
        question, exchange = source.topic(builder.rng)
        builder.say(question)
        rest = builder.cut(exchange)
        assert not any(p.final for p in builder.pairs)
        assert list(exchange.parts[len(exchange.parts) - len(rest) :]) == rest


def test_turns_are_whole_messages_and_whole_answers(source: Source, vocabulary: TokenizerFile) -> None:
    for seed in range(50):
        for pair in make_turns(source, vocabulary.encode, Random(seed), 200):
            assert pair.user and pair.model and pair.final
            assert not set(pair.model) & set(SPECIAL)
