"""Who takes part: the participants of a study and where they are, and exports that somebody is in.

print(roll_of(study, database).text())
exports_with(study, "p-abcdefgh")            # folders
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from duplex_runtime.errors import BadInput
from duplex_runtime.evaluation.results import Cell, Table
from webapp.study.definition import Study
from webapp.study.export import is_export, manifest_of
from webapp.study.state import steps_of

if TYPE_CHECKING:
    from webapp.study.database import Database


def roll_of(study: Study, database: Database) -> Table:
    """One row a participant, in the order in which they came; raises DatabaseAway."""
    from sqlalchemy import select

    from webapp.study.database import Participant

    with database.reading() as session:
        everybody = select(Participant).where(Participant.study == study.name)
        people = list(session.scalars(everybody.order_by(Participant.created_at, Participant.id)))
    rows: list[tuple[Cell, ...]] = [
        (row.id, row.status, steps_of(study, row)[row.step].key, row.created_at[:16], row.updated_at[:16])
        for row in people
    ]
    counts = Counter(row.status for row in people)
    note = ", ".join(f"{count} {status}" for status, count in sorted(counts.items())) or "Nobody has come yet"
    columns = ("participant", "status", "step", "came (UTC)", "last seen (UTC)")
    return Table(f"{len(people)} participants of {study.name}", columns, tuple(rows), f"{note}.")


def exports_with(study: Study, participant: str) -> list[Path]:
    """Exports in the study's folder that somebody is in."""
    found = []
    for folder in sorted(path for path in study.folder.iterdir() if path.is_dir() and is_export(path)):
        try:
            if participant in manifest_of(folder)["participants"]:
                found.append(folder)
        except (BadInput, KeyError):
            found.append(folder)  # nobody can say that they are not
    return found
