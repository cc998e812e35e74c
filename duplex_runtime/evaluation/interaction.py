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
- an answer that was said to its end there, with no yield, had not been given up: a recording tells, ticks do not;
- an answer that begins in the tick in which a turn ends is an answer after 0 s: simulated systems are that quick;
- what falls silent in the very moment in which the person begins was broken into, and yielded after 0 s.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from duplex_runtime.alignment.noise import normal
from duplex_runtime.evaluation.acts import ASKING, Act, Piece
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
#: A question cuts an answer off so shortly before its first key (half a word is taken back) up to so long after its
#: last (seconds).
CUT_SECONDS = (0.5, 5.0)
_SELECTIVE = {"backchannel": "S_BC", "tic": "S_VT", "aside": "S_ND"}


@dataclass(frozen=True)
class Counts:
    """Sums over one talk. `of[name]`: sum and number of events, for each of NAMES. offsets: seconds from the end of a
    turn to its answer, negative where it began before. words: that were said; early: of those, inside a turn, of an
    answer begun in it; late: of an interrupted answer, after the interruption was said. unheard: prepared and never
    seen. deaf: characters that were not heard. inserted: questions that cut an answer off and were answered; resumed:
    of those, after how many what was cut was said after all."""

    of: Mapping[str, tuple[float, int]]
    offsets: tuple[float, ...] = ()
    words: int = 0
    early: int = 0
    late: int = 0
    unheard: int = 0
    deaf: int = 0
    inserted: int = 0
    resumed: int = 0
    turns: int = 0


def count(talk: Talk) -> Counts:
    """What happened in one talk."""
    times = segments_of(talk)
    turns = [s for s in times.person if _act(s).kind in ASKING]
    values: dict[str, list[float]] = {name: [] for name in NAMES}
    for name, value in (*_responses(turns, times), *_yields(times), *_selective(talk, times)):
        values[name].append(value)
    of = {name: (float(sum(each)), len(each)) for name, each in values.items()}
    begun = sum(any(t.first <= s.first < t.end for t in turns) for s in times.system)
    of["I_A"] = (float(begun), of["R_R"][1])  # events for each turn: several may fall into one
    resumed = list(_resumptions(talk, times))
    return Counts(
        of,
        offsets=tuple(_offsets(turns, talk, times)),
        words=len(talk.words),
        early=sum(_early(_act(turn), talk.words) for turn in turns),
        late=sum(_late(_act(s), answer, talk) for s, answer in _interruptions(times)),
        unheard=sum(len(text.split()) for _, _, text in talk.unheard),
        deaf=sum(len(text) for _, text in talk.deaf),
        inserted=len(resumed),
        resumed=sum(resumed),
        turns=len(turns),
    )


def _act(segment: Segment) -> Act:
    assert segment.act
    return segment.act


def _responses(turns: Sequence[Segment], times: Segments) -> Iterator[tuple[str, float]]:
    """R_R and L_R."""
    ended = [s for s in turns if not ((going := times.speaking(s.end)) and going.first < s.end)]
    for number, turn in enumerate(ended):
        answer = next((s.first for s in times.system if s.first >= turn.end), None)
        following = next((s.first for s in ended[number + 1 :] if s.first >= turn.end), None)
        if answer is not None and (following is None or answer <= following):
            yield "R_R", 1
            yield "L_R", (answer - turn.end) * TICK_SECONDS
        elif following is not None:
            yield "R_R", 0


def _interruptions(times: Segments) -> Iterator[tuple[Segment, str]]:
    """What the person said to a system that spoke, and the answer that they broke into."""
    for segment in times.person:
        if _act(segment).kind in (*ASKING, "stop") and (speaking := times.broken_into(segment)):
            yield segment, speaking.answer


def _yields(times: Segments) -> Iterator[tuple[str, float]]:
    """R_Y and L_Y. That an answer ended by itself is taken for a yield, as published."""
    for segment, _ in _interruptions(times):
        silent = times.silent_from(segment.first)
        yielded = silent - segment.first < YIELD_TICKS
        yield "R_Y", yielded
        if yielded:
            yield "L_Y", (silent - segment.first) * TICK_SECONDS


