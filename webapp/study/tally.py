"""How much of a talk was real: its seconds, the person's turns, and how often they broke in. Counted as it happens.

tally = Tally(clock)             # an observer of the conversation, as the recorder is
tally.figures()                  # Figures(seconds=61.5, turns=4, interruptions=1)

Seconds: those in which the person did something less than ACTIVE_SECONDS ago, or the partner was showing words. A turn
begins with words: the first ones, those after Enter, after LONG_PAUSE_SECONDS without any, and those after
SHORT_PAUSE_SECONDS in which the partner was saying something. An interruption is a turn that begins while the partner
is saying something. All systems are counted alike, also one that does not listen then.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass

from duplex_runtime.clock import Clock
from duplex_runtime.engine.requests import Output, SliceRequest
from duplex_runtime.events import Cut, Delta, Edit, Enter, Event, Input, SpeechEnd, SpeechStart, UserText

ACTIVE_SECONDS = 15.0
LONG_PAUSE_SECONDS, SHORT_PAUSE_SECONDS = 5.0, 1.0
#: How long a piece of text is being said that nothing follows.
PIECE_SECONDS = 1.0


@dataclass(frozen=True)
class Figures:
    """What was counted so far."""

    seconds: float = 0.0
    turns: int = 0
    interruptions: int = 0


class Tally:
    """See the module. `clock` is the session's. Told from the worker's thread, asked from another."""

    def __init__(self, clock: Clock) -> None:
        self._clock, self._lock = clock, threading.Lock()
        self._seconds, self._turns, self._interruptions = 0.0, 0, 0
        self._counted_to = 0.0
        self._active_until = 0.0  # because of the person
        self._spoken: list[tuple[float, float]] = []  # when the partner says something, in order
        self._last_words_at: float | None = None
        self._enter = False
        self._voice_at: float | None = None  # when the sound began whose words are yet to come

    def heard(self, event: Input, at: float) -> None:
        """The person did something."""
        with self._lock:
            if isinstance(event, UserText | Edit | Enter | SpeechStart | SpeechEnd):
                self._count_to(at)
                self._active_until = max(self._active_until, at + ACTIVE_SECONDS)
            match event:
                case UserText(text, spoken) if any(map(str.isalnum, text)):
                    began_at = self._voice_at if spoken and self._voice_at is not None else at
                    self._words(began_at, at)
                    self._voice_at = None
                case SpeechStart():
                    self._voice_at = at
                case Enter():
                    self._enter = True

    def asked(self, now: float, request: SliceRequest | None) -> None:
        """Nothing to count."""

    def answered(self, output: Output, at: float) -> None:
        """Nothing to count: events say it."""

    def happened(self, events: Sequence[Event]) -> None:
        """The partner said something, or what it was about to say was dropped."""
        with self._lock:
            self._count_to(self._clock.now())
            for event in events:
                if isinstance(event, Delta):
                    self._say(event.at)
                elif isinstance(event, Cut):
                    self._spoken = [(a, min(b, event.at)) for a, b in self._spoken if a < event.at]

    def figures(self) -> Figures:
        """What was counted up to now."""
        with self._lock:
            self._count_to(self._clock.now())
            return Figures(round(self._seconds, 3), self._turns, self._interruptions)

    def _words(self, began_at: float, at: float) -> None:
        last, self._last_words_at = self._last_words_at, max(at, self._last_words_at or at)
        pause = began_at - last if last is not None else LONG_PAUSE_SECONDS
        answered = pause >= SHORT_PAUSE_SECONDS and last is not None and self._says_between(last, began_at)
        if self._enter or pause >= LONG_PAUSE_SECONDS or answered:
            self._turns += 1
            self._interruptions += self._says_between(began_at, began_at)
        self._enter = False

    def _says_between(self, begin: float, end: float) -> bool:
        return any(a <= end and begin < b for a, b in self._spoken)

    def _say(self, at: float) -> None:
        """Pieces that follow each other are one stretch."""
        begin, end = at, at + PIECE_SECONDS
        if self._spoken and begin <= self._spoken[-1][1]:
            begin, end = self._spoken[-1][0], max(end, self._spoken[-1][1])
            self._spoken.pop()
        self._spoken.append((begin, end))

    def _count_to(self, now: float) -> None:
        """Add the active part of the time since the last count; forget what was said before then and the last words."""
        begin = self._counted_to
        if now <= begin:
            return
        counted = max(0.0, min(now, self._active_until) - begin)
        free = begin + counted  # the person's part is at the beginning; the rest may be the partner's
        for a, b in self._spoken:
            counted += max(0.0, min(now, b) - max(free, a))
        self._seconds += counted
        self._counted_to = now
        needed_from = now if self._last_words_at is None else min(now, self._last_words_at)
        self._spoken = [(a, b) for a, b in self._spoken if b > needed_from]
