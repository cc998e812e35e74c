"""A recogniser that needs no download and no GPU: PocketSphinx with its own acoustic model of American English, and a
language model of what people say here.

    sphinx = Sphinx()
    ear = sphinx.listen()
    ear.begin(at=0.0); ear.feed(samples, now=0.1).partial; ear.end(now=2.0).words

It knows the words of `language/sentences.txt.gz` and no others: what is said outside of them comes out as words that
sound alike. `alignment/spoken.py` writes that file from the corpus. What is computed from it (two seconds, once)
is kept in a cache folder.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np

from duplex_runtime.errors import DuplexError
from duplex_runtime.speech.base import EAR_RATE, Hypothesis, Word
from duplex_runtime.speech.ngram import arpa

#: Sentences of spoken words, one a line; and words that the pronouncing dictionary of PocketSphinx lacks.
SENTENCES = Path(__file__).parent / "language" / "sentences.txt.gz"
MORE_WORDS = Path(__file__).parent / "language" / "words.dict"
_ORDER = 3
_FRAMES = 100  # a second
_ROUNDING = 1e-6  # seconds, of sums of times
_VERSION = 1  # of what stands in the cache


@dataclass(frozen=True)
class Tuning:
    """How PocketSphinx searches, found by trying on held-out wordings in three voices. `again`: a second
    search with all that is known at the end."""

    language_weight: float = 6.5
    beam: float = 1e-48
    word_beam: float = 7e-29
    again: bool = True


@dataclass(frozen=True)
class Patience:
    """Every `look_seconds` of sound the guess is renewed. Every `again_seconds` what was said is searched a second
    time, and words that ended `ended_seconds` ago are certain.

    In haste, for somebody may be breaking in: from `haste_from_seconds` of sound on (0.3 of them before the voice) the
    second search comes every `haste_seconds`, and its first words are certain as far as both searches agree."""

    look_seconds: float = 0.1
    again_seconds: float = 1.0
    ended_seconds: float = 0.4
    haste_from_seconds: float = 0.55
    haste_seconds: float = 0.15


class Sphinx:
    """The recogniser: PocketSphinx, offline."""

    name = "PocketSphinx"
    offline = True

    def __init__(
        self,
        sentences: Sequence[str] | None = None,
        cache: Path | None = None,
        tuning: Tuning = Tuning(),
        patience: Patience = Patience(),
    ) -> None:
        """sentences: what people may say, in spoken words (`words.spoken`), instead of those of the package.
        cache: folder for what is computed from them. Raises DuplexError if PocketSphinx is not installed."""
        self._pocketsphinx = _library()
        self._patience = patience
        folder = _prepared(
            Path(self._pocketsphinx.get_model_path()) / "en-us" / "cmudict-en-us.dict",
            gzip.decompress(SENTENCES.read_bytes()).decode() if sentences is None else "\n".join(sentences),
            cache or Path.home() / ".cache" / "duplex-arena",
        )
        self._options: dict[str, Any] = {
            "lm": str(folder / "language.arpa"),
            "dict": str(folder / "words.dict"),
            "loglevel": "FATAL",  # what is wrong comes as an exception as well
            "lw": tuning.language_weight,
            "beam": tuning.beam,
            "pbeam": tuning.beam,
            "wbeam": tuning.word_beam,
            "fwdflat": tuning.again,
            "bestpath": tuning.again,
        }

    def listen(self) -> SphinxListening:
        """An ear for one more person: 0.2 s, and about 30 MB."""
        decoder = self._pocketsphinx.Decoder(self._pocketsphinx.Config(**self._options))
        return SphinxListening(decoder, self._patience)


@dataclass(frozen=True)
class _Found:
    """A word in the present best guess, times in seconds since the utterance began."""

    text: str
    start: float
    end: float


class SphinxListening:
    """One person's ear. `decoder`: a `pocketsphinx.Decoder` of its own; it keeps what it learned of voice and
    microphone from one utterance to the next.

    While somebody speaks, PocketSphinx looks at the language model only roughly: of the words of the voice slt one in
    five or six was wrong, even half a second later. Its second search at the end of an utterance has half the errors.
    So the utterance is ended now and then, and its sound searched once more from the beginning, which takes about
    0.08 s for each second of it. (`Decoder.nbest` within an utterance would be cheaper, and crashes the process.)
    """

    #: From here on an utterance is begun anew, in a pause or at the latest: what is searched again grows with it.
    _LONG_SECONDS, _LONGEST_SECONDS = 6.0, 12.0

    def __init__(self, decoder: Any, patience: Patience = Patience()) -> None:
        self._decoder = decoder
        self._patience = patience
        self._open = False
        self.hasty = False
        self._partial = ""
        self._looked: float = 0.0
        self._searched: float = 0.0
        self._reset(0.0)

    def begin(self, at: float) -> None:
        """Somebody begins to speak; the first sample of the next `feed` is at `at`."""
        if self._open:
            self._decoder.end_utt()
        self._reset(at)
        self._decoder.start_utt()
        self._open = True

    def feed(self, samples: np.ndarray, now: float) -> Hypothesis:
        """int16[n] → words that became certain, and the rest of the guess."""
        if len(samples):  # PocketSphinx refuses no bytes at all
            data = samples.astype("<i2").tobytes()
            self._sound += data
            self._decoder.process_raw(data, False, False)
        heard = self._heard
        if heard - self._looked < self._patience.look_seconds - _ROUNDING:
            return Hypothesis((), self._partial)
        self._looked = heard
        words, pause = self._guess()
        if heard > self._LONGEST_SECONDS or (heard > self._LONG_SECONDS and pause > 0.2):
            result = self._commit(self._finish(), now)
            self.begin(self._at + heard)
            return result
        certain: list[_Found] = []
        if self._may_search_again(heard):
            self._searched = heard
            rough, words = words, self._search_again()
            certain = [w for w in words if heard - w.end > self._patience.ended_seconds - _ROUNDING]
            if self.hasty:
                agreed = takewhile(lambda pair: pair[0].text == pair[1].text, zip(words, rough, strict=False))
                certain = max(certain, [word for word, _ in agreed], key=len)
        result = self._commit(certain, now)
        self._partial = " ".join(word.text for word in words[len(certain) :])
        return Hypothesis(result.words, self._partial)

    def _may_search_again(self, heard: float) -> bool:
        since, patience = heard - self._searched + _ROUNDING, self._patience
        if self.hasty and heard > patience.haste_from_seconds - _ROUNDING:
            return since > patience.haste_seconds
        return since > patience.again_seconds

    def end(self, now: float) -> Hypothesis:
        """They have stopped: everything is certain."""
        result = self._commit(self._finish(), now)
        self._partial = ""
        return result

    def _reset(self, at: float) -> None:
        self._at = at
        self._sound = bytearray()
        self._looked = self._searched = self._done = 0.0
        self._partial = ""

    @property
    def _heard(self) -> float:
        """Seconds of this utterance."""
        return len(self._sound) / 2 / EAR_RATE

    def _guess(self) -> tuple[list[_Found], float]:
        """(words that are not yet certain, seconds of silence behind them)."""
        words: list[_Found] = []
        pause = 0.0
        for segment in self._decoder.seg() or ():
            text = re.sub(r"\(\d+\)$", "", segment.word)  # the(2): its second pronunciation
            start, end = segment.start_frame / _FRAMES, (segment.end_frame + 1) / _FRAMES
            if text[0] in "<[+":  # silence and noises
                pause += end - start
                continue
            pause = 0.0
            if (start + end) / 2 > self._done:  # another search may move what is certain a little
                words.append(_Found(text, max(start, self._done), end))
        return words, pause

    def _search_again(self) -> list[_Found]:
        """The words that are not yet certain after a second search; the utterance goes on."""
        words = self._finish()
        self._decoder.start_utt()
        self._open = True
        self._decoder.process_raw(bytes(self._sound), False, False)
        return words

    def _finish(self) -> list[_Found]:
        if not self._open:
            return []
        self._decoder.end_utt()
        self._open = False
        return self._guess()[0]

    def _commit(self, words: list[_Found], now: float) -> Hypothesis:
        if words:
            self._done = words[-1].end
        return Hypothesis(tuple(Word(w.text, self._at + w.start, self._at + w.end, now) for w in words))


# — what the decoder reads —


def _library() -> Any:
    try:
        import pocketsphinx
    except ImportError:
        raise DuplexError(
            "ears_missing", "PocketSphinx is not installed; install it with: pip install 'duplex-arena[voice]'"
        ) from None
    return pocketsphinx


def _prepared(dictionary: Path, sentences: str, cache: Path) -> Path:
    """The folder with language.arpa and words.dict for these sentences, built if it is not there."""
    spelled = dictionary.read_bytes() + MORE_WORDS.read_bytes()
    key = hashlib.sha256(b"%d %d %s %s" % (_VERSION, _ORDER, spelled, sentences.encode())).hexdigest()[:20]
    folder = cache / f"sphinx-{key}"
    if folder.is_dir():
        return folder
    try:
        cache.mkdir(parents=True, exist_ok=True)
        place = Path(tempfile.mkdtemp(prefix="sphinx-", dir=cache))
    except OSError:  # no home, or one that cannot be written
        place = Path(tempfile.mkdtemp(prefix="duplex-arena-sphinx-"))
    lines = [line.split() for line in sentences.splitlines()]
    wanted = {word for line in lines for word in line}
    sounds = dict(_pronunciations(spelled.decode("utf-8"), wanted))
    (place / "words.dict").write_text("".join(f"{word} {sounds[word]}\n" for word in sounds), encoding="utf-8")
    (place / "language.arpa").write_text("\n".join(arpa(lines, _ORDER, sounds.keys())) + "\n", encoding="utf-8")
    if place.parent != cache:
        return place
    try:
        os.replace(place, folder)  # whole or not at all
    except OSError:  # somebody else was faster
        return folder if folder.is_dir() else place
    return folder


def _pronunciations(dictionary: str, wanted: set[str]) -> Iterator[tuple[str, str]]:
    """(word, or word(2) for another way to say it; its sounds) for the words of `wanted` that are known, or that are
    the plural or possessive of one that is."""
    lines = dictionary.splitlines()
    for line in lines:
        word, _, sounds = line.partition(" ")
        if word.partition("(")[0] in wanted:
            yield word, sounds.strip()
    known = dict(line.partition(" ")[::2] for line in lines)
    for word in sorted(wanted - known.keys()):
        for ending in ("'s", "s"):
            stem = known.get(word.removesuffix(ending), "").strip() if word.endswith(ending) else ""
            if stem:
                yield word, f"{stem} {_plural(stem.split()[-1])}"
                break


def _plural(last: str) -> str:
    if last in ("S", "Z", "SH", "ZH", "CH", "JH"):
        return "IH Z"
    return "S" if last in ("P", "T", "K", "F", "TH") else "Z"