def _selective(talk: Talk, times: Segments) -> Iterator[tuple[str, float]]:
    """S_BC, S_VT and S_ND: 1 for what changed nothing."""
    for segment in times.person:
        name = _SELECTIVE.get(_act(segment).kind)
        if not name:
            continue
        if speaking := times.broken_into(segment):
            # typed: the last key is where a sound would begin
            until = (segment.end if talk.way == "keys" else segment.first) + GO_ON_TICKS
            went_on = times.silent_from(segment.first) >= until
            yield name, went_on or _said_to_its_end(talk, times, segment, speaking, until)
        elif name != "S_BC":
            yield name, not any(segment.first <= s.first <= segment.end + SILENT_TICKS for s in times.system)


def _said_to_its_end(talk: Talk, times: Segments, person: Segment, speaking: Segment, until: int) -> bool:
    """Was there nothing more to say? Not so if the system says that it yielded before tick `until`."""
    if any(person.begin <= at <= until * TICK_SECONDS for at in talk.yields):
        return False
    tick = max(person.first, speaking.end)
    while following := times.speaking(tick):
        speaking, tick = following, following.end
    return talk.answers.get(speaking.answer) == "completed"


# — beside the eight —


def _offsets(turns: Sequence[Segment], talk: Talk, times: Segments) -> Iterator[float]:
    """Seconds from the end of each turn to what began after its first key or sound and before the next turn."""
    for number, turn in enumerate(turns):
        until = turns[number + 1].begin if number + 1 < len(turns) else talk.ended_at
        earlier = {s.answer for s in times.system if s.begin < turn.begin}  # going on is no answer
        new = (s for s in times.system if turn.begin <= s.begin <= until and s.answer not in earlier)
        if answer := next(new, None):
            yield round(answer.begin - turn.stop, 3)


def _early(turn: Act, words: Sequence[Piece]) -> int:
    """Words seen while a turn went on, of answers begun in it."""
    begun = {word.response_id for word in words if word.at <= turn.begin}
    return sum(turn.begin < word.at < turn.end and word.response_id not in begun for word in words)


def _late(interruption: Act, answer: str, talk: Talk) -> int:
    """Words of the answer seen after an interruption was said, until it was yielded to, at most LATE_SECONDS."""
    until = interruption.end + LATE_SECONDS
    until = min([until, *(at for at in talk.yields if at >= interruption.begin)])
    return sum(word.response_id == answer and interruption.end < word.at < until for word in talk.words)


def _resumptions(talk: Talk, times: Segments) -> Iterator[bool]:
    """Of questions that cut an answer off and after which something was said: was what had been cut said later?

    It was if three words in a row are said again, of the last one seen and the first three cut. Of several cuts the
    last one counts, and none after which the answer went on at once as if nothing had been asked. Case and punctuation
    do not matter.
    """
    for segment, answer in _interruptions(times):
        act = _act(segment)
        within = (act.begin - CUT_SECONDS[0], act.end + CUT_SECONDS[1])
        cuts = [(at, text) for at, of, text in talk.unheard if of == answer and within[0] <= at <= within[1]]
        if act.kind != "question" or not cuts:
            continue
        at, cut = cuts[-1]
        mine = [w for w in talk.words if w.response_id == answer]
        seen, lost = _plain(w for w in mine if w.at <= at), _plain_words(cut)[:3]
        after = _plain(w for w in talk.words if w.at > max(at, act.end))
        rest = _plain(w for w in mine if w.at >= at)  # its first word may be the last one seen
        if lost and after and not any(_begins(words, lost) for words in (rest, rest[1:])):
            yield _has_run(after, [*seen[-1:], *lost])


def _plain(words: Iterable[Piece]) -> list[str]:
    return _plain_words(" ".join(word.text for word in words))


def _plain_words(text: str) -> list[str]:
    return normal(text).split()


def _begins(words: Sequence[str], lost: Sequence[str]) -> bool:
    """Are these the lost words, or as many of them as there are?"""
    return bool(words) and words[: len(lost)] == lost[: len(words)]


def _has_run(words: Sequence[str], of: Sequence[str]) -> bool:
    """Do three words in a row of `of` (all, if it has fewer) stand in `words`?"""
    size = min(3, len(of))
    runs = {tuple(of[i : i + size]) for i in range(len(of) - size + 1)}
    return any(tuple(words[i : i + size]) in runs for i in range(len(words) - size + 1))


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
            "floor_transfer_s_p50": round(median(offsets), 3) if offsets else None,
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
