"""`duplex study simulate`: a study with simulated participants, or many, to see whether the analysis finds the truth.

    fill(study, database, Truth(), careful=48, seed=7)      # through the study's own service, with recordings
    coverage(study, runs=500)                               # do 95 % intervals hold the truth in 95 % of studies?

A study that was filled has the file simulated.json, and its report says what it is a report of.
"""

from __future__ import annotations

import json
import os
import time
import uuid
from collections import defaultdict
from collections.abc import Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

from duplex_runtime.errors import BadInput
from duplex_runtime.evaluation.results import Table
from webapp.study.definition import Study
from webapp.study.frames import frames_of
from webapp.study.preference import Blinding, blinding, reference_of, strengths
from webapp.study.simulated import Mind, minds, people_of
from webapp.study.statistics import Comparison, Estimate, compare
from webapp.study.truth import Truth

if TYPE_CHECKING:
    from webapp.study.database import Database
    from webapp.study.service import Service

MARK = "simulated.json"
#: Intervals whose coverage is counted.
KINDS = {
    "mean_difference": "mean difference",
    "hodges_lehmann": "Hodges-Lehmann shift",
    "mixed_model": "ordinal mixed model",
    "bradley_terry": "Bradley-Terry log strength",
    "blinding": "blinding index",
}
#: Bootstrap rounds of each run.
ROUNDS = 1000


