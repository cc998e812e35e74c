"""The recogniser that needs no download: its logic with a decoder that is told, and PocketSphinx itself."""

import gzip
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from speech_fixtures import chunks, noise, say, silence

from duplex_runtime.alignment.corpus import load
from duplex_runtime.alignment.spoken import spoken_sentences
from duplex_runtime.errors import DuplexError
from duplex_runtime.speech import sphinx as module
from duplex_runtime.speech.base import EAR_RATE, Hypothesis, Word
from duplex_runtime.speech.sphinx import MORE_WORDS, SENTENCES, Patience, Sphinx, SphinxListening
from duplex_runtime.speech.words import spoken

#: What even espeak says clearly enough for an acoustic model of people: few and different words.
SAID = ("how old are you", "wait a moment", "stop")
TENTH = np.zeros(EAR_RATE // 10, np.int16)


Guess = list[tuple[str, int, int]]


class Decoder:
    """A `pocketsphinx.Decoder` that is told: its guess at each look as (word, start, end) in hundredths, the last one
    for ever; and what a second search finds at the ends of the utterance, one after the other."""

    def __init__(self, *guesses: Guess, again: tuple[Guess, ...] = ()) -> None:
        self.guesses, self.again = list(guesses), list(again)
        self.calls: list[str] = []
        self.searched = 0  # bytes since the utterance was started
        self.over = False

    def start_utt(self) -> None:
        self.calls.append("start")
        self.searched, self.over = 0, False

    def end_utt(self) -> None:
        assert not self.over, "ended twice"
        self.calls.append("end")
        self.over = True

    def process_raw(self, data: bytes, no_search: bool, full_utt: bool) -> None:
        assert data and not no_search and not full_utt and not self.over
        self.searched += len(data)

    def seg(self) -> list[SimpleNamespace] | None:
        told = self.again if self.over and self.again else self.guesses
        guess = told.pop(0) if len(told) > 1 else told[0]
        return [SimpleNamespace(word=w, start_frame=s, end_frame=e - 1) for w, s, e in guess] or None


def ear(decoder: Decoder, at: float = 0.0) -> SphinxListening:
    made = SphinxListening(decoder, Patience(look_seconds=0.1, again_seconds=0.5, ended_seconds=0.2))
    made.begin(at)
    return made


def texts(words: tuple[Word, ...] | list[Word]) -> list[str]:
    return [word.text for word in words]


# — when a word is certain —


def test_words_are_certain_after_a_second_search_if_they_ended_a_while_ago() -> None:
    first = [("sell", 0, 10), ("me", 10, 20), ("a", 40, 50)]
    decoder = Decoder(first, again=([("tell", 0, 10), ("me", 10, 20), ("about", 40, 50)],))
    made = ear(decoder, at=50.0)
    told = [made.feed(TENTH, 50 + 0.1 * n) for n in range(1, 7)]
    assert [texts(h.words) for h in told] == [[], [], [], [], ["tell", "me"], []]
    assert [h.partial for h in told] == ["sell me a"] * 4 + ["about", "a"]
    assert told[4].words == (Word("tell", 50.0, 50.1, 50.5), Word("me", 50.1, 50.2, 50.5))
    assert decoder.calls == ["start", "end", "start"]
    assert decoder.searched == 6 * len(TENTH) * 2, "all of the sound is searched again, and then goes on"


def test_what_is_certain_stays_even_if_a_later_search_finds_other_words() -> None:
    early = [("tell", 0, 10), ("me", 10, 20)]
    late = [("sell", 0, 9), ("him", 9, 18), ("more", 18, 45)]
    decoder = Decoder(early, again=(early, late))
    made = ear(decoder)
    told = [made.feed(TENTH, 0.1 * n) for n in range(1, 7)]
    assert [text for h in told for text in texts(h.words)] == ["tell", "me"]
    assert made.end(0.6) == Hypothesis((Word("more", 0.2, 0.45, 0.6),))


def test_the_end_makes_everything_certain() -> None:
    made = ear(Decoder([("tell", 0, 10)], again=([("tell", 0, 10), ("me", 10, 20)],)))
    assert made.feed(TENTH, 0.1) == Hypothesis((), "tell")
    assert made.end(0.2) == Hypothesis((Word("tell", 0.0, 0.1, 0.2), Word("me", 0.1, 0.2, 0.2)))


def test_silence_and_noises_are_no_words() -> None:
    guess = [
        ("<s>", 0, 5),
        ("<sil>", 5, 9),
        ("the(2)", 9, 15),
        ("[NOISE]", 15, 20),
        ("++UM++", 20, 30),
        ("</s>", 30, 31),
    ]
    made = ear(Decoder(guess))
    assert made.feed(TENTH, 0.1).partial == "the"
    assert made.end(0.5) == Hypothesis((Word("the", 0.09, 0.15, 0.5),))


def test_small_pieces_of_sound_are_looked_at_together() -> None:
    made = ear(Decoder([("tell", 0, 3)], [("tell", 0, 3), ("me", 3, 6)]))
    partials = [made.feed(TENTH[:320], 0.02 * n).partial for n in range(1, 11)]
    assert partials == [""] * 4 + ["tell"] * 5 + ["tell me"]


def test_a_long_utterance_is_begun_anew_in_a_pause() -> None:
    made = ear(Decoder([("so", 0, 10), ("<sil>", 10, 40)]), at=2.0)
    words = [w for n in range(1, 121) for w in made.feed(TENTH, 2 + 0.1 * n).words]
    assert [(w.text, w.start) for w in words] == [("so", 2.0), ("so", pytest.approx(8.1))]


def test_a_long_utterance_without_a_pause_is_begun_anew_as_well() -> None:
    decoder = Decoder([("so", 0, 10)])
    made = ear(decoder)
    sizes = []
    for n in range(1, 300):
        made.feed(TENTH, 0.1 * n)
        sizes.append(decoder.searched / 2 / EAR_RATE)
    assert max(sizes) == pytest.approx(12.0)


def test_an_ear_can_be_ended_twice_and_begun_without_an_end() -> None:
    decoder = Decoder([("tell", 0, 10)])
    made = ear(decoder)
    made.feed(TENTH, 0.1)
    assert texts(made.end(0.2).words) == ["tell"]
    assert made.end(0.3) == Hypothesis()
    made.begin(1.0)
    made.begin(2.0)
    assert decoder.calls == ["start", "end", "start", "end", "start"]
    assert made.feed(TENTH[:0], 2.0) == Hypothesis()


# — PocketSphinx —


@pytest.fixture(scope="module")
def sphinx(tmp_path_factory: pytest.TempPathFactory) -> Sphinx:
    return Sphinx(SAID, cache=tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def heard(sphinx: Sphinx) -> dict[str, list[Hypothesis]]:
    """What was made of some sentences, in frames of 20 ms."""
    made = sphinx.listen()
    told: dict[str, list[Hypothesis]] = {}
    at = 10.0
    for text in SAID:
        sound = np.concatenate([silence(0.2), say(text), silence(0.4)])
        made.begin(at)
        told[text] = []
        for chunk in chunks(sound):
            at += len(chunk) / EAR_RATE
            told[text].append(made.feed(chunk, at))
        told[text].append(made.end(at))
    return told


def words_of(told: list[Hypothesis]) -> list[Word]:
    return [word for hypothesis in told for word in hypothesis.words]


def test_it_understands_what_it_knows(heard: dict[str, list[Hypothesis]]) -> None:
    for text, told in heard.items():
        assert " ".join(texts(words_of(told))) == text


def test_the_words_lie_where_they_were_spoken(heard: dict[str, list[Hypothesis]]) -> None:
    at = 10.0
    for text, told in heard.items():
        words = words_of(told)
        until = at + 0.6 + len(say(text)) / EAR_RATE
        assert at < words[0].start and words[-1].end <= until
        assert all(a.start < a.end <= b.start for a, b in pairwise(words))
        assert all(w.committed_at >= w.end for w in words)
        at = until


def test_words_come_while_one_speaks(heard: dict[str, list[Hypothesis]]) -> None:
    told = heard["how old are you"]
    assert any(hypothesis.partial.startswith("how old") for hypothesis in told)
    assert words_of(told)[0].committed_at < words_of(told)[-1].committed_at
    assert told[-1].partial == ""


def test_noise_and_silence_are_not_put_into_brackets(sphinx: Sphinx) -> None:
    made = sphinx.listen()
    for sound in (silence(1), noise(1, 800), np.zeros(EAR_RATE, np.int16)):
        made.begin(0.0)
        told = [made.feed(sound, 1.0), made.end(1.1)]
        assert all(word.text.replace("'", "").isalpha() for word in words_of(told))


def test_what_was_built_is_used_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Sphinx(SAID, cache=tmp_path)
    (folder,) = tmp_path.iterdir()
    assert sorted(f.name for f in folder.iterdir()) == ["language.arpa", "words.dict"]
    with monkeypatch.context() as patch:
        patch.setattr(module, "arpa", lambda *_: pytest.fail("built once more"))
        Sphinx(SAID, cache=tmp_path)
    Sphinx((*SAID, "hello"), cache=tmp_path)
    assert len([*tmp_path.iterdir()]) == 2


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("no folder")
    assert Sphinx(SAID, cache=file / "cache").listen()


def test_plurals_and_possessives_are_spoken_as_their_word() -> None:
    dictionary = "puppy P AH P IY\nfox F AA K S\ncat K AE T\nthe DH AH\nthe(2) DH IY\n"
    found = dict(module._pronunciations(dictionary, {"puppy's", "fox's", "cats", "the", "zzyzx"}))
    assert found == {
        "the": "DH AH", "the(2)": "DH IY", "puppy's": "P AH P IY Z", "fox's": "F AA K S IH Z", "cats": "K AE T S"
    }  # fmt: skip


def test_a_missing_library_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pocketsphinx", None)
    with pytest.raises(DuplexError, match=r"pip install 'duplex-arena\[voice\]'") as caught:
        Sphinx()
    assert caught.value.code == "ears_missing"


# — what the package brings —


def lines() -> list[str]:
    return gzip.decompress(SENTENCES.read_bytes()).decode().splitlines()


def test_the_sentences_are_those_of_the_corpus() -> None:
    assert lines() == spoken_sentences(load()), (
        "the corpus has changed: write the sentences anew, see alignment/spoken.py"
    )
    assert SENTENCES.stat().st_size < 1_000_000


def test_no_held_out_wording_is_among_the_sentences() -> None:
    corpus = load()
    trained = {" ".join(spoken(w)) for e in _exchanges() for w in (*e.asks(False), *e.leaning)}
    held_out = {" ".join(spoken(w)) for e in _exchanges() for w in e.asks(True)} - trained
    assert len(held_out) > 2_000
    # the few that are there are said by another list as well: a greeting that is also small talk
    assert len(held_out & set(lines())) < 0.02 * len(held_out)
    assert not set(corpus.phrases["stop"][-10:]) & set(lines())


def _exchanges() -> Iterator:
    corpus = load()
    for exchange in (*corpus.facts, *corpus.talk, *corpus.long):
        yield from (exchange, *exchange.inner)


def test_nearly_every_word_can_be_spoken() -> None:
    import pocketsphinx

    dictionary = (Path(pocketsphinx.get_model_path()) / "en-us" / "cmudict-en-us.dict").read_text(encoding="utf-8")
    known = {line.split()[0] for line in dictionary.splitlines() if line}
    sounds = {sound for line in dictionary.splitlines() for sound in line.split()[1:]}
    more = [line.split() for line in MORE_WORDS.read_text(encoding="utf-8").splitlines()]
    assert [word for word, *_ in more] == sorted(word for word, *_ in more)
    assert not {sound for _, *spelled in more for sound in spelled} - sounds
    assert not {word for word, *_ in more} & known, "the dictionary knows it already"
    said = {word for line in lines() for word in line.split()}
    spelled = dict(module._pronunciations(dictionary + MORE_WORDS.read_text(encoding="utf-8"), said))
    assert len(said - spelled.keys()) < 0.015 * len(said)
