"""What a study found, as pandas frames: the only part of the analysis that knows the database.

    frames = frames_of(study, people_of(study, database))
    frames.people["fate"].value_counts()          # analysed, inattentive, unfinished, …
    frames.analysed().ratings                     # participant, system, position, scale, value

Whom the analysis leaves out is decided here, by the rules that stand in the study ([exclude]). No figure depends on the
order in which people came or rows lie: everything is sorted by participant.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from itertools import combinations
from typing import TYPE_CHECKING, Any

from webapp.study.definition import Exclude, Study
from webapp.study.steps import STRENGTHS, UNSURE, Step, failed_checks

if TYPE_CHECKING:
    import pandas as pd

    from webapp.study.database import Database

#: What became of a participant, in the order in which it is decided; only the last are analysed.
FATES = {
    "left": "left before consent",
    "withdrew": "withdrew, data deleted",
    "excluded": "excluded by the researcher",
    "unfinished": "did not finish",
    "inattentive": "failed attention checks",
    "hurried": "took too little time",
    "analysed": "analysed",
}
_COLUMNS = {
    "people": ("participant", "fate", "detail", "begins", "language", "way", "failed_checks", "minutes", "lost_focus"),
    "ratings": ("participant", "system", "position", "scale", "value"),
    "preferences": ("participant", "first", "second", "preferred", "strength", "earlier", "left"),
    "guesses": ("participant", "begins", "outcome", "sure"),
    "comments": ("participant", "system", "text"),
    "about": ("participant", "question", "value"),
    "talks": ("participant", "system", "position", "session", "seconds", "turns", "interruptions", "recording"),
}


@dataclass(frozen=True)
class Talked:
    """One talk, or a part of one that was taken up again; `recording` is a file in the study's recordings."""

    position: int
    session: int
    system: str
    seconds: float
    turns: int
    interruptions: int
    recording: str


@dataclass(frozen=True)
class Person:
    """One participant. `order`: systems by position, empty before consent. `step`: where they are. `minutes`: from
    consent to the last answer, None if the clock does not say. `answers`: by step and item."""

    id: str
    status: str
    language: str = "en"
    way: str = "keys"
    order: tuple[str, ...] = ()
    sides: tuple[int, ...] = ()
    step: str = "consent"
    excluded_because: str = ""
    failed_checks: int = 0
    minutes: float | None = None
    lost_focus: int = 0
    answers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    talks: tuple[Talked, ...] = ()


@dataclass(frozen=True)
class Frames:
    """Columns of each frame: see `_COLUMNS`. people.begins: their first system. preferences: one row for each pair;
    strength 1 slightly, 2 more, 3 much; earlier, left: whether the preferred system came earlier, stood left of the
    other. guesses.outcome: right, wrong or unsure; sure 1 to 5."""

    people: pd.DataFrame
    ratings: pd.DataFrame
    preferences: pd.DataFrame
    guesses: pd.DataFrame
    comments: pd.DataFrame
    about: pd.DataFrame
    talks: pd.DataFrame

    def analysed(self) -> Frames:
        """Only those who are analysed."""
        kept = set(self.people["participant"][self.people["fate"] == "analysed"])
        return self.only(kept)

    def only(self, participants: Iterable[str]) -> Frames:
        """Only these participants."""
        kept = set(participants)
        frames = {f.name: getattr(self, f.name) for f in fields(self)}
        return Frames(**{name: frame[frame["participant"].isin(kept)] for name, frame in frames.items()})


def people_of(study: Study, database: Database) -> list[Person]:
    """Everybody who ever began; raises DatabaseAway."""
    from sqlalchemy import select

    from webapp.study.database import Answer, Note, Participant, Talk
    from webapp.study.state import steps_of

    answers: dict[str, dict[str, dict[str, Any]]] = defaultdict(lambda: defaultdict(dict))
    moments: dict[str, list[str]] = defaultdict(list)
    talks: dict[str, list[Talked]] = defaultdict(list)
    with database.reading() as session:
        rows = list(session.scalars(select(Participant).where(Participant.study == study.name)))
        theirs = select(Participant.id).where(Participant.study == study.name)
        for answer in session.scalars(select(Answer).where(Answer.participant.in_(theirs)).order_by(Answer.id)):
            answers[answer.participant][answer.step][answer.item] = answer.value
            moments[answer.participant].append(answer.at)
        for talk in session.scalars(select(Talk).where(Talk.participant.in_(theirs)).order_by(Talk.id)):
            figures = (talk.seconds, talk.turns, talk.interruptions, talk.recording)
            talks[talk.participant].append(Talked(talk.position, talk.session, talk.system, *figures))
        blurred = select(Note.participant).where(Note.kind == "blur", Note.participant.in_(theirs))
        blurs = Counter(session.scalars(blurred))
    people = []
    for row in rows:
        steps, given = steps_of(study, row), answers[row.id]
        people.append(
            Person(
                id=row.id,
                status=row.status,
                language=row.language,
                way=row.way,
                order=tuple(row.order or ()),
                sides=tuple(row.sides or ()),
                step=_at(steps, row.step),
                excluded_because=row.excluded_because,
                failed_checks=failed_checks(steps, given),
                minutes=_minutes(moments[row.id]),
                lost_focus=blurs[row.id],
                answers=given,
                talks=tuple(talks[row.id]),
            )
        )
    return people


