from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

import pytest

import duplex_runtime.models
from duplex_runtime.alignment.builder import CUT, Builder, Pair
from duplex_runtime.alignment.corpus import load
from duplex_runtime.alignment.dialogues import Source
from duplex_runtime.alignment.kinds import backchannel, hush, nudge, side_speech, stop
from duplex_runtime.alignment.noise import normal
from duplex_runtime.alignment.streams import DUPLEX, duplex_talk, extend, memory, turn_talk
from duplex_runtime.layout import EMBEDDED
from duplex_runtime.models.vocabulary import TokenizerFile
from duplex_runtime.slices import ends_sentence

SPECIAL = range(6)  # but <keep>, which the model says
KEEP = EMBEDDED.keep


@pytest.fixture(scope="module")
def source() -> Source:
    return Source(load())


@pytest.fixture(scope="module")
def vocabulary() -> TokenizerFile:
    return TokenizerFile(Path(duplex_runtime.models.__file__).parent / "embedded" / "tokenizer.json")


def talk(kind: Callable[[Builder], None], source: Source, vocabulary: TokenizerFile, seed: int) -> Builder:
    rng = Random(seed)
    words, tokens = rng.choice((1, 2, 3, 5, 8, 40)), rng.choice((3, 8, 10, 20))
    builder = Builder(source, vocabulary.encode, rng, words, tokens, keep=KEEP)
    kind(builder)
    return builder


def backchannels(source: Source) -> set[str]:
    return {normal(b) for b in source.corpus.phrases["backchannels"]}


def check(pairs: Sequence[Pair], model_tokens: int) -> None:
    for before, pair in zip([Pair("", ()), *pairs], pairs, strict=False):
        assert pair.user == " ".join(pair.user.split())
        assert len(pair.model) <= model_tokens
        assert not set(pair.model) & set(SPECIAL)
        assert 0.0 < pair.weight <= 1.0 or (pair.weight == CUT and not pair.model)
        assert pair.model or not pair.final, "only an answer can end"
        if pair.user and pair.model and not before.model and before.weight != CUT:
            assert ends_sentence(pair.user), f"{pair.user!r} is answered in its own slice"


@pytest.mark.parametrize("kind", DUPLEX, ids=lambda k: k.__name__)
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


@pytest.mark.parametrize("kind", DUPLEX, ids=lambda k: k.__name__)
def test_the_same_dice_make_the_same_talk(
    kind: Callable[[Builder], None], source: Source, vocabulary: TokenizerFile
) -> None:
    for seed in range(5):
        assert talk(kind, source, vocabulary, seed).pairs == talk(kind, source, vocabulary, seed).pairs


def test_whole_streams_hold_for_many_seeds(source: Source, vocabulary: TokenizerFile) -> None:
    for seed in range(50):
        builder = duplex_talk(source, vocabulary.encode, Random(seed), KEEP)
        for _ in range(5):
            extend(builder)
        check(builder.pairs, 20)


def test_told_to_stop_it_is_silent_until_asked_again(source: Source, vocabulary: TokenizerFile) -> None:
    phrases = {normal(p) for kind in ("stop", "wait") for p in source.phrases(kind)}
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
            if before.model and not before.final and normal(pair.user) in backchannels(source):
                found += 1
                assert pair.model or pair.weight == CUT, "silent only where the next slice cut it before a word"
    assert found > 50


def test_a_backchannel_cuts_the_slice_before_it(source: Source, vocabulary: TokenizerFile) -> None:
    lengths = set[int]()
    for seed in range(250):
        builder = talk(backchannel, source, vocabulary, seed)
        for before, pair in zip(builder.pairs, builder.pairs[1:], strict=False):
            if builder.model_tokens == 10 and pair.model and normal(pair.user) in backchannels(source):
                lengths.add(len(before.model))
    assert lengths >= set(range(1, 11))


def test_words_for_somebody_else_change_nothing(source: Source, vocabulary: TokenizerFile) -> None:
    during = 0
    for seed in range(80):
        builder = talk(side_speech, source, vocabulary, seed)
        said = vocabulary.decode([i for p in builder.pairs for i in p.model]).split()
        assert [p.final for p in builder.pairs].count(True) == bool(said)
        speaking = [p for p in builder.pairs if p.model]
        during += any(p.user for p in speaking[1:])
    assert during > 20


def test_silent_on_request_until_called(source: Source, vocabulary: TokenizerFile) -> None:
    for seed in range(80):
        builder = talk(hush, source, vocabulary, seed)
        asked, called = builder.notes
        between = builder.pairs[asked.at : called.at]
        answer = [p for p in between if p.model]
        assert vocabulary.decode([i for p in answer for i in p.model]).strip() in source.phrases("hush_ok")
        last = between.index(answer[-1])
        assert not any(p.model for p in between[last + 1 :]) and len(between) > last + 1


def test_a_nudge_comes_after_two_silent_slices_and_only_if_asked_for(source: Source, vocabulary: TokenizerFile) -> None:
    for seed in range(80):
        builder = talk(nudge, source, vocabulary, seed)
        starts = [i for i, p in enumerate(builder.pairs) if p.model and not p.user and not builder.pairs[i - 1].model]
        before = [builder.pairs[i - 1] for i in starts if builder.pairs[i - 1].user == ""]
        assert before, "it never spoke into the silence"


def test_what_was_told_is_noted_and_asked_for(source: Source, vocabulary: TokenizerFile) -> None:
    found = 0
    for seed in range(80):
        builder = talk(memory, source, vocabulary, seed)
        said = vocabulary.decode([i for p in builder.pairs for i in p.model])
        for about, value in builder.told.items():
            found += 1
            assert value in said
            assert [n.about for n in builder.notes].count(about) == 1
            assert all(n.model[0] == KEEP and n.user for n in builder.notes)
    assert found > 40


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
        builder = turn_talk(source, vocabulary.encode, Random(seed), KEEP)
        for _ in range(5):
            extend(builder)
        for pair in builder.pairs:
            assert pair.user and pair.model and pair.final
            assert not set(pair.model) & set(SPECIAL)
