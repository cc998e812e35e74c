"""`duplex eval model`: does it know, does it keep that when it listens in slices, and does it know when to speak?

Everything is asked in wordings and phrases that training never saw, drawn anew for every `--seed`, and played to the
real conversations over the real engine in simulated time. See questions.py and situations.py for what counts as right.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from duplex_runtime.alignment.corpus import load
from duplex_runtime.alignment.dialogues import Source
from duplex_runtime.errors import BadInput
from duplex_runtime.evaluation import questions as q
from duplex_runtime.evaluation import situations as s
from duplex_runtime.evaluation.scripts import Watch
from duplex_runtime.evaluation.situations import Outcome, Script
from duplex_runtime.evaluation.together import play_together
from duplex_runtime.models.load import LoadedModel, default_sampling, load_systems
from duplex_runtime.slices import Slicing

#: Simulated seconds after the last input: long enough for every answer, and for a nudge.
_PATIENCE = 90.0


@dataclass
class Tally:
    """Right of how many, by name."""

    right: Counter[str] = field(default_factory=Counter)
    of: Counter[str] = field(default_factory=Counter)

    def add(self, name: str, right: int, of: int = 1) -> None:
        """Count `right` of `of`."""
        self.right[name] += right
        self.of[name] += of

    def share(self, name: str) -> float:
        """From 0 to 1; 0 if there was none."""
        return self.right[name] / self.of[name] if self.of[name] else 0.0

    def line(self, name: str) -> str:
        """A line of the table with a 95 % Wilson interval."""
        low, high = wilson(self.right[name], self.of[name])
        counts = f"{self.right[name]}/{self.of[name]}"
        return f"{name:22} {100 * self.share(name):6.1f} %   {100 * low:5.1f} to {100 * high:5.1f}   {counts}"


def wilson(right: int, of: int, z: float = 1.96) -> tuple[float, float]:
    """The Wilson score interval of a share (E. B. Wilson, 1927)."""
    if not of:
        return 0.0, 1.0
    share, spread = right / of, z * z / of
    middle = (share + spread / 2) / (1 + spread)
    half = z * math.sqrt(share * (1 - share) / of + spread / (4 * of)) / (1 + spread)
    return max(0.0, middle - half), min(1.0, middle + half)


class Exam:
    """Both checkpoints under the same questions."""

    def __init__(self, models: dict[str, LoadedModel], seed: int) -> None:
        self.models, self.seed = models, seed
        self.source = Source(load(), held_out=True)
        self.tally = Tally()
        self.failures: list[dict[str, Any]] = []
        self._known = q.known_sentences(self.source)

    def rng(self, name: str) -> Random:
        """Dice for one part: parts do not depend on each other."""
        return Random(f"{self.seed}-{name}")

    def play(self, scripts: Sequence[Script], system: str = "duplex") -> list[Watch]:
        """The scripts to one system, many at once."""
        model = self.models[system]
        sampling = default_sampling(model.name, self.seed)
        return play_together(model, system, scripts, Slicing(), sampling, _PATIENCE)

    def knowledge(self, number: int) -> None:
        """The same questions to the turn-based model, and to the duplex model in slices and whole."""
        asked = q.ask(self.source, self.rng("questions"), number)
        rng = self.rng("typing")
        ways = {
            "turns": ("turns", [question.whole() for question in asked]),
            "duplex": ("duplex", [question.typed(rng) for question in asked]),
            "whole": ("duplex", [question.whole() for question in asked]),
        }
        for way, (system, scripts) in ways.items():
            for question, script, watch in zip(asked, scripts, self.play(scripts, system), strict=True):
                ok = q.right(question, watch)
                self.tally.add(f"answer_{way}", ok)
                self.tally.add(f"  {question.kind} {way}", ok)
                if not ok:
                    self._fail(f"answer_{way}", script, q.said(watch), question.kind)

    def unknown(self, number: int) -> None:
        """Questions that it has no answer to, typed to the duplex model."""
        asked = q.ask_unknown(self.source, self.rng("unknown"), number)
        rng = self.rng("typing")
        scripts = [question.typed(rng) for question in asked]
        for question, script, watch in zip(asked, scripts, self.play(scripts), strict=True):
            ok, answers = q.right(question, watch), q.said(watch)
            known = bool(answers) and all(part in self._known for part in q.sentences(answers[-1]))
            self.tally.add("unknown_admitted", ok)
            self.tally.add("  fluent but wrong", not ok and known)
            if not ok:
                self._fail("unknown", script, answers, "fluent" if known else "broken")

    def situations(self, number: int) -> None:
        """Every situation about `number` times."""
        source, play = self.source, self.play
        self._count(s.sentences_with_pauses(source, self.rng("sentences"), 2 * number, play))
        self._count(s.corrections(source, self.rng("corrections"), number, play))
        self._count(s.hushes(source, self.rng("hush"), number, play))
        self._count(s.long_silences(source, self.rng("nudge"), number, play))
        for situation in (s.stops, s.changes, s.backchannels, s.asides, s.inserted):
            rng = self.rng(situation.__name__)
            self._count(situation(source, rng, s.long_answers(source, rng, number, play), play))

    def _count(self, outcomes: Iterable[Outcome]) -> None:
        for outcome in outcomes:
            self.tally.add(outcome.situation, outcome.right, outcome.of)
            if outcome.situation == "silent_mid":
                self.tally.add("  whole sentences", outcome.right == outcome.of)
            if outcome.right < outcome.of:
                self._fail(outcome.situation, outcome.script, outcome.said, outcome.detail)

    def _fail(self, what: str, script: Script, said: list[str], detail: str) -> None:
        typed = [[at, getattr(event, "text", type(event).__name__)] for at, event in script]
        self.failures.append({"what": what, "detail": detail, "typed": typed, "said": said})

    def report(self) -> dict[str, Any]:
        """The last line: shares from 0 to 1."""
        names = (
            "answer_turns", "answer_duplex", "kept", "answer_whole", "unknown_admitted", "silent_mid", "answers",
            "yields", "backchannel", "side_speech", "resumes", "corrections", "hush", "nudge", "patience",
        )  # fmt: skip
        shares = {name: round(self.tally.share(name), 4) for name in names if name != "kept"}
        kept = self.tally.share("answer_duplex") / max(1e-9, self.tally.share("answer_turns"))
        values = {name: round(kept, 4) if name == "kept" else shares[name] for name in names}
        return values | {"n": {name: self.tally.of[name] for name in names if name != "kept"}}


def run(name: str, number: int, situations: int, seed: int, failures: Path | None = None) -> int:
    """The table, and one line of JSON.

    number: questions; situations: of each kind. failures: where every failure is written, one JSON object a line.
    """
    for option, value in (("--questions", number), ("--situations", situations)):
        if value < 1:
            raise BadInput(f"{option}: expected 1 or more, got {value}")
    exam = Exam(load_systems(name), seed)
    exam.knowledge(number)
    exam.unknown(max(1, number // 2))
    exam.situations(situations)
    print(f"{'':22} {'right':>8}   {'95 % interval':16}")
    for key in exam.tally.of:
        print(exam.tally.line(key))
    if failures:
        failures.write_text("".join(json.dumps(f) + "\n" for f in exam.failures), encoding="utf-8")
    print(json.dumps(exam.report()))
    return 0
