"""What participants do, durable when it returns and harmless when it is done twice.

service = Service(study, Database(study.database_url))
token, state = service.begin("en", {}, None)
service.answer(token, "a-uuid", "consent", {"agree": True})     # the new state; raises Refusal

Every form action is one transaction. Whatever is refused is a `Refusal` with a message in the participant's language
and, where it helps, the current state. If the database fails, `DatabaseAway` passes through: nothing was kept of the
action, and the same request may be sent again.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session
from sqlalchemy.orm.exc import StaleDataError

from duplex_runtime.errors import DuplexError
from webapp.study.assignment import assign_next
from webapp.study.database import Answer, Database, Note, Participant, Recruit, Request, Talk, utc_now
from webapp.study.definition import Study
from webapp.study.erase import Erased, delete_due, due, erase
from webapp.study.journal import Journal, answers_line
from webapp.study.mirror import copies_of
from webapp.study.state import state_of, steps_of
from webapp.study.steps import AnswersRefused, Step, check_answers
from webapp.study.tally import Figures
from webapp.study.texts import explain, names_of, say, texts_of

NOTES = ("focus", "blur", "hidden", "visible", "reload", "device", "problem")
#: Notes that a participant may leave, and characters of one.
MAX_NOTES, MAX_NOTE = 5000, 2000
#: What recruitment services add to the address, and the longest value that is kept.
RECRUIT_KEYS, MAX_RECRUIT = ("PROLIFIC_PID", "STUDY_ID", "SESSION_ID"), 200
#: Tries for an action that another one overtook.
TRIES = 3
_REQUEST = re.compile(r"[A-Za-z0-9-]{8,64}")
_BASE32 = "abcdefghijklmnopqrstuvwxyz234567"
_T = TypeVar("_T")


class Refusal(DuplexError):
    """Something that a participant asked for and does not get. `items`: a sentence for each answer that is wrong;
    `state`: where they are, if that is what they need to know."""

    def __init__(
        self, code: str, message: str, items: Mapping[str, str] | None = None, state: dict[str, Any] | None = None
    ) -> None:
        super().__init__(code, message)
        self.items, self.state = dict(items or {}), state


@dataclass(frozen=True)
class Opened:
    """A talk that may begin. `step`: its key; `system`: of the study; `recording`: the file's name; `before`: what
    earlier connections counted of the same talk; `audio`: the participant allowed to record their voice."""

    id: int
    step: str
    system: str
    recording: str
    audio: bool
    before: Figures
    language: str


class Service:
    """See the module. Safe to use from many threads."""

    def __init__(self, study: Study, database: Database) -> None:
        self.study, self.database = study, database
        self.texts = {language: texts_of(study, language) for language in study.languages}
        self._languages = names_of(study)
        self._copies = copies_of(study)
        self._journal = Journal(study.journals) if study.storage.mirror else None

    # — form actions —

    def begin(self, language: Any, recruit: Mapping[str, Any], token: str | None) -> tuple[str, dict[str, Any]]:
        """A token and the state of a new participant, or of the one whose `token` it is; before they have consented
        they may change the language.

        Whom a recruitment service sent twice and who comes without their token is refused, unless they never consented:
        then they begin anew. A token of somebody else, left in a shared browser, counts for nothing.
        """
        if language not in self.study.languages:
            raise self.refusal("unknown_language", self.study.languages[0])
        sent = _recruit(recruit) if self.study.completion.source else {}

        def act(session: Session) -> tuple[str, dict[str, Any]]:
            if token and (known := self.find(session, token)) and self._is(session, known, sent):
                if known.status == "begun":
                    known.language = language
                return token, self._state(session, known)
            if sent:
                self.database.alone(session, f"begin {self.study.name}")
                self._make_room(session, sent["PROLIFIC_PID"], language)
            made, now = secrets.token_urlsafe(32), utc_now()
            row = Participant(
                id="p-" + "".join(secrets.choice(_BASE32) for _ in range(8)),
                study=self.study.name,
                token_hash=_hash(made),
                language=language,
                way="speech" if self.study.way == "voice" else "keys",
                created_at=now,
                updated_at=now,
            )
            session.add(row)
            session.flush()
            if sent:
                extra = {key: value for key, value in sent.items() if key != "PROLIFIC_PID"}
                source = self.study.completion.source
                session.add(Recruit(participant=row.id, source=source, external_id=sent["PROLIFIC_PID"], extra=extra))
            return made, self._state(session, row)

        return self._write(act, language)

    def state(self, token: str | None) -> dict[str, Any]:
        """Where the participant is."""
        with self.database.reading() as session:
            return self._state(session, self.whose(session, token))

    def answer(self, token: str | None, request: Any, key: Any, answers: Any) -> dict[str, Any]:
        """Store the answers to the current step and go on to the next; the new state."""
        if not isinstance(request, str) or not _REQUEST.fullmatch(request) or not isinstance(key, str):
            raise self.refusal("bad_request")

        line: dict[str, Any] = {}

        def act(session: Session) -> dict[str, Any]:
            row = self.whose(session, token, acting=True)
            steps = steps_of(self.study, row)
            now = utc_now()
            if self._was_done(session, row, steps, request, key, answers):
                line.update(answers_line(row, request, key, answers, now))
                return self._state(session, row)
            step = steps[row.step]
            taken = self._checked(session, row, step, answers)
            session.add(Request(participant=row.id, request=request, step=step.key, at=now))
            for item, value in taken.items():
                fixed = {"participant": row.id, "request": request, "step": step.key, "at": now}
                session.add(Answer(item=item, value=value, **fixed))
            self._go_on(session, row, step, taken)
            row.updated_at = now
            session.flush()
            line.update(answers_line(row, request, key, taken, now))
            return self._state(session, row)

        state = self._write(act)
        self._keep(line)
        return state

    def note(self, token: str | None, kind: Any, detail: Any) -> None:
        """Keep what the page saw; nothing is kept before consent."""
        try:
            size = len(json.dumps(detail, allow_nan=False))
        except (ValueError, RecursionError):
            size = MAX_NOTE + 1
        if kind not in NOTES or size > MAX_NOTE:
            raise self.refusal("bad_request")

        def act(session: Session) -> None:
            row = self.whose(session, token)
            if row.status == "begun":
                raise self.refusal("consent_first", row.language)
            if (session.scalar(select(func.count()).where(Note.participant == row.id)) or 0) >= MAX_NOTES:
                raise self.refusal("too_fast", row.language)
            session.add(Note(participant=row.id, kind=kind, detail=detail, at=utc_now()))

        self._write(act)

    def withdraw(self, token: str | None) -> tuple[Erased, str]:
        """Delete all that the participant left, and say so; may be done again if not everything could be deleted."""
        if not token:
            raise self.refusal("no_token")
        with self.database.reading() as session:
            row = self.find(session, token)
        if row is None:
            raise self.refusal("wrong_token")
        erased = self.delete_participant(row.id)
        key = "page.withdrawn" if erased.complete else "page.withdrawn_partly"
        return erased, say(self.texts[row.language], key, participant=row.id)

    # — talks —

    def open_talk(self, token: str | None) -> Opened:
        """Begin to count a talk, or take it up again; the row is there before anything is recorded."""

        line: dict[str, Any] = {}

        def act(session: Session) -> Opened:
            row = self.whose(session, token)
            step = steps_of(self.study, row)[row.step]
            if row.status == "begun":
                raise self.refusal("consent_first", row.language)
            if step.kind != "talk":
                raise self.refusal("talk_first", row.language)
            before = self._talked(session, row, step)
            system, label = (row.order or [])[step.position - 1], (row.labels or [])[step.position - 1]
            talk = Talk(
                participant=row.id,
                position=step.position,
                session=step.session,
                task=step.task,
                system=system,
                label=label,
                recording=f"{secrets.token_hex(12)}.jsonl",
                began_at=utc_now(),
            )
            session.add(talk)
            session.flush()
            line.update(participant=row.id, talk=step.key, system=system, recording=talk.recording, at=talk.began_at)
            return Opened(talk.id, step.key, system, talk.recording, row.audio, before, row.language)

        opened = self._write(act)
        self._keep(line)
        return opened

    def update_talk(self, talk: int, figures: Figures, ended: bool = False) -> bool:
        """Store what was counted in this connection so far. False: the talk was deleted, and stays so."""
        with self.database.writing() as session:
            row = session.get(Talk, talk)
            if row is None:
                return False
            row.seconds, row.turns, row.interruptions = figures.seconds, figures.turns, figures.interruptions
            row.ended = ended
            return True

    # — the researcher —

    def delete_participant(self, participant: str) -> Erased:
        """Delete all that a participant left; raises BadInput for an unknown id."""
        return erase(self.database, self.study.recordings, participant, self._copies)

    def delete_expired(self, now: datetime) -> tuple[Erased, ...]:
        """Delete what the study promised to keep no longer."""
        return delete_due(self.study, self.database, due(self.study, self.database, now))

    # — parts —

    def whose(self, session: Session, token: str | None, acting: bool = False) -> Participant:
        """The participant of a token; raises Refusal for none, an unknown one, and who has left.

        acting: whoever else acts for them waits until this transaction has ended, so that what is read afterwards fits
        to the row (PostgreSQL; SQLite has one writer at a time).
        """
        if not token:
            raise self.refusal("no_token")
        row = self.find(session, token, acting)
        if row is None:
            raise self.refusal("wrong_token")
        if row.status == "withdrawn":
            left = session.scalar(select(func.count()).where(Talk.participant == row.id))
            raise self.refusal("not_deleted" if left or self._copies.pending(row.id) else "withdrawn", row.language)
        return row

    def refusal(self, code: str, language: str | None = None, **values: object) -> Refusal:
        """A refusal in words; `values` fill its text."""
        return Refusal(code, say(self.texts[language or self.study.languages[0]], f"error.{code}", **values))

    def find(self, session: Session, token: str, acting: bool = False) -> Participant | None:
        """The participant of a token, whatever their status."""
        digest = _hash(token)
        theirs = select(Participant).where(Participant.token_hash == digest, Participant.study == self.study.name)
        row = session.scalar(theirs.with_for_update() if acting else theirs)
        return row if row and hmac.compare_digest(row.token_hash, digest) else None

    def _write(self, act: Callable[[Session], _T], language: str | None = None) -> _T:
        """One transaction; tried again if another one was quicker, for then it may find its work done."""
        for _ in range(TRIES):
            try:
                with self.database.writing() as session:
                    return act(session)
            except (IntegrityError, StaleDataError):
                continue
        raise self.refusal("conflict", language)

    def _keep(self, line: dict[str, Any]) -> None:
        """In the journal, if there is one, what was done just now; it is durable already."""
        if self._journal and line:
            self._journal.write(line)

    def _is(self, session: Session, row: Participant, sent: Mapping[str, str]) -> bool:
        """Is this participant, known by their token, whom the recruitment service sent?"""
        recruit = session.get(Recruit, row.id)
        other = recruit and sent and recruit.external_id != sent["PROLIFIC_PID"]
        return row.status != "withdrawn" and not other

    def _make_room(self, session: Session, external_id: str, language: str) -> None:
        """For somebody who was sent: they may take part once, but may look at the first page as often as they like."""
        there = (
            select(Participant)
            .join(Recruit)
            .where(Participant.study == self.study.name, Recruit.external_id == external_id)
        )
        for row in session.scalars(there):
            if row.status != "begun":
                raise self.refusal("already_taken", language)
            session.delete(row)

    def _was_done(
        self, session: Session, row: Participant, steps: tuple[Step, ...], request: str, key: str, answers: Any
    ) -> bool:
        """Is this an action that was acknowledged before, maybe unheard? Raises Refusal if it contradicts one."""
        keys = [step.key for step in steps]
        done = session.get(Request, (row.id, request))
        if done is None and key == keys[row.step] and steps[row.step].kind != "done":
            return False
        if key not in keys[: row.step] or (done and done.step != key):
            raise self._with_state(session, row, "not_current")
        stored = select(Answer).where(Answer.participant == row.id, Answer.step == key)
        before = {answer.item: answer.value for answer in session.scalars(stored)}
        try:
            same = check_answers(steps[keys.index(key)], answers) == before
        except AnswersRefused:
            same = False
        if not same:
            raise self._with_state(session, row, "already_answered")
        return True

    def _checked(self, session: Session, row: Participant, step: Step, answers: Any) -> dict[str, Any]:
        try:
            taken = check_answers(step, answers)
        except AnswersRefused as refused:
            texts = self.texts[row.language]
            raise Refusal("answers_refused", texts["error.answers_refused"], explain(texts, step, refused)) from None
        if step.kind == "talk":
            needed, talked = self.study.tasks, self._talked(session, row, step)
            seconds, turns = needed.min_seconds - int(talked.seconds), needed.min_turns - talked.turns
            if seconds > 0 or turns > 0:
                raise self.refusal("too_soon", row.language, seconds=max(0, seconds), turns=max(0, turns))
        return taken

    def _go_on(self, session: Session, row: Participant, step: Step, taken: Mapping[str, Any]) -> None:
        """What else changes when a step is answered."""
        if step.kind == "consent":
            row.status, row.consent_version = "consented", self.study.consent.version
            row.publish, row.audio = bool(taken.get("publish")), bool(taken.get("audio"))
            self._assign(session, row)
        elif step.kind == "device":
            row.way = str(taken.get("way", row.way))
        row.step += 1
        if row.status == "consented" and steps_of(self.study, row)[row.step].kind == "done":
            row.status = "completed"

    def _assign(self, session: Session, row: Participant) -> None:
        """Their place, and with it order, labels and sides."""
        self.database.alone(session, f"assign {self.study.name}")
        others = select(Participant).where(Participant.study == self.study.name, Participant.block.is_not(None))
        seats = [(p.block or 0, p.place or 0, self._holds(p)) for p in session.scalars(others)]
        given = assign_next(self.study, seats)
        row.block, row.place, row.arm, row.seed = given.block, given.place, given.arm, given.seed
        row.order, row.labels, row.sides = list(given.order), list(given.labels), list(given.sides)

    def _holds(self, row: Participant) -> bool:
        """Who left before rating anything gives their place back."""
        return row.status != "withdrawn" or any(s.kind == "rate" for s in steps_of(self.study, row)[: row.step])

    def _talked(self, session: Session, row: Participant, step: Step) -> Figures:
        """What all connections of a step's talk counted."""
        sums = select(func.sum(Talk.seconds), func.sum(Talk.turns), func.sum(Talk.interruptions)).where(
            Talk.participant == row.id, Talk.position == step.position, Talk.session == step.session
        )
        seconds, turns, interruptions = session.execute(sums).one()
        return Figures(float(seconds or 0), int(turns or 0), int(interruptions or 0))

    def _state(self, session: Session, row: Participant) -> dict[str, Any]:
        steps = steps_of(self.study, row)
        step = steps[row.step]
        talked = self._talked(session, row, step) if step.kind == "talk" else Figures()
        return state_of(self.study, self.texts[row.language], self._languages, row, steps, talked)

    def _with_state(self, session: Session, row: Participant, code: str) -> Refusal:
        refusal = self.refusal(code, row.language)
        refusal.state = self._state(session, row)
        return refusal


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()


def _recruit(sent: Mapping[str, Any]) -> dict[str, str]:
    """What the recruitment service said, cleaned; nothing if it named nobody."""
    kept = {}
    for key in RECRUIT_KEYS:
        value = sent.get(key)
        if isinstance(value, str) and value.strip():
            kept[key] = value.strip().encode("utf-8", "replace").decode().replace("\0", "")[:MAX_RECRUIT]
    return kept if kept.get("PROLIFIC_PID") else {}