def mark_of(folder: Path) -> dict[str, Any] | None:
    """Seed and truth of a simulated study; None of a real one."""
    try:
        found = json.loads((folder / MARK).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return dict(found)


def fill(study: Study, database: Database, truth: Truth, careful: int, seed: int) -> dict[str, int]:
    """Let simulated people take part until so many careful ones have finished; how many of each kind came.

    Raises BadInput for a study in which somebody has been: simulated and real people are never mixed.
    """
    from sqlalchemy import select

    from webapp.study.database import Participant
    from webapp.study.service import Service

    with database.reading() as session:
        if session.scalar(select(Participant.id).where(Participant.study == study.name).limit(1)):
            raise BadInput(f"{study.folder}: expected a study without participants, and it has some; make a new one")
    mark = {"seed": seed, "participants": careful, "truth": asdict(truth)}
    (study.folder / MARK).write_text(json.dumps(mark, indent=1) + "\n", encoding="utf-8")
    service = Service(study, database)
    kinds: dict[str, int] = defaultdict(int)
    for mind in minds(truth, careful, seed):
        kinds[mind.kind] += 1
        _take_part(service, mind)
    return dict(kinds)


def _take_part(service: Service, mind: Mind) -> None:
    """From the first page to where they stop."""
    from webapp.study.simulated_talks import write_talk
    from webapp.study.state import steps_of
    from webapp.study.tally import Figures

    token, state = service.begin(service.study.languages[0], {}, None)
    if mind.kind == "looks":
        return
    consent = {item["key"]: True for item in state["step"]["items"]}
    service.answer(token, uuid.uuid4().hex, "consent", consent)
    with service.database.reading() as session:
        row = service.whose(session, token)
        steps, order = steps_of(service.study, row), tuple(row.order or ())
    for step in steps[1 : mind.stops_at(steps)]:
        if step.kind == "talk":
            opened = service.open_talk(token)
            turns = write_talk(service.study.recordings / opened.recording, opened.system, mind, service.study)
            service.update_talk(opened.id, Figures(float(service.study.tasks.min_seconds), *turns), ended=True)
        service.answer(token, uuid.uuid4().hex, step.key, mind.answers(step, order))
    if mind.kind == "withdraws":
        service.withdraw(token)
    _took_minutes(service, row.id)


def _took_minutes(service: Service, participant: str) -> None:
    """As if it had taken as long as people are told, for rules that ask how long it took."""
    from sqlalchemy import update

    from webapp.study.database import Answer, utc_text

    earlier = utc_text(datetime.now(UTC) - timedelta(minutes=service.study.consent.minutes))
    consent = update(Answer).where(Answer.participant == participant, Answer.step == "consent")
    with service.database.writing() as session:
        session.execute(consent.values(at=earlier))


@dataclass(frozen=True)
class Cover:
    """Of one figure over all runs. `of`: a system, or a scale and a difference. `held`: how many intervals held the
    truth; `runs`: how many there were."""

    kind: str
    of: str
    truth: float
    mean: float
    held: int
    runs: int


Found = dict[tuple[str, str], Estimate | None]


def coverage(
    study: Study, runs: int, careful: int = 48, seed: int = 0, truth: Truth | None = None, workers: int = 0
) -> list[Cover]:
    """Simulate and analyse `runs` studies, each with so many careful participants; workers: 0 for all cores."""
    truth = truth or Truth()
    one = partial(_found, study, truth, careful)
    seeds = [seed * 1_000_000 + run for run in range(runs)]
    workers = min(workers or os.cpu_count() or 1, runs)
    if workers == 1:
        return _covers(study, truth, map(one, seeds))
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        return _covers(study, truth, pool.map(one, seeds, chunksize=max(1, runs // (8 * workers))))


def _found(study: Study, truth: Truth, careful: int, seed: int) -> Found:
    """All intervals of one simulated study, from the functions that the report uses."""
    frames = frames_of(study, people_of(study, truth, careful, seed)).analysed()
    return intervals_of(
        compare(frames.ratings, study.systems, study.ratings.scales),
        strengths(frames.preferences, study.systems, ROUNDS, seed),
        blinding(frames.guesses, len(study.systems)),
    )


def intervals_of(rows: Iterable[Comparison], log_strengths: Mapping[str, Estimate], index: Iterable[Blinding]) -> Found:
    """Estimates by kind and by what they are of."""
    found: Found = {}
    for row in rows:
        of = f"{row.scale}, {row.first} - {row.second}"
        found["mean_difference", of], found["hodges_lehmann", of] = row.mean, row.shift
        effect = row.model.system
        found["mixed_model", of] = Estimate(effect.value, effect.low, effect.high) if effect else None
    for system, estimate in log_strengths.items():
        found["bradley_terry", system] = estimate
    for each in index:
        found["blinding", f"began with {each.begins}" if each.begins else "all"] = each.index
    return found


def truth_of(study: Study, truth: Truth, kind: str, of: str) -> float:
    """What the interval of that kind should hold."""
    if kind == "blinding":
        return truth.blinding(len(study.systems))
    if kind == "bradley_terry":
        return truth.strength((of, reference_of(study.systems)))
    scale, names = of.split(", ")
    first, second = names.split(" - ")
    match kind:
        case "mixed_model":
            return truth.effect(scale, (first, second))
        case "mean_difference":
            return round(truth.mean_difference(study, scale, (first, second)), 9)
        case _:
            return round(truth.shift(study, scale, (first, second)), 9)


def _covers(study: Study, truth: Truth, runs: Iterable[Found]) -> list[Cover]:
    estimates: dict[tuple[str, str], list[Estimate]] = defaultdict(list)
    for found in runs:
        for key, estimate in found.items():
            if estimate is not None:
                estimates[key].append(estimate)
    covers = []
    for kind, of in sorted(estimates, key=lambda key: list(KINDS).index(key[0])):
        theirs, value = estimates[kind, of], truth_of(study, truth, kind, of)
        mean = sum(e.value for e in theirs) / len(theirs)
        covers.append(Cover(kind, of, value, mean, sum(e.holds(value) for e in theirs), len(theirs)))
    return covers


def shares_held(covers: Iterable[Cover]) -> dict[str, float]:
    """For each kind of interval the share that held the truth, to four digits."""
    held: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for cover in covers:
        held[cover.kind][0] += cover.held
        held[cover.kind][1] += cover.runs
    return {kind: round(held[kind][0] / held[kind][1], 4) for kind in KINDS if kind in held}


def run(study: Study, runs: int, careful: int, seed: int) -> int:
    """Print a table and one line of JSON."""
    begun = time.monotonic()
    covers = coverage(study, runs, careful, seed)
    rows = tuple((KINDS[c.kind], c.of, c.truth, c.mean, 100 * c.held / c.runs) for c in covers)
    title = f"{runs} simulated studies of {careful} analysed participants, 95 % intervals"
    columns = ("interval", "of", "truth", "mean of the estimates", "held the truth, %")
    note = f"With {runs} runs, 95 % is known to ±{196 * (0.95 * 0.05 / runs) ** 0.5:.1f} points."
    print(Table(title, columns, rows, note).text())
    figures = {"runs": runs, "participants": careful, "seed": seed, "coverage": shares_held(covers)}
    print(json.dumps(figures | {"seconds": round(time.monotonic() - begun, 1)}))
    return 0
