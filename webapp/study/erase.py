"""Deleting what a participant left: rows and files, looked at afterwards, and honest about what could not be deleted.

erased = erase(database, study.recordings, "p-abcdefgh", copies_of(study))
erased.complete, erased.left             # False, ("recordings/….jsonl: Permission denied",)

What stays is the participant's row with status "withdrawn" and nothing in it that they said, for the flow of
participants; with `row=True` that goes as well. Done again, it deletes what was left.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy import CursorResult, Delete, delete, func, select
from sqlalchemy.orm import Session

from duplex_runtime.errors import BadInput
from webapp.study.database import Answer, Database, Note, Participant, Recruit, Request, Talk, utc_now, utc_text
from webapp.study.definition import Study
from webapp.study.mirror import Copies, copies_of

log = logging.getLogger(__name__)

#: Whoever never consented is forgotten by name after so long.
LOOKED_IN = timedelta(days=1)
_WITHOUT_FILES: tuple[type[Answer | Note | Request | Recruit], ...] = (Answer, Note, Request, Recruit)


@dataclass(frozen=True)
class Erased:
    """What was deleted: so many rows and files. `left`: what could not be, with the reason."""

    participant: str
    rows: int
    files: int
    left: tuple[str, ...]

    @property
    def complete(self) -> bool:
        """Nothing is left."""
        return not self.left


def erase(
    database: Database, recordings: Path, participant: str, copies: Copies | None = None, row: bool = False
) -> Erased:
    """See the module; raises BadInput for an unknown participant, DatabaseAway where the database fails.

    copies: what there is of them elsewhere, which is deleted as well.

    The rows of the talks, which name the files, go last: what failed can be tried again.
    """
    with database.writing() as session:
        found = session.get(Participant, participant)
        if found is None:
            raise BadInput(
                f"no participant {participant[:40]!r}: expected an id such as p-abcdefgh, see `duplex study list`"
            )
        found.status, found.updated_at, found.publish, found.audio = "withdrawn", utc_now(), False, False
        names = list(session.scalars(select(Talk.recording).where(Talk.participant == participant)))
        rows = 0
        for table in _WITHOUT_FILES:
            rows += _run(session, delete(table).where(table.participant == participant))
    files, left = _delete_files(recordings, names)
    left += copies.delete(participant, names) if copies else []
    if not left:
        with database.writing() as session:
            rows += _run(session, delete(Talk).where(Talk.participant == participant))
            if row and (found := session.get(Participant, participant)):
                session.delete(found)
    with database.reading() as session:
        for each in (*_WITHOUT_FILES, *(() if left else (Talk,))):
            if count := session.scalar(select(func.count()).where(each.participant == participant)):
                left.append(f"{count} rows of {each.__tablename__}")
    database.tidy()
    if left:
        log.error("participant %s is not wholly deleted: %d things are left", participant, len(left))
    return Erased(participant, rows, files, tuple(left))


def _run(session: Session, statement: Delete) -> int:
    """How many rows it deleted."""
    result = session.execute(statement)
    assert isinstance(result, CursorResult)
    return result.rowcount


def _delete_files(recordings: Path, names: list[str]) -> tuple[int, list[str]]:
    """Everything that belongs to these recordings; how many files went, and what did not."""
    files, left = 0, []
    for name in names:
        for file in recordings.glob(f"{Path(name).stem}.*"):
            try:
                file.unlink(missing_ok=True)
            except OSError as error:
                left.append(f"{file}: {error.strerror}")
                continue
            files += 1
    return files, left


@dataclass(frozen=True)
class Due:
    """Whose time is over: `participants`, of whom everything goes, and `recruits`, of whom only the name goes."""

    participants: frozenset[str] = frozenset()
    recruits: frozenset[str] = frozenset()

    def __and__(self, other: Due) -> Due:
        return Due(self.participants & other.participants, self.recruits & other.recruits)


def due(study: Study, database: Database, now: datetime) -> Due:
    """Participants who began more than `retention_days` ago, if the study does not keep data for good; and recruits who
    never consented and came more than a day ago."""
    days = study.storage.retention_days
    theirs = select(Participant.id).where(Participant.study == study.name)
    looked = theirs.join(Recruit).where(
        Participant.status == "begun", Participant.created_at < utc_text(now - LOOKED_IN)
    )
    old = theirs.where(Participant.created_at < utc_text(now - timedelta(days=days)))
    with database.reading() as session:
        participants = frozenset(session.scalars(old)) if days else frozenset()
        return Due(participants, frozenset(session.scalars(looked)))


def delete_due(study: Study, database: Database, over: Due) -> tuple[Erased, ...]:
    """Delete what is due."""
    with database.writing() as session:
        session.execute(delete(Recruit).where(Recruit.participant.in_(over.recruits)))
    copies = copies_of(study)
    return tuple(erase(database, study.recordings, each, copies, row=True) for each in sorted(over.participants))
