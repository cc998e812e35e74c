"""Words that the microphone heard from our own loudspeaker: they are not the person's.

    echo = Echo()
    echo.said("volcanoes are openings", at=3.0, until=4.4)      # what is being heard from the mouth
    echo.sift(words)                                            # the person's words of those just committed

Browsers cancel echo, and often enough fail: some do for the first seconds, some always.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from duplex_runtime.speech.base import Word
from duplex_runtime.speech.words import spoken


@dataclass(frozen=True)
class Likeness:
    """When heard words are taken for the mouth's own.

    run: so many in a row have to match, or all of a shorter utterance. late_seconds: so long after it was spoken a word
    may be heard. similar: least similarity of two words, 1 for equal ones (difflib's ratio of their letters).
    guard_seconds: so long after the mouth first spoke, one word is enough, for echo cancellation is still learning.
    spared: words that stop it, which are always the person's when they come alone.
    """

    run: int = 2
    late_seconds: float = 3.0
    similar: float = 0.75
    guard_seconds: float = 0.0
    spared: frozenset[str] = frozenset(("stop", "wait", "quiet", "enough", "no", "shush", "hush", "pause"))


@dataclass(frozen=True)
class _Own:
    """A word that the mouth says, and from when to when it is heard."""

    text: str
    start: float
    end: float


class Echo:
    """Knows what the mouth says and which words are only its echo. Times are on the session's clock."""

    _EARLY_SECONDS = 0.7  # a word may seem to be heard so much before it: both times are estimates
    _PAUSE_SECONDS = 1.0  # after which another utterance begins

    def __init__(self, likeness: Likeness = Likeness()) -> None:
        self._set = likeness
        self._own: deque[_Own] = deque()
        self._heard: list[Word] = []  # the latest words, echo or not
        self._first: float | None = None  # when the mouth first spoke

    def said(self, text: str, at: float, until: float) -> None:
        """`text` comes out of the loudspeaker from `at` until `until`; its words share the time by their length."""
        words = spoken(text)
        letters = sum(map(len, words))
        position = at
        for word in words:
            length = (until - at) * len(word) / letters
            self._own.append(_Own(word, position, position + length))
            position += length
        if words and self._first is None:
            self._first = at

    def flushed(self, at: float) -> None:
        """The mouth fell silent at `at`: what was to come after it is not said."""
        while self._own and self._own[-1].start >= at:
            self._own.pop()

    def sift(self, words: Sequence[Word]) -> tuple[Word, ...]:
        """The words (committed together, in order) without those that are an echo. What was committed a moment ago
        counts as their beginning: words often become certain one at a time."""
        if not words:
            return ()
        self._forget(words[0].start)
        recent = [word for word in self._heard if words[0].start - word.end < self._PAUSE_SECONDS]
        heard = [*recent, *words]
        dropped: set[int] = set()
        for first in range(len(heard)):
            length = max((self._run(heard[first:], place) for place in range(len(self._own))), default=0)
            if self._is_echo(heard, first, length):
                dropped.update(range(first, first + length))
        self._heard = heard[-10:]
        return tuple(word for i, word in enumerate(words, len(recent)) if i not in dropped)

    def _run(self, heard: Sequence[Word], place: int) -> int:
        """How many words from the first on are like the mouth's from `place` on, at about that time."""
        count = 0
        for word, own in zip(heard, itertools.islice(self._own, place, None), strict=False):
            in_time = -self._EARLY_SECONDS <= word.start - own.start <= self._set.late_seconds
            if not in_time or not self._alike(word.text, own.text):
                break
            count += 1
        return count

    def _is_echo(self, heard: Sequence[Word], first: int, length: int) -> bool:
        if length >= self._set.run or not length:
            return length > 0
        if " ".join(spoken(heard[first].text)) in self._set.spared:
            return False
        guarded = self._first is not None and heard[first].start < self._first + self._set.guard_seconds
        return length == len(heard) or guarded

    def _alike(self, heard: str, own: str) -> bool:
        one = " ".join(spoken(heard))
        return one == own or SequenceMatcher(None, one, own, autojunk=False).ratio() >= self._set.similar

    def _forget(self, before: float) -> None:
        while self._own and self._own[0].end < before - self._set.late_seconds:
            self._own.popleft()
