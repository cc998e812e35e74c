"""What an export of a study takes from the database: rows of every table of the dictionary.

gathered = gather(study, database, "public")
gathered.rows["ratings"], gathered.flow, gathered.talks

"public": participants who agreed to publishing, but for those whom the researcher excluded. "all": everybody who
consented. Whoever withdrew, or left before consent, is counted in the flow and nowhere else. Ids of recruitment
services, tokens, and what the page saw of a device are never taken.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from duplex_runtime.errors import BadInput
from webapp.study.database import Answer, Note, Participant, Talk
from webapp.study.definition import Study
from webapp.study.dictionary import about_column
from webapp.study.frames import FATES, Person, fate_of, frames_of, people_of
from webapp.study.state import steps_of
from webapp.study.steps import Item, Step

if TYPE_CHECKING:
    from webapp.study.database import Database

AUDIENCES = ("public", "all")
Row = dict[str, Any]


@dataclass(frozen=True)
class Talked:
    """One talk that is exported. `name`: that of its recording in the export; `file`: the recording; `audio`: its
    sound may be published; `overall`: the system's rating, None if there is none."""

    name: str
    file: Path
    participant: str
    system: str
    position: int
    session: int
    audio: bool
    overall: int | None


@dataclass(frozen=True)
class Gathered:
    """rows: by table, in order. flow: how many participants came to which end, of all. talks: see `Talked`."""

    rows: Mapping[str, list[Row]]
    flow: Mapping[str, int]
    talks: tuple[Talked, ...]

    @property
    def participants(self) -> list[str]:
        """Ids of everybody who is in it."""
        return [row["participant"] for row in self.rows["participants"]]


@dataclass(frozen=True)
class _Kept:
    """One participant who is exported."""

    row: Participant
    person: Person
    steps: tuple[Step, ...]
    answers: list[Answer]
    notes: list[Note]
    talks: list[Talk]

    def system(self, position: int) -> str | None:
        """That of a page about a system."""
        return self.person.order[position - 1] if position else None


def gather(study: Study, database: Database, audience: str) -> Gathered:
    """See the module; raises DatabaseAway."""
    people = {person.id: person for person in people_of(study, database)}
    kept = list(_kept(study, database, people, audience))
    frames = frames_of(study, [each.person for each in kept])
    talks = [list(_talks(each, study)) for each in kept]
    rows: dict[str, list[Row]] = {
        "participants": [_participant(each, study) for each in kept],
        "answers": [row for each in kept for row in _answers(each)],
        "ratings": [row for each in kept for row in _ratings(each, study)],
        "preferences": _records(frames.preferences),
        "guesses": _records(frames.guesses),
        "talks": [row for theirs in talks for row, _ in theirs],
        "notes": [row for each in kept for row in _notes(each)],
        "about": [row for each in kept for row in _about(each, study)],
    }
    counted = Counter(fate_of(person, study.exclude)[0] for person in people.values())
    flow = {"came": len(people), **{fate: counted[fate] for fate in FATES}, "exported": len(kept)}
    return Gathered(rows, flow, tuple(talk for theirs in talks for _, talk in theirs))


def allowed(study: Study, database: Database, audience: str) -> set[str]:
    """Ids of everybody who may be in an export now; raises DatabaseAway."""
    from sqlalchemy import select

    with database.reading() as session:
        rows = session.scalars(select(Participant).where(Participant.study == study.name))
        return {row.id for row in rows if _may(row, audience)}


def _kept(study: Study, database: Database, people: Mapping[str, Person], audience: str) -> Iterator[_Kept]:
    from sqlalchemy import select

    with database.reading() as session:
        everybody = select(Participant).where(Participant.study == study.name).order_by(Participant.id)
        for row in session.scalars(everybody).all():
            person = people.get(row.id)
            if person is None or not _may(row, audience):
                continue
            of = row.id
            yield _Kept(
                row=row,
                person=person,
                steps=steps_of(study, row),
                answers=list(session.scalars(select(Answer).where(Answer.participant == of).order_by(Answer.id))),
                notes=list(session.scalars(select(Note).where(Note.participant == of).order_by(Note.id))),
                talks=list(session.scalars(select(Talk).where(Talk.participant == of).order_by(Talk.id))),
            )


def _may(row: Participant, audience: str) -> bool:
    if audience == "public":
        return row.publish and row.status in ("consented", "completed")
    return row.status in ("consented", "completed", "excluded")


def _records(frame: Any) -> list[Row]:
    """Rows with Python's own types, None for what is missing."""
    return [{key: _native(value) for key, value in row.items()} for row in frame.astype(object).to_dict("records")]


def _native(value: Any) -> Any:
    """Whole numbers that pandas made floats of because one was missing."""
    if isinstance(value, float):
        return int(value) if value.is_integer() else None if value != value else value
    return value


