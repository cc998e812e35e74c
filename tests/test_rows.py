from collections.abc import Iterator
from pathlib import Path
from random import Random

import numpy as np
import pytest
from fakes import Words, pairs_of

import duplex_runtime.models
from duplex_runtime.alignment import rows as rows_module
from duplex_runtime.alignment.builder import CUT, Builder, Pair
from duplex_runtime.alignment.corpus import load
from duplex_runtime.alignment.dialogues import Source
from duplex_runtime.alignment.rows import RowMaker, pair_ids
from duplex_runtime.layout import EMBEDDED, MINICPM_DUPLEX
from duplex_runtime.models.vocabulary import TokenizerFile

LENGTH = 128
USER, MODEL = EMBEDDED.user_marker[0], EMBEDDED.model_marker[0]


@pytest.fixture(scope="module")
def vocabulary() -> TokenizerFile:
    return TokenizerFile(Path(duplex_runtime.models.__file__).parent / "embedded" / "tokenizer.json")


@pytest.fixture(scope="module")
def source() -> Source:
    return Source(load())


def maker(source: Source, vocabulary: TokenizerFile, seed: int = 1, turns_share: float = 0.2) -> RowMaker:
    return RowMaker(source, EMBEDDED, vocabulary, LENGTH, seed, turns_share)


def halves(ids: list[int]) -> Iterator[tuple[int, int, bool]]:
    """(position, id, does the model say it) of every id but BOS."""
    model = False
    for i, token in enumerate(ids[1:], 1):
        if token == USER:
            model = False
        yield i, token, model
        if token == MODEL:
            model = True
        elif token == EMBEDDED.eos:
            model = False


def test_only_what_the_model_says_is_learned() -> None:
    words = Words()
    ids, weights = pair_ids(EMBEDDED, words, Pair("hello there", tuple(words.encode("hi you")), 0.7))
    assert ids == [4, *words.encode("hello there"), 5, *words.encode("hi you"), 2]
    assert weights == [0.0, 0.0, 0.0, 0.0, 0.7, 1.0, 0.0]


def test_nothing_is_learned_where_a_slice_was_cut_unseen() -> None:
    words = Words()
    assert pair_ids(EMBEDDED, words, Pair("hello", tuple(words.encode("hi you")), CUT, True))[1] == [0.0] * 6


def test_the_persons_words_are_learned_as_much_as_asked_for() -> None:
    words = Words()
    pair = Pair("hello there", tuple(words.encode("hi you")), final=True)
    assert pair_ids(EMBEDDED, words, pair, 0.1)[1] == [0.0, 0.1, 0.1, 0.0, 1.0, 1.0, 1.0]
    assert pair_ids(EMBEDDED, words, Pair("", ()), 0.1)[1][:3] == [0.0, 0.0, 0.0]


def test_the_end_is_learned_only_where_an_answer_ends() -> None:
    words = Words()
    said = tuple(words.encode("hi"))
    assert pair_ids(EMBEDDED, words, Pair("hello", said, final=True))[1][-1] == 1.0
    assert pair_ids(EMBEDDED, words, Pair("hello", said))[1][-1] == 0.0


def test_silence_has_the_weight_of_its_decision() -> None:
    ids, weights = pair_ids(MINICPM_DUPLEX, Words(), Pair("", (), 0.3))
    assert ids == [95396, 4194, 95388, 122753, 95396, 10850, 95388, 122753, 2]
    assert weights == [0.0] * 7 + [0.3, 0.0]


def test_a_row_is_always_the_same_whatever_was_made_before(source: Source, vocabulary: TokenizerFile) -> None:
    first, second = maker(source, vocabulary), maker(source, vocabulary)
    second.row(9)
    for index in (3, 0, 1):
        for a, b in zip(first.row(index), second.row(index), strict=True):
            assert np.array_equal(a, b)


