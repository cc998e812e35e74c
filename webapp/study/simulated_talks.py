"""Recordings of simulated talks: short, and of the form that the server writes, so that the analysis has what it reads.

    turns, interruptions = write_talk(path, "duplex", mind, study)

No model speaks here. The person asks four questions and breaks into one answer; how soon a system answers and falls
silent is made up: for what real systems do see `duplex bench panel`.
"""

from __future__ import annotations

from pathlib import Path

from duplex_runtime.engine.requests import Sampling
from duplex_runtime.events import Cut, Delta, Enter, ResponseCreated, ResponseDone, UserText, Yield
from duplex_runtime.recording import Recorder, header_of
from webapp.study.definition import Study
from webapp.study.simulated import Mind

#: Seconds from the end of a question to the answer: mean, and standard deviation between talks.
ANSWERS_AFTER = {"duplex": (0.5, 0.15), "strict": (1.3, 0.3), "barge-in": (1.2, 0.3)}
#: Seconds from an interruption to silence; the strict system hears none.
STOPS_AFTER = {"duplex": (0.5, 0.15), "barge-in": (0.3, 0.1)}
QUESTIONS = ("how do bees live?", "and in winter?", "what about wasps?", "no, ants", "thank you, and moths?")
ANSWER = "Bees live together in a hive and share the work. "
#: Between two words of an answer, and two keys.
WORD_SECONDS, KEY_SECONDS = 0.4, 0.1


def write_talk(path: Path, system: str, mind: Mind, study: Study) -> tuple[int, int]:
    """Write one talk; the person's turns, and how many of them were interruptions."""
    side = "duplex" if system == "duplex" else "turns"
    header = header_of(study.model, Sampling(), {"session": path.stem, "slice_seconds": "adaptive"})
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        recorder = Recorder(file, side)
        recorder.header(header if side == "duplex" else header | {"baseline": system})
        stops = mind.reaction(*STOPS_AFTER[system]) if system in STOPS_AFTER else None
        talk = _Talk(recorder, side, mind.reaction(*ANSWERS_AFTER[system]), stops)
        for number, question in enumerate(QUESTIONS):
            talk.ask(question, breaks_in=number == 3)
    return len(QUESTIONS), 1


class _Talk:
    """Where in time it is; answers are told when they are shown."""

    def __init__(self, recorder: Recorder, side: str, after: float, stops: float | None) -> None:
        self.recorder, self.side, self.after, self.stops = recorder, side, after, stops
        self.now, self.number = 0.5, 0
        self.pending: list[tuple[float, str]] = []  # words of the answer that is still being said

    def ask(self, question: str, breaks_in: bool) -> None:
        """Type a question and get an answer; `breaks_in` after two words of the last one."""
        if breaks_in:
            self.say(words=2)
            began = self.now
        else:
            self.say(words=len(self.pending))
            self.now += 2.5
        for key in question:
            self.recorder.heard(UserText(key), round(self.now, 3))
            self.now += KEY_SECONDS
            if breaks_in and self.stops is not None and self.pending and self.now >= began + self.stops:
                self.stop()
        self.say(words=len(self.pending))
        self.recorder.heard(Enter(), round(self.now, 3))
        self.now += self.after
        self.number += 1
        self.recorder.happened([ResponseCreated(self.side, self.answer, round(self.now, 3))])
        self.pending = [(self.now + n * WORD_SECONDS, f"{word} ") for n, word in enumerate(ANSWER.split())]

    @property
    def answer(self) -> str:
        """Its id."""
        return f"{self.side}-{self.number}"

    def say(self, words: int) -> None:
        """Show so many words of the answer."""
        shown, self.pending = self.pending[:words], self.pending[words:]
        for at, word in shown:
            self.now = max(self.now, at)
            self.recorder.happened([Delta(self.side, self.answer, self.number, word, round(at, 3))])
        if shown and not self.pending:
            self.now += WORD_SECONDS
            self.recorder.happened([ResponseDone(self.side, self.answer, "completed", round(self.now, 3))])

    def stop(self) -> None:
        """Fall silent."""
        at, unheard = round(self.now, 3), "".join(word for _, word in self.pending)
        self.pending = []
        self.recorder.happened(
            [
                Cut(self.side, self.answer, self.number, at, unheard),
                Yield(self.side, at),
                ResponseDone(self.side, self.answer, "cancelled", at),
            ]
        )
