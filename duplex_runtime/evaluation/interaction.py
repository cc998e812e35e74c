"""The interaction panel: eight numbers of who speaks when, with no judge.

panels = panel(talks)                    # by system
panels["duplex"].values()                # {"L_R": 0.81, "L_Y": …, …}; None where fewer than ten events stand behind it

L_R   seconds from the end of a turn to the start of the answer        R_R   turns answered before the next one
L_Y   seconds from the start of an interruption to silence             R_Y   interruptions that silence it within 2 s
I_A   answers begun inside a turn, for each turn                       S_BC  backchannels, S_VT tics, S_ND words for
                                                                             somebody else that changed nothing
Definitions of the voice interaction metrics of tau2-bench (docs/interaction-metrics.md), in ticks of 0.2 s. Where typed
words or our knowledge ask for more than those say:
- a `stop` asks for silence: it is an interruption, and no turn that waits for an answer;
- a word that is typed is not there before its last key: what should change nothing is watched until 1 s after that;
- an answer that was said to its end there had not been given up, which a recording tells and ticks do not;
- an answer that begins in the tick in which a turn ends is an answer after 0 s: simulated systems are that quick.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from duplex_runtime.alignment.noise import normal
from duplex_runtime.evaluation.acts import ASKING, Act
from duplex_runtime.evaluation.talks import Talk
from duplex_runtime.evaluation.ticks import TICK_SECONDS, Segment, Segments, segments_of

NAMES = ("L_R", "L_Y", "R_R", "R_Y", "I_A", "S_BC", "S_VT", "S_ND")
#: Better when less.
LOWER = ("L_R", "L_Y", "I_A")
#: Rates with fewer events are not shown.
FEWEST = 10
#: Ticks in which an interrupted answer stops; in which one that should go on is watched; in which silence is.
YIELD_TICKS, GO_ON_TICKS, SILENT_TICKS = 10, 5, 10
#: What of an interrupted answer comes later than this is another answer (seconds).
LATE_SECONDS = 10.0
_SELECTIVE = {"backchannel": "S_BC", "tic": "S_VT", "aside": "S_ND"}


@dataclass
class Counts:
    """Sums over one talk. `of[name]`: sum and number of events, for each of NAMES. offsets: seconds from the end of a
    turn to its answer, negative where it began before. early: words said inside a turn; late: after an interruption was
    said; unheard: prepared and never seen. resumed: of the questions in an answer that were answered, how many answers
    went on then."""

    of: dict[str, list[float]] = field(default_factory=lambda: {name: [0.0, 0] for name in NAMES})
    offsets: list[float] = field(default_factory=list)
    words: int = 0
    early: int = 0
    late: int = 0
    unheard: int = 0
    deaf: int = 0
    inserted: int = 0
    resumed: int = 0
    turns: int = 0

    def add(self, name: str, value: float) -> None:
        """One event."""
        self.of[name][0] += value
        self.of[name][1] += 1


def count(talk: Talk) -> Counts:
    """What happened in one talk."""
    counts, times = Counts(), segments_of(talk)
    _turns(talk, times, counts)
    _interruptions(times, counts)
    _selective(talk, times, counts)
    _words(talk, times, counts)
    return counts


def _act(segment: Segment) -> Act:
    assert segment.act
    return segment.act


def _turns(talk: Talk, times: Segments, counts: Counts) -> None:
    """L_R, R_R and I_A."""
    turns = [s for s in times.person if _act(s).kind in ASKING]
    ended = [s for s in turns if not ((going := times.speaking(s.end)) and going.first < s.end)]
    for number, turn in enumerate(ended):
        answer = next((s.first for s in times.system if s.first >= turn.end), None)
        following = next((s.first for s in ended[number + 1 :] if s.first >= turn.end), None)
        if answer is not None and (following is None or answer <= following):
            counts.add("R_R", 1)
            counts.add("L_R", (answer - turn.end) * TICK_SECONDS)
        elif following is not None:
            counts.add("R_R", 0)
    counts.turns = len(turns)
    begun = sum(any(t.first <= s.first < t.end for t in turns) for s in times.system)
    # events for each turn: several may fall into one
    counts.of["I_A"] = [float(begun), int(counts.of["R_R"][1])]
    for number, turn in enumerate(turns):
        until = turns[number + 1].begin if number + 1 < len(turns) else talk.ended_at
        new = [s for s in times.system if turn.begin <= s.begin <= until and not _goes_on(s, turn, times)]
        if new:
            counts.offsets.append(round(new[0].begin - turn.stop, 3))


def _goes_on(segment: Segment, turn: Segment, times: Segments) -> bool:
    """Is it the rest of an answer that sounded before?"""
    return any(s.answer == segment.answer and s.begin < turn.begin for s in times.system)


def _interruptions(times: Segments, counts: Counts) -> None:
    """L_Y and R_Y."""
    for segment in times.person:
        if _act(segment).kind in (*ASKING, "stop") and times.broken_into(segment):
            silent = times.silent_from(segment.first)
            yielded = silent - segment.first < YIELD_TICKS
            counts.add("R_Y", float(yielded))
            if yielded:
                counts.add("L_Y", (silent - segment.first) * TICK_SECONDS)


def _selective(talk: Talk, times: Segments, counts: Counts) -> None:
    """S_BC, S_VT and S_ND."""
    for segment in times.person:
        name = _SELECTIVE.get(_act(segment).kind)
        if not name:
            continue
        if speaking := times.broken_into(segment):
            # typed: the last key is where a sound would begin
            until = (segment.end if talk.way == "keys" else segment.first) + GO_ON_TICKS
            silent = times.silent_from(segment.first)
            said = talk.answers.get(_last_answer(times, segment.first, speaking)) == "completed"
            counts.add(name, float(silent >= until or said))
        elif name != "S_BC":
            answered = any(segment.first <= s.first <= segment.end + SILENT_TICKS for s in times.system)
            counts.add(name, float(not answered))


def _last_answer(times: Segments, tick: int, speaking: Segment) -> str:
    while following := times.speaking(speaking.end):
        speaking = following
    return speaking.answer


def _words(talk: Talk, times: Segments, counts: Counts) -> None:
    counts.words = sum(len(p.text.split()) for p in talk.pieces)
    counts.unheard = sum(len(text.split()) for _, _, text in talk.unheard)
    counts.deaf = sum(len(text) for _, text in talk.deaf)
    first_at: dict[str, float] = {}
    for piece in talk.pieces:
        first_at.setdefault(piece.response_id, piece.at)
    for segment in times.person:
        act = _act(segment)
        if act.kind in ASKING:
            inside = [p for p in talk.pieces if act.begin < p.at < act.end and first_at[p.response_id] > act.begin]
            counts.early += sum(len(p.text.split()) for p in inside)
        speaking = times.broken_into(segment)
        if act.kind in (*ASKING, "stop") and speaking:
            rest = [p for p in talk.pieces if p.response_id == speaking.answer and act.end < p.at]
            stopped = min((at for at in talk.yields if at >= act.begin), default=act.end + LATE_SECONDS)
            counts.late += sum(len(p.text.split()) for p in rest if p.at < min(stopped, act.end + LATE_SECONDS))
        if act.kind == "question" and speaking:
            _resumption(talk, act, speaking.answer, counts)


def _resumption(talk: Talk, act: Act, answer: str, counts: Counts) -> None:
    """Was the question answered, and then said after all what had been cut? Case and punctuation do not matter."""
    after = normal("".join(p.text for p in talk.pieces if p.at > act.end)).split()
    if not after:
        return
    before = normal("".join(p.text for p in talk.pieces if p.response_id == answer and p.at <= act.end)).split()
    cut = next((text for at, of, text in talk.unheard if of == answer and act.begin <= at <= act.end + 5), "")
    lost = [*before[-1:], *normal(cut).split()[:3]]
    size = min(3, len(lost))
    runs = [lost[i : i + size] for i in range(len(lost) - size + 1)] if cut.strip() else []
    counts.inserted += 1
    counts.resumed += any(after[i : i + size] in runs for i in range(len(after)))


# — many talks —


@dataclass(frozen=True)
class Panel:
    """Of one system. by_scenario: the counts of every scenario's talks."""

    system: str
    by_scenario: Mapping[str, Sequence[Counts]]
    seed: int = 0

    @property
    def counts(self) -> list[Counts]:
        """Of all talks."""
        return [c for each in self.by_scenario.values() for c in each]

    def events(self, name: str) -> int:
        """How many stand behind a number."""
        return int(sum(c.of[name][1] for c in self.counts))

    def values(self) -> dict[str, float | None]:
        """The eight numbers."""
        found: dict[str, float | None] = {}
        for name in NAMES:
            total, events = sum(c.of[name][0] for c in self.counts), self.events(name)
            found[name] = round(total / events, 4) if events >= FEWEST else None
        return found

    def intervals(self, rounds: int = 1000) -> dict[str, tuple[float, float] | None]:
        """95 % intervals: scenarios are drawn anew with all their talks."""
        import numpy as np

        sums = np.array(
            [[[sum(c.of[n][k] for c in each) for k in (0, 1)] for n in NAMES] for each in self.by_scenario.values()]
        )  # scenarios, names, 2
        if not len(sums):
            return dict.fromkeys(NAMES)
        drawn = np.random.default_rng(self.seed).multinomial(len(sums), np.full(len(sums), 1 / len(sums)), rounds)
        totals = np.einsum("rs,snk->rnk", drawn, sums)
        found: dict[str, tuple[float, float] | None] = {}
        for n, name in enumerate(NAMES):
            value, events = totals[:, n, 0], totals[:, n, 1]
            shown = events > 0
            if self.events(name) < FEWEST or not shown.any():
                found[name] = None
                continue
            low, high = np.quantile(value[shown] / events[shown], (0.025, 0.975))
            found[name] = (round(float(low), 4), round(float(high), 4))
        return found

    def offsets(self) -> list[float]:
        """Every floor-transfer offset, seconds, in order."""
        return sorted(offset for c in self.counts for offset in c.offsets)

    def beside(self) -> dict[str, float | None]:
        """What the eight numbers do not say: per cent of words, medians in seconds, shares."""
        counts, offsets = self.counts, self.offsets()
        words = sum(c.words for c in counts)
        turns, inserted = sum(c.turns for c in counts), sum(c.inserted for c in counts)

        def share(part: int, whole: int) -> float | None:
            return round(part / whole, 4) if whole else None

        return {
            "talks": len(counts),
            "turns": turns,
            "floor_transfer_s_p50": offsets[len(offsets) // 2] if offsets else None,
            "early_words": sum(c.early for c in counts),
            "late_words": sum(c.late for c in counts),
            "unheard_words_share": share(sum(c.unheard for c in counts), words + sum(c.unheard for c in counts)),
            "deaf_characters": sum(c.deaf for c in counts),
            "resumed": share(sum(c.resumed for c in counts), inserted) if inserted >= FEWEST else None,
        }


def panel(talks: Iterable[Talk], seed: int = 0) -> dict[str, Panel]:
    """By system."""
    found: dict[str, dict[str, list[Counts]]] = defaultdict(lambda: defaultdict(list))
    for talk in talks:
        found[talk.system][talk.scenario].append(count(talk))
    return {system: Panel(system, by_scenario, seed) for system, by_scenario in found.items()}


def to_json(panels: Mapping[str, Panel]) -> dict[str, Any]:
    """An object for each system with the eight names as keys."""
    return {system: each.values() for system, each in panels.items()}