@pytest.mark.parametrize("turns_share", [0.0, 1.0])
def test_rows_may_be_short(
    source: Source, vocabulary: TokenizerFile, turns_share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = 0
    extend = rows_module.extend

    def counted(builder: Builder) -> None:
        nonlocal calls
        calls += 1
        assert calls < 20_000, "it never ends"
        extend(builder)

    monkeypatch.setattr(rows_module, "extend", counted)
    rows = RowMaker(source, EMBEDDED, vocabulary, 16, 1, turns_share)
    assert {len(rows.row(i)[0]) for i in range(100)} == {17}


def test_rows_differ_by_index_and_by_seed(source: Source, vocabulary: TokenizerFile) -> None:
    rows = [maker(source, vocabulary, seed).row(i)[0].tobytes() for seed in (1, 2) for i in range(10)]
    assert len(set(rows)) == len(rows)


def test_a_batch_is_its_rows(source: Source, vocabulary: TokenizerFile) -> None:
    rows = maker(source, vocabulary)
    ids, weights = rows.batch(2, 3)
    assert ids.shape == weights.shape == (3, LENGTH + 1)
    assert (ids.dtype, weights.dtype) == (np.int64, np.float32)
    assert np.array_equal(ids[1], rows.row(7)[0])


@pytest.mark.parametrize("turns_share", [0.0, 1.0])
def test_every_row_is_bos_and_pairs_with_no_weight_on_the_person(
    source: Source, vocabulary: TokenizerFile, turns_share: float
) -> None:
    rows = maker(source, vocabulary, turns_share=turns_share)
    for index in range(40):
        ids, weights = (a.tolist() for a in rows.row(index))
        assert len(ids) == len(weights) == LENGTH + 1
        assert ids[:2] == [EMBEDDED.bos, USER]
        assert weights[0] == 0.0
        last = max(i for i, token in enumerate(ids) if token == EMBEDDED.eos)
        assert pairs_of(ids[: last + 1], vocabulary)
        for i, token, model in halves(ids):
            if not model:
                assert weights[i] == 0.0, f"{token} at {i} is the person's"
            elif token not in (EMBEDDED.eos, EMBEDDED.idle) and i > noted(ids, weights):
                assert weights[i] > 0.0


def noted(ids: list[int], weights: list[float]) -> int:
    """Where the things end that a row begins with, kept in mind from before."""
    at = 0
    while EMBEDDED.eos in ids[at + 1 :]:
        eos = ids.index(EMBEDDED.eos, at + 1)
        model = ids.index(MODEL, at)
        if ids[model + 1] != EMBEDDED.keep or weights[model + 1]:
            return at
        at = eos
    return at


def test_what_is_kept_in_mind_stands_at_the_beginning(source: Source, vocabulary: TokenizerFile) -> None:
    rows = maker(source, vocabulary, turns_share=0.0)
    kept = 0
    for index in range(200):
        ids, weights = (a.tolist() for a in rows.row(index))
        end = noted(ids, weights)
        kept += end > 0
        assert not any(weights[: end + 1])
    assert kept > 5


def test_an_answer_is_cut_where_a_word_begins(source: Source, vocabulary: TokenizerFile) -> None:
    rows = maker(source, vocabulary)
    inside = 0
    for seed in range(60):
        rng = Random(seed)
        talk = Builder(source, vocabulary.encode, rng, 5, 10, starts_word=rows._starts_word)
        _, exchange = source.topic(rng)
        ids = [i for part in exchange.parts for i in vocabulary.encode(part)]
        talk.say("hello?")
        talk.cut(exchange)
        said = sum(len(pair.model) for pair in talk.pairs)
        assert rows._starts_word(ids[said])
        assert vocabulary.decode(ids[said:])[:1] in (" ", ",", ".")
        inside += not rows._starts_word(ids[said - 1])
    assert inside > 5  # words of several tokens are there, and were said whole


def test_the_end_after_a_silence_is_not_learned(source: Source, vocabulary: TokenizerFile) -> None:
    rows = maker(source, vocabulary, turns_share=0.0)
    for index in range(40):
        ids, weights = (a.tolist() for a in rows.row(index))
        ends = [i for i, t in enumerate(ids) if t == EMBEDDED.eos]
        assert all(weights[i] == 0.0 for i in ends if ids[i - 1] == EMBEDDED.idle)


def test_turn_based_rows_have_no_silence(source: Source, vocabulary: TokenizerFile) -> None:
    rows = maker(source, vocabulary, turns_share=1.0)
    assert all(EMBEDDED.idle not in rows.row(i)[0] for i in range(20))


def test_some_rows_begin_in_the_middle_of_a_talk(source: Source, vocabulary: TokenizerFile) -> None:
    rows = maker(source, vocabulary, turns_share=0.0)
    first = [
        pairs_of(ids[: ids.index(EMBEDDED.eos) + 1], vocabulary)[0]
        for ids in (rows.row(i)[0].tolist() for i in range(80))
    ]
    assert 0 < sum(person == "" and bool(model) for person, model in first) < 60
