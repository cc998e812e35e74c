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
    """How PocketSphinx searches, found by trying on held-out wordings in three voices. `again`: at the end of what was
    said, it is searched a second time with all that is then known."""

    language_weight: float = 6.5
    beam: float = 1e-48
    word_beam: float = 7e-29
    again: bool = True


@dataclass(frozen=True)
class Patience:
    """When a word is certain: it ended `ended_seconds` ago and has not changed for `same_seconds`. New words are looked
    for every `look_seconds`."""

    ended_seconds: float = 0.3
    same_seconds: float = 0.2
    look_seconds: float = 0.1


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
    microphone from one utterance to the next."""

    #: An utterance is ended here and begun anew, in a pause or at the latest: what is searched grows with it.
    _LONG_SECONDS, _LONGEST_SECONDS = 12.0, 25.0

    def __init__(self, decoder: Any, patience: Patience = Patience()) -> None:
        self._decoder = decoder
        self._patience = patience
        self._open = False
        self._at = 0.0
        self._heard = self._looked = 0.0  # seconds of this utterance, and when words were last looked for
        self._done = 0.0  # end of the last word that is certain
        self._before: list[tuple[_Found, float]] = []  # the last guess, and since when each word stands there
        self._partial = ""

    def begin(self, at: float) -> None:
        """Somebody begins to speak; the first sample of the next `feed` is at `at`."""
        if self._open:
            self._decoder.end_utt()
        self._decoder.start_utt()
        self._open = True
        self._at = at
        self._heard = self._looked = self._done = 0.0
        self._before = []
        self._partial = ""

    def feed(self, samples: np.ndarray, now: float) -> Hypothesis:
        """int16[n] → words that became certain, and the rest of the guess."""
        if len(samples):  # PocketSphinx refuses no bytes at all
            self._decoder.process_raw(samples.astype("<i2").tobytes(), False, False)
        self._heard += len(samples) / EAR_RATE
        if self._heard - self._looked < self._patience.look_seconds - _ROUNDING:
            return Hypothesis((), self._partial)
        self._looked = self._heard
        words, pause = self._guess()
        certain = self._certain(words)
        if self._heard > self._LONGEST_SECONDS or (self._heard > self._LONG_SECONDS and pause > 0.2):
            certain = self._finish()
            result = self._commit(certain, now)
            self.begin(self._at + self._heard)
            return result
        result = self._commit(certain, now)
        self._partial = " ".join(word.text for word in words[len(certain) :])
        return Hypothesis(result.words, self._partial)

    def end(self, now: float) -> Hypothesis:
        """They have stopped: everything is certain."""
        result = self._commit(self._finish(), now)
        self._partial = ""
        return result

    def _guess(self) -> tuple[list[_Found], float]:
        """(words that are not yet certain, seconds of silence behind them)."""
        words: list[_Found] = []
        pause = 0.0
        for segment in self._decoder.seg() or ():
            found = _Found(
                re.sub(r"\(\d+\)$", "", segment.word), segment.start_frame / _FRAMES, (segment.end_frame + 1) / _FRAMES
            )
            if found.text[0] in "<[+":  # silence and noises
                pause += found.end - found.start
                continue
            pause = 0.0
            if (found.start + found.end) / 2 > self._done:  # the search may move what is certain a little
                words.append(_Found(found.text, max(found.start, self._done), found.end))
        return words, pause

    def _certain(self, words: list[_Found]) -> list[_Found]:
        """Those from the first on that have stood still long enough."""
        now: list[tuple[_Found, float]] = []
        for i, word in enumerate(words):
            since = self._heard
            if len(now) == i < len(self._before):
                earlier, stood = self._before[i]
                if earlier.text == word.text and abs(earlier.end - word.end) < 0.05:
                    since = stood
            now.append((word, since))
        certain: list[_Found] = []
        for word, since in now:
            if (
                self._heard - word.end < self._patience.ended_seconds - _ROUNDING
                or self._heard - since < self._patience.same_seconds - _ROUNDING
            ):
                break
            certain.append(word)
        self._before = now[len(certain) :]
        return certain

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
