"""Says the answers of one system as they are written: what to speak when, what is taken back, what was heard.

speaker = Speaker(voice, "duplex")
speaker.take(event, now)              # ResponseCreated, Delta, Cut, Yield, ResponseDone
speaker.next_due()                    # when `work` will have something; None until another event
for item in speaker.work(now): …      # Chunk | Flush; may take as long as the voice needs
speaker.played("duplex-1", 4800, now) # the page's report → characters of the answer that were heard

It has no thread, no clock and no socket. `work` may run on another thread than the rest: it holds the lock except
while the voice speaks, and what was spoken for a text that has changed meanwhile is thrown away.

A text arrives in slices of about ten tokens, which end anywhere. Complete phrases are spoken at once. An unfinished
tail waits for the next slice until the sound before it is nearly played, then it is spoken openly (`joints.py`).

`Cut` takes back text that nobody heard. The model often goes on with the very same words, so the sound stays where it
is until the next text shows whether it does: the first character that differs flushes from its word on.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from duplex_runtime.errors import BadInput, DuplexError
from duplex_runtime.events import Cut, Delta, Event, ResponseCreated, ResponseDone, Yield
from duplex_runtime.speech.base import MOUTH_RATE, Chunk, Flush, Voice
from duplex_runtime.speech.joints import PAUSES, Before, Joints, Piece, as_int16, fade_out
from duplex_runtime.speech.speakable import LATIN, breath, mark_at_end, speakable, whole

#: Sound up to `_WHOLE_CHUNK` samples leaves in one chunk, longer sound in chunks of `_CHUNK`.
_WHOLE_CHUNK, _CHUNK = MOUTH_RATE * 2 // 5, MOUTH_RATE // 5
#: More is sent when so much of the allowed run-ahead is free: not a chunk at a time.
_REFILL_SECONDS = 0.4
#: Answers whose reports may still come late.
_REMEMBERED = 8


@dataclass
class SpokenWord:
    """A word of an answer as sound: characters `begin` to `end` (its letters) sound from sample `first` to `last`.

    spoken: how it was spelt for the voice. piece: number of the phrase that it was spoken in. mark: the mark behind it
    if it ended a phrase."""

    begin: int
    end: int
    first: int
    last: int
    spoken: str
    piece: int
    mark: str = ""


@dataclass
class _Answer:
    """`text` and then `retracted` were written; the first `spoken` characters of both are sound (or have none).

    sound: int16[made], of which `sent` have left and `played` were heard; the last `hold` wait for what follows.
    """

    response_id: str
    text: str = ""
    retracted: str = ""
    spoken: int = 0
    words: list[SpokenWord] = field(default_factory=list)
    sound: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int16))
    sent: int = 0
    played: int = 0
    hold: int = 0
    heard: int = 0
    status: str | None = None
    changed_at: float = 0.0
    flush: int | None = None
    told: bool = False

    @property
    def pending(self) -> str:
        """Text that shall become sound; nothing while it is open whether what was spoken still holds."""
        return self.text[self.spoken :] if self.status != "cancelled" else ""

    @property
    def limit(self) -> int:
        """How much of the sound may leave: not the retracted words, and not what is held for the next piece."""
        if self.spoken > len(self.text):
            return min((w.first for w in self.words if w.end > len(self.text)), default=len(self.sound) - self.hold)
        return len(self.sound) - self.hold

    @property
    def unsent(self) -> int:
        return max(0, self.limit - self.sent)

    @property
    def finished(self) -> bool:
        """Nothing will be added to what was sent."""
        return self.status is not None and not self.pending and self.sent == len(self.sound) and self.flush is None

    def hears(self) -> int:
        """Characters of the text whose sound has been played: whole words."""
        if self.finished and self.played >= self.sent and self.status == "completed":
            return len(self.text)
        following = next((n for n, w in enumerate(self.words) if w.last > self.played), len(self.words))
        if not following and self.words:
            return 0
        end = self.words[following].begin if following < len(self.words) else self.spoken
        return len(self.text[:end].rstrip())


@dataclass(frozen=True)
class _Job:
    """A phrase to be spoken: characters `begin` to `end` of the answer."""

    answer: _Answer
    begin: int
    end: int
    closed: bool
    written: str
    before: Before
    changes: int


class Speaker:
    """Says one system's answers with one voice.

    ahead_seconds: most sound sent beyond what has been played. deadline_seconds: an unfinished tail is spoken when so
    much sound is left (longer for a slow voice). first_words: an answer begins as soon as it has so many words.
    patience_seconds: fewer words than that wait so long for more. on_problem: called once with the first error of the
    voice; its phrases then pass in silence.
    """

    def __init__(
        self,
        voice: Voice,
        system: str,
        *,
        ahead_seconds: float = 3.0,
        deadline_seconds: float = 0.35,
        first_words: int = 4,
        patience_seconds: float = 0.25,
        scripts: Collection[str] = LATIN,
        joints: Joints | None = None,
        on_problem: Callable[[str], None] | None = None,
    ) -> None:
        if not 0 < deadline_seconds < ahead_seconds:
            raise BadInput(f"expected 0 < deadline_seconds < ahead_seconds, got {deadline_seconds} and {ahead_seconds}")
        self.system = system
        self.ahead_seconds, self.deadline_seconds = ahead_seconds, deadline_seconds
        self.first_words, self.patience_seconds = first_words, patience_seconds
        self.scripts, self.on_problem = scripts, on_problem
        self.problem: str | None = None
        self.joints = joints or Joints(voice)
        self._answers: list[_Answer] = []
        self._queued, self._queued_at = 0.0, 0.0  # seconds of sound that had left and was not played, and when
        self._now = 0.0
        self._changes = 0  # of text that may have been spoken already
        self._heard = 0
        self._lock = threading.Lock()

    # — what the conversation does —

    def take(self, event: Event, now: float) -> None:
        """An event of this system; those that do not concern speech are ignored."""
        if event.system != self.system:
            raise BadInput(f"expected events of {self.system!r}, got {event.type} of {event.system!r}")
        with self._lock:
            self._now = max(now, self._now)
            match event:
                case ResponseCreated(response_id=response_id):
                    self._begin(response_id)
                case Delta(response_id=response_id, delta=delta):
                    self._write(self._answer(response_id) or self._begin(response_id), delta)
                case Cut(response_id=response_id, unheard=unheard):
                    self._retract(self._answer(response_id), unheard)
                case Yield():
                    self._stop(self._answers[-1] if self._answers else None)
                case ResponseDone(response_id=response_id, status=status):
                    self._end(self._answer(response_id), status)

    def _answer(self, response_id: str) -> _Answer | None:
        return next((a for a in reversed(self._answers) if a.response_id == response_id), None)

    def _begin(self, response_id: str) -> _Answer:
        if self._answers and self._answers[-1].status is None:  # its end was not told
            self._end(self._answers[-1], "completed")
        answer = _Answer(response_id, changed_at=self._now)
        self._answers.append(answer)
        while len(self._answers) > _REMEMBERED and self._answers[0].finished:
            del self._answers[0]
        return answer

    def _write(self, answer: _Answer, delta: str) -> None:
        if answer.status is not None:
            return
        answer.changed_at = self._now
        same = _shared(delta, answer.retracted)
        answer.text += delta[:same]
        answer.retracted = answer.retracted[same:]
        rest = delta[same:]
        if not rest:
            return
        at = len(answer.text)
        answer.text += rest
        answer.retracted = ""
        if answer.text[at - 1 : at].isalnum() and (rest[0].isalnum() or rest[0] in _APOSTROPHES):
            while at and not answer.text[at - 1].isspace():
                at -= 1  # a word that was spoken goes on: it has to be said again as a whole
        if answer.spoken > at:
            self._unsay(answer, at)

    def _retract(self, answer: _Answer | None, unheard: str) -> None:
        if answer is None or not unheard or answer.status is not None:
            return
        kept = max(0, len(answer.text) - len(unheard))
        answer.retracted = answer.text[kept:] + answer.retracted
        answer.text = answer.text[:kept]
        answer.heard = min(answer.heard, kept)
        if answer.spoken <= kept:
            answer.retracted = ""  # there is no sound of it yet
        self._changes += 1

    def _stop(self, answer: _Answer | None) -> None:
        """Say no more of it than what is kept and has already left."""
        if answer is None or answer.status is not None:
            return
        self._settle(answer)
        if answer.unsent:  # end with a word
            ends = [w.last for w in answer.words if w.last <= answer.sent]
            self._drop(answer, ends[-1] if ends else 0)
        self._drop(answer, answer.sent)
        answer.status = "cancelled"

    def _end(self, answer: _Answer | None, status: str) -> None:
        if answer is None or answer.status is not None:
            return
        if status == "cancelled":
            self._stop(answer)
        else:
            self._settle(answer)
            answer.status = status

    def _settle(self, answer: _Answer) -> None:
        """What was retracted will not come again."""
        answer.retracted = ""
        if answer.spoken > len(answer.text):
            self._unsay(answer, len(answer.text))

    def _unsay(self, answer: _Answer, at: int) -> None:
        """The sound from character `at` on says something else than the text: drop it, back to a whole word."""
        index = next((n for n, w in enumerate(answer.words) if w.end > at), len(answer.words))
        if index < len(answer.words):
            answer.spoken = min(at, answer.words[index].begin)
            self._drop(answer, answer.words[index - 1].last if index else 0)
        else:
            answer.spoken = at
            self._changes += 1

    def _drop(self, answer: _Answer, samples: int) -> None:
        """The sound after so many samples is gone; but what has been played has been played."""
        kept = max(samples, answer.played)
        if kept < answer.sent:
            self._requeue(self._queued_seconds(self._now) - (answer.sent - kept) / MOUTH_RATE)
            answer.flush = kept if answer.flush is None else min(answer.flush, kept)
            answer.sent = kept
        if kept < len(answer.sound):
            answer.sound, answer.hold = answer.sound[:kept], 0
        answer.words = [w for w in answer.words if w.last <= samples]
        self._changes += 1

    # — what the page tells —

    def played(self, response_id: str, samples: int, now: float) -> int:
        """The page has played so many samples of an answer: how many of its characters were heard.

        Whole words only, never fewer than before (but for text that was taken back). Reports that are late or of an
        answer unknown here change nothing; those of an unknown answer return what was last returned.
        """
        with self._lock:
            self._now = max(now, self._now)
            answer = self._answer(response_id)
            if answer is None:
                return self._heard
            if samples >= answer.played:
                answer.played = min(samples, answer.sent)
                place = self._answers.index(answer)
                left = sum(a.sent - a.played for a in self._answers[place:])
                self._requeue(left / MOUTH_RATE)
            answer.heard = max(answer.heard, answer.hears())
            self._heard = answer.heard
            return answer.heard

    def heard(self, response_id: str) -> int:
        """Characters of an answer that were heard so far; 0 for an unknown one."""
        with self._lock:
            answer = self._answer(response_id)
            if answer is None:
                return 0
            answer.heard = max(answer.heard, answer.hears())
            return answer.heard

    def words(self, response_id: str) -> tuple[SpokenWord, ...]:
        """The words of an answer that are sound by now."""
        with self._lock:
            answer = self._answer(response_id)
            return tuple(replace(w) for w in answer.words) if answer else ()

    def queued_seconds(self, now: float) -> float:
        """Sound that has left and was not played yet: from the last report on it is taken to be played on time."""
        with self._lock:
            return self._queued_seconds(now)

    def _queued_seconds(self, now: float) -> float:
        return max(0.0, self._queued - max(0.0, now - self._queued_at))

    def _requeue(self, seconds: float) -> None:
        self._queued, self._queued_at = max(0.0, seconds), self._now

    def finished(self) -> list[tuple[str, int]]:
        """Answers, with their samples, that no more sound will follow; each is told once."""
        with self._lock:
            ended = [a for a in self._answers if a.finished and not a.told]
            for answer in ended:
                answer.told = True
            return [(a.response_id, a.sent) for a in ended]

    # — what is due —

    def next_due(self) -> float | None:
        """When `work` will have something to do; None until an event or a report comes. It may have passed already."""
        with self._lock:
            if any(a.flush is not None for a in self._answers):
                return self._queued_at
            times = []
            unsent = sum(a.unsent for a in self._answers) / MOUTH_RATE
            if unsent:
                free = min(_REFILL_SECONDS, unsent)
                times.append(self._queued_at + self._queued - (self.ahead_seconds - free))
            times += [at for at, _ in self._candidates(unsent)]
            return min(times) if times else None

    def _candidates(self, unsent: float) -> Iterator[tuple[float, _Job | None]]:
        """What to speak next, and when; None stands for letting go of the sound held for a following piece."""
        left_at = self._queued_at + self._queued + unsent  # everything made so far has been played
        for answer in self._answers:
            pending = answer.pending
            if not pending.strip():
                if answer.status is not None and (answer.hold or pending):
                    yield self._queued_at, None
                continue
            length, due_at = breath(pending), left_at - self.ahead_seconds + _REFILL_SECONDS
            if not length and answer.status is not None:
                length = len(pending)
            closed = bool(length)
            if not length:
                length, due_at = self._open_tail(answer, left_at)
                closed = bool(mark_at_end(pending[:length]))
            if length:
                written = pending[:length]
                yield (
                    due_at,
                    _Job(
                        answer,
                        answer.spoken,
                        answer.spoken + length,
                        closed,
                        written,
                        self._before(answer),
                        self._changes,
                    ),
                )
            return  # answers are spoken one after the other

    def _open_tail(self, answer: _Answer, left_at: float) -> tuple[int, float]:
        """How much of an unfinished tail is to be spoken, and when."""
        pending = answer.pending
        length = whole(pending)
        due_at, waits_until = left_at - self.deadline_seconds, answer.changed_at + self.patience_seconds
        if len(pending[:length].split()) >= self.first_words:
            return length, due_at
        if length:
            return length, max(due_at, waits_until)
        if "```" in pending or "](" in pending or "://" in pending:
            return 0, 0.0
        # one word, which may still go on: at the very last moment
        return len(pending), max(left_at - self.deadline_seconds / 3, waits_until + self.patience_seconds)

    def work(self, now: float) -> list[Chunk | Flush]:
        """Do what is due, at most one phrase; call it again while `next_due` has passed."""
        with self._lock:
            self._now = max(now, self._now)
            out = self._leave()
            job = None if out else self._due(now)
            if job is None:
                return out or self._leave()
        piece, spoken = self._speak(job)
        with self._lock:
            if job.changes == self._changes:
                self._place(job, piece, spoken)
            return self._leave()

    def _due(self, now: float) -> _Job | None:
        unsent = sum(a.unsent for a in self._answers) / MOUTH_RATE
        for at, job in self._candidates(unsent):
            if job is None:
                self._let_go()
            elif now >= at - 1e-9:
                return job
        return None

    def _let_go(self) -> None:
        for answer in self._answers:
            if answer.status is not None and not answer.pending.strip():
                answer.spoken = len(answer.text)
                if answer.hold:
                    last = answer.sound[len(answer.sound) - answer.hold :].astype(np.float32)
                    fade_out(last, len(last))
                    answer.sound = np.concatenate((answer.sound[: -answer.hold], as_int16(last / 32767)))
                    answer.hold = 0

    # — speaking —

    def _before(self, answer: _Answer) -> Before:
        """What a piece goes on from: the last words since the last mark."""
        words: list[SpokenWord] = []
        for word in reversed(answer.words):
            if word.mark or len(words) == self.joints.left_words:
                break
            words.insert(0, word)
        if not words:
            return Before()
        sound = answer.sound[words[0].first : words[-1].last + answer.hold].astype(np.float32) / 32768
        return Before(tuple(w.spoken for w in words), sound, answer.hold)

    def _speak(self, job: _Job) -> tuple[Piece | None, list[tuple[int, int, str]]]:
        """The sound of a phrase, None if it has none, and its words: where they stand in the answer, how spoken."""
        said = speakable(job.written, self.scripts)
        if said.silent:
            return None, []
        text = said.text.strip()
        try:
            piece = self.joints.say(job.before, text, job.closed)
        except Exception as error:  # a voice is other people's code: whatever it does, the talk goes on in text
            self._report(error)
            return None, []
        shift = said.text.index(text)
        words = []
        for character, _, _ in piece.words:
            spoken = text[character:].split(maxsplit=1)[0]
            letters = spoken.rstrip(_MARKS) or spoken
            begin = said.sources[shift + character]
            end = said.sources[shift + character + len(letters) - 1] + 1
            words.append((job.begin + begin, job.begin + end, spoken))
        return piece, words

    def _report(self, error: Exception) -> None:
        if self.problem is not None:
            return
        why = str(error) if isinstance(error, DuplexError) else f"{type(error).__name__}: {error}"
        self.problem = f"the voice {self.joints.voice.name} could not speak: {why}"
        if self.on_problem is not None:
            self.on_problem(self.problem)

    def _place(self, job: _Job, piece: Piece | None, spoken: list[tuple[int, int, str]]) -> None:
        """Put a phrase behind what was said."""
        answer = job.answer
        answer.spoken = job.end
        mark = mark_at_end(job.written)
        if piece is None:
            if answer.words and mark:
                answer.words[-1].mark = mark
            return
        base = len(answer.sound)
        samples = as_int16(piece.samples)
        if piece.overlap:
            base -= piece.overlap
            answer.sound = answer.sound[:base]
        else:
            pause = self._pause(answer)
            base += len(pause)
            answer.sound = np.concatenate((answer.sound, pause))
        answer.sound = np.concatenate((answer.sound, samples))
        answer.hold = piece.hold
        number = answer.words[-1].piece + 1 if answer.words else 0
        for (begin, end, text), (_, first, last) in zip(spoken, piece.words, strict=True):
            answer.words.append(SpokenWord(begin, end, base + first, base + last, text, number))
        if answer.words and (mark or job.closed):
            answer.words[-1].mark = mark or "."

    def _pause(self, answer: _Answer) -> np.ndarray:
        """Silence between a phrase and the next, less the time that has passed since everything was played."""
        seconds = PAUSES.get(answer.words[-1].mark, 0.0) if answer.words else 0.0
        if not answer.unsent:
            seconds -= max(0.0, self._now - self._queued_at - self._queued)
        return np.zeros(max(0, round(seconds * MOUTH_RATE)), np.int16)

    # — leaving —

    def _leave(self) -> list[Chunk | Flush]:
        """Flushes, and what of the sound may leave now."""
        out: list[Chunk | Flush] = []
        for answer in self._answers:
            if answer.flush is not None:
                out.append(Flush(answer.response_id, answer.flush))
                answer.flush = None
        free = round((self.ahead_seconds - self._queued_seconds(self._now)) * MOUTH_RATE)
        for answer in self._answers:
            unsent = answer.unsent
            size = unsent if unsent <= _WHOLE_CHUNK else _CHUNK
            while unsent and min(size, unsent) <= free:
                count = min(size, unsent)
                samples = answer.sound[answer.sent : answer.sent + count]
                characters = self._span(answer, answer.sent, answer.sent + count)
                out.append(Chunk(answer.response_id, answer.sent, samples, characters))
                self._requeue(self._queued_seconds(self._now) + count / MOUTH_RATE)
                answer.sent += count
                unsent, free = unsent - count, free - count
            if unsent or answer.status is None:
                break
        return out

    def _span(self, answer: _Answer, first: int, last: int) -> tuple[int, int]:
        """Characters of the words that sound between two samples."""
        inside = [w for w in answer.words if w.first < last and w.last > first]
        if not inside:
            at = max((w.end for w in answer.words if w.last <= first), default=0)
            return at, at
        return inside[0].begin, inside[-1].end


_APOSTROPHES = "'\u2019"
_MARKS = ".,?!;:\"')]\u201d\u2019…"


def _shared(one: str, other: str) -> int:
    """Length of the common beginning."""
    return next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