def _at(steps: Sequence[Step], index: int) -> str:
    return steps[min(index, len(steps) - 1)].key


def _minutes(moments: Sequence[str]) -> float | None:
    """Between the first and the last of them, as they were stored; None if the clock went back."""
    if not moments:
        return None
    seconds = (datetime.fromisoformat(moments[-1]) - datetime.fromisoformat(moments[0])).total_seconds()
    return seconds / 60 if seconds >= 0 else None


def fate_of(person: Person, rules: Exclude) -> tuple[str, str]:
    """A key of FATES, and what there is to say about it."""
    match person.status:
        case "begun":
            return "left", ""
        case "withdrawn":
            return "withdrew", ""
        case "excluded":
            return "excluded", person.excluded_because or "no reason given"
        case "consented":
            return "unfinished", f"stopped at {person.step}"
    if rules.attention_failed and person.failed_checks >= rules.attention_failed:
        return "inattentive", f"{person.failed_checks} checks failed"
    if rules.min_minutes and person.minutes is not None and person.minutes < rules.min_minutes:
        return "hurried", f"{person.minutes:.1f} minutes, at least {rules.min_minutes} needed"
    return "analysed", ""


def frames_of(study: Study, people: Iterable[Person]) -> Frames:
    """Frames of these people, in whatever order they come."""
    import pandas as pd

    rows: dict[str, list[tuple[Any, ...]]] = {name: [] for name in _COLUMNS}
    for person in sorted(people, key=lambda each: each.id):
        begins = person.order[0] if person.order else ""
        fate, detail = fate_of(person, study.exclude)
        seen = (begins, person.language, person.way, person.failed_checks, person.minutes, person.lost_focus)
        rows["people"].append((person.id, fate, detail, *seen))
        rows["talks"] += [
            (person.id, t.system, t.position, t.session, t.seconds, t.turns, t.interruptions, t.recording)
            for t in person.talks
        ]
        for position, system in enumerate(person.order, 1):
            given = person.answers.get(f"rate-{position}", {})
            scales = [scale for scale in study.ratings.scales if scale in given]
            rows["ratings"] += [(person.id, system, position, scale, given[scale]) for scale in scales]
            if given.get("comment"):
                rows["comments"].append((person.id, system, str(given["comment"])))
        rows["preferences"] += _preferences(person)
        rows["guesses"] += _guess(person, begins)
        rows["about"] += [(person.id, key, value) for key, value in person.answers.get("about", {}).items()]
    return Frames(**{name: pd.DataFrame(rows[name], columns=list(_COLUMNS[name])) for name in _COLUMNS})


def _preferences(person: Person) -> list[tuple[Any, ...]]:
    given = person.answers.get("compare", {})
    found: list[tuple[Any, ...]] = []
    for pair in combinations(range(1, len(person.order) + 1), 2):
        key = "preference" if len(person.order) == 2 else f"preference-{pair[0]}-{pair[1]}"
        if key not in given:
            continue
        position, how = given[key].split("-")
        preferred, other = (pair[0], pair[1]) if int(position) == pair[0] else (pair[1], pair[0])
        first, second = sorted(person.order[n - 1] for n in pair)
        strength = len(STRENGTHS) - STRENGTHS.index(how)
        left = person.sides.index(preferred) < person.sides.index(other)
        found.append((person.id, first, second, person.order[preferred - 1], strength, preferred < other, left))
    return found


def _guess(person: Person, begins: str) -> list[tuple[Any, ...]]:
    """There is a right guess only where something listens while it speaks."""
    given = person.answers.get("compare", {})
    if "guess" not in given or "duplex" not in person.order:
        return []
    if given["guess"] == UNSURE:
        return [(person.id, begins, "unsure", None)]
    outcome = "right" if person.order[int(given["guess"]) - 1] == "duplex" else "wrong"
    return [(person.id, begins, outcome, given.get("guess_sure"))]
