"""Everything that a report of a study says, computed once.

findings = analyse(study, database)
findings.n                                    # participants who are analysed
findings.comparisons[0].model.system
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from webapp.study.definition import Study
from webapp.study.frames import Frames, frames_of, people_of
from webapp.study.measured import Correlation, Measured, correlations, measured_of
from webapp.study.preference import Blinding, Shares, Side, blinding, shares, sides, strengths
from webapp.study.simulate import mark_of
from webapp.study.statistics import Comparison, Described, Estimate, OrderEffect, compare, describe, order_effects

if TYPE_CHECKING:
    from webapp.study.database import Database


@dataclass(frozen=True)
class Findings:
    """`everybody`: frames of all who came; `frames`: of those who are analysed, and all else is of them.

    unaware: preferences of those who did not say rightly which system listens while it speaks. mark: of a simulated
    study (simulate.py), None of a real one.
    """

    study: Study
    everybody: Frames
    frames: Frames
    described: list[Described]
    comparisons: list[Comparison]
    order: list[OrderEffect]
    shares: list[Shares]
    unaware: list[Shares]
    strengths: dict[str, Estimate]
    sides: list[Side]
    blinding: list[Blinding]
    measured: Measured
    correlations: list[Correlation]
    mark: dict[str, Any] | None

    @property
    def n(self) -> int:
        """How many are analysed."""
        return len(self.frames.people)


def analyse(study: Study, database: Database) -> Findings:
    """Of what is in the database and the recordings now; raises DatabaseAway."""
    return findings_of(study, frames_of(study, people_of(study, database)), mark_of(study.folder))


def findings_of(study: Study, everybody: Frames, mark: dict[str, Any] | None = None) -> Findings:
    """Of these frames, and of the recordings that they name."""
    frames = everybody.analysed()
    systems, scales = study.systems, study.ratings.scales
    saw = set(frames.guesses["participant"][frames.guesses["outcome"] == "right"])
    unaware = frames.only(set(frames.guesses["participant"]) - saw)
    measured = measured_of(frames.talks, study.recordings)
    comparisons = compare(frames.ratings, systems, scales)
    return Findings(
        study=study,
        everybody=everybody,
        frames=frames,
        described=describe(frames.ratings, systems, scales),
        comparisons=comparisons,
        order=order_effects(frames.ratings, systems, comparisons),
        shares=shares(frames.preferences, systems),
        unaware=shares(unaware.preferences, systems),
        strengths=strengths(frames.preferences, systems, seed=study.seed),
        sides=sides(frames.preferences),
        blinding=blinding(frames.guesses, len(systems)),
        measured=measured,
        correlations=correlations(frames.ratings, measured.each, systems, scales, study.seed),
        mark=mark,
    )