def _participant(kept: _Kept, study: Study) -> Row:
    row, person = kept.row, kept.person
    fate, detail = fate_of(person, study.exclude)
    return {
        "participant": row.id,
        "fate": fate,
        "detail": detail or None,
        "step": person.step,
        "language": person.language,
        "way": person.way,
        "begins": person.order[0] if person.order else None,
        "order": " ".join(person.order),
        "labels": " ".join(row.labels or ()),
        "sides": " ".join(map(str, person.sides)),
        "block": row.block,
        "place": row.place,
        "arm": row.arm,
        "consent_version": row.consent_version,
        "publish": row.publish,
        "audio": row.audio,
        "failed_checks": person.failed_checks,
        "minutes": None if person.minutes is None else round(person.minutes, 3),
        "lost_focus": person.lost_focus,
        "began_at": row.created_at,
    }


def _answers(kept: _Kept) -> Iterator[Row]:
    steps = {step.key: step for step in kept.steps}
    for answer in kept.answers:
        step = steps.get(answer.step)
        item = next((item for item in step.items if item.key == answer.item), None) if step else None
        position = step.position if step else 0
        yes_no = isinstance(answer.value, bool)
        yield {
            "participant": kept.row.id,
            "step": answer.step,
            "item": answer.item,
            "position": position or None,
            "system": kept.system(position),
            "value": str(answer.value).lower() if yes_no else str(answer.value),
            "number": answer.value if isinstance(answer.value, int) and not yes_no else None,
            "right": _right(item, answer.value),
            "at": answer.at,
        }


def _right(item: Item | None, value: Any) -> bool | None:
    return bool(value == item.right) if item and item.right is not None else None


def _ratings(kept: _Kept, study: Study) -> Iterator[Row]:
    for position, system in enumerate(kept.person.order, 1):
        given = kept.person.answers.get(f"rate-{position}")
        if not given:
            continue
        label = (kept.row.labels or [])[position - 1]
        row = {"participant": kept.row.id, "system": system, "position": position, "label": label}
        row |= {scale: given.get(scale) for scale in study.ratings.scales}
        yield row | ({"comment": given.get("comment")} if study.ratings.comment else {})


def _notes(kept: _Kept) -> Iterator[Row]:
    known = {step.key for step in kept.steps}
    for note in kept.notes:
        step = note.detail.get("step") if isinstance(note.detail, dict) else None
        named = step if isinstance(step, str) and step in known else None  # whatever else a page sent stays here
        yield {"participant": kept.row.id, "kind": note.kind, "step": named, "at": note.at}


def _about(kept: _Kept, study: Study) -> Iterator[Row]:
    given = kept.person.answers.get("about")
    if given:
        answers = {about_column(question.key): given.get(question.key) for question in study.about_you.questions}
        yield {"participant": kept.row.id, **answers}


def _talks(kept: _Kept, study: Study) -> Iterator[tuple[Row, Talked]]:
    parts: Counter[tuple[int, int]] = Counter()
    ordered = sorted(kept.talks, key=lambda talk: (talk.position, talk.session, talk.id))
    for talk in ordered:
        parts[talk.position, talk.session] += 1
        part = parts[talk.position, talk.session]
        name = f"{kept.row.id}-{talk.position}-{talk.session}-{part}"
        file = study.recordings / Path(talk.recording).name
        row = {
            "talk": name,
            "participant": kept.row.id,
            "position": talk.position,
            "session": talk.session,
            "part": part,
            "system": talk.system,
            "label": talk.label,
            "task": talk.task,
            "seconds": round(talk.seconds, 3),
            "turns": talk.turns,
            "interruptions": talk.interruptions,
            "ended": talk.ended,
            "began_at": talk.began_at,
            **_measured(file, name),
        }
        overall = kept.person.answers.get(f"rate-{talk.position}", {}).get("overall")
        audio = kept.row.publish and kept.row.audio
        yield row, Talked(name, file, kept.row.id, talk.system, talk.position, talk.session, audio, overall)


def _measured(file: Path, name: str) -> Row:
    """What the recording says; only `problem` where it cannot be read."""
    from statistics import median

    from duplex_runtime.evaluation.interaction import count
    from duplex_runtime.evaluation.talks import talk_of
    from duplex_runtime.recording import read_log

    try:
        counts = [count(talk_of(log, name)) for log in read_log(file).values()]
    except BadInput as error:
        return dict.fromkeys(_MEASURED) | {"problem": str(error).replace(str(file), name)}
    of = {key: [sum(each.of[key][k] for each in counts) for k in (0, 1)] for key in counts[0].of}
    offsets = [offset for each in counts for offset in each.offsets]
    values: Sequence[float | int | None] = (
        round(median(offsets), 4) if offsets else None,
        round(of["L_Y"][0] / of["L_Y"][1], 4) if of["L_Y"][1] else None,
        *(int(of[key][k]) for key, k in (("R_R", 1), ("R_R", 0), ("I_A", 0), ("R_Y", 1), ("R_Y", 0))),
        *(int(of["S_BC"][k]) for k in (1, 0)),
        sum(each.words for each in counts),
        sum(each.unheard for each in counts),
        sum(each.deaf for each in counts),
    )
    return dict(zip(_MEASURED, values, strict=True)) | {"problem": None}


_MEASURED = (
    *("answer_s", "yield_s", "asked", "answered", "early", "broken_into", "yielded", "backchannels", "ignored"),
    *("words", "unheard", "deaf"),
)
