import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, text

import webapp.study.database as database_module
import webapp.study.service as module
from duplex_runtime.errors import BadInput
from tests.study_fakes import PROLIFIC, VOICE, Visitor, fill, leave_files, number, quick_study, refused, rows
from tests.study_files import study as study_of
from tests.study_postgres import PostgresServer
from webapp.study.database import Answer, Database, DatabaseAway, Note, Participant, Recruit, Request, Talk
from webapp.study.definition import Study
from webapp.study.reader import Refused
from webapp.study.service import Refusal, Service
from webapp.study.tally import Figures

MAID = "prolific-person-1"


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with PostgresServer() as server:
        yield server


#: For what depends on how a database keeps transactions apart and values as they are.
on_both = pytest.mark.parametrize("make", ["sqlite", "postgresql"], indirect=True)


@pytest.fixture
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[..., Service]]:
    """A service of a study with these changes; on SQLite, or on both."""
    databases = []

    def make(*changes: tuple[str, str], study: Study | None = None) -> Service:
        study = study or quick_study(tmp_path / "study", *changes)
        url = study.database_url
        if getattr(request, "param", "sqlite") == "postgresql":
            url = request.getfixturevalue("server").fresh()
        databases.append(Database(url))
        return Service(study, databases[-1])

    yield make
    for database in databases:
        database.close()


@pytest.fixture
def service(make: Callable[..., Service]) -> Service:
    return make()


def at_once(*calls: Callable[[], Any]) -> list[Any]:
    """What each gave or raised, all started together."""
    results: list[Any] = [None] * len(calls)
    gate = threading.Barrier(len(calls))

    def run(n: int) -> None:
        gate.wait()
        try:
            results[n] = calls[n]()
        except Exception as error:
            results[n] = error

    threads = [threading.Thread(target=run, args=(n,)) for n in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


# — the way —


@on_both
def test_a_participant_goes_the_whole_way(service: Service) -> None:
    visitor = Visitor(service)
    keys = [visitor.step]
    while visitor.step != "done":
        if visitor.state["step"]["kind"] == "talk":
            visitor.talk()
        visitor.answer()
        keys.append(visitor.step)
    assert keys == ["consent", "device", "practice", "talk-1-1", "talk-1-2", "rate-1", "talk-2-1", "talk-2-2",
                    "rate-2", "compare", "about", "done"]  # fmt: skip
    row = rows(service, Participant)[0]
    assert (row.status, row.consent_version, row.way) == ("completed", "1", "keys")
    assert visitor.state["revealed"] == dict(zip(row.labels, row.order, strict=True))
    assert {(a.step, a.item) for a in rows(service, Answer)} > {("rate-1", "overall"), ("compare", "preference")}
    assert [(t.position, t.session, t.system) for t in rows(service, Talk)] == [
        (1, 1, row.order[0]), (1, 2, row.order[0]), (2, 1, row.order[1]), (2, 2, row.order[1])
    ]  # fmt: skip


def test_only_the_hash_of_a_token_is_kept(service: Service) -> None:
    visitor = Visitor(service)
    row = rows(service, Participant)[0]
    assert visitor.token not in repr(vars(row))
    assert len(visitor.token) >= 43
    assert row.id == visitor.id
    assert len(row.id) == 10


def test_the_code_is_shown_when_everything_is_stored(make: Callable[..., Service]) -> None:
    service = make(*PROLIFIC)
    visitor = Visitor(service)
    while visitor.step != "done":
        assert visitor.state["completion"] is None
        assert "C0DE" not in json.dumps(visitor.state)
        if visitor.state["step"]["kind"] == "talk":
            visitor.talk()
        visitor.answer()
    assert visitor.state["completion"] == {"code": "C0DE", "url": "https://example.org/?cc=C0DE"}
    assert rows(service, Participant)[0].status == "completed"


def test_who_may_choose_speaks(make: Callable[..., Service]) -> None:
    service = make(*VOICE)
    visitor = Visitor(service)
    visitor.answer({"agree": True, "audio": True})
    visitor.answer({"keyboard": True, "way": "speech", "microphone": True, "loudspeaker": True})
    assert visitor.state["way"] == "speech"
    row = rows(service, Participant)[0]
    assert (row.way, row.audio, row.publish) == ("speech", True, False)


def test_a_language_that_the_study_has_not_is_refused(service: Service) -> None:
    for language in ("de", "", None, 5, ["en"]):
        refused(lambda language=language: service.begin(language, {}, None), "unknown_language")
    assert number(service, Participant) == 0


def test_texts_that_are_not_in_order_are_said_before_anybody_comes(service: Service) -> None:
    folder = service.study.folder / "texts"
    folder.mkdir()
    (folder / "en.toml").write_text('[page]\nnxet = "Next"\n')
    with pytest.raises(Refused, match=r"en\.toml line 2"):
        Service(service.study, service.database)


# — assignment —


def test_places_are_given_at_consent_and_are_balanced(service: Service) -> None:
    lookers = [Visitor(service) for _ in range(3)]
    assert all(row.block is None and row.order is None for row in rows(service, Participant))
    visitors = [Visitor(service) for _ in range(8)]
    for visitor in visitors:
        visitor.answer()
    placed = [row for row in rows(service, Participant) if row.block is not None]
    assert sorted((row.block, row.place) for row in placed) == [(b, p) for b in range(2) for p in range(4)]
    assert Counter((row.block, row.arm) for row in placed) == {(b, a): 2 for b in range(2) for a in range(2)}
    assert {looker.id for looker in lookers}.isdisjoint(row.id for row in placed)


@on_both
def test_many_who_consent_at_once_get_places_of_their_own(service: Service) -> None:
    visitors = [Visitor(service) for _ in range(8)]
    assert not [r for r in at_once(*(v.answer for v in visitors)) if isinstance(r, Exception)]
    taken = [(row.block, row.place) for row in rows(service, Participant)]
    assert sorted(taken) == [(b, p) for b in range(2) for p in range(4)]


def test_a_place_given_up_before_rating_is_given_again(service: Service) -> None:
    first, second = Visitor(service), Visitor(service)
    first.go_to("rate-1")
    second.answer()
    service.withdraw(first.token)
    third, fourth = Visitor(service), Visitor(service)
    third.answer()
    fourth.answer()
    places = {row.id: row.place for row in rows(service, Participant)}
    assert places == {first.id: 0, second.id: 1, third.id: 0, fourth.id: 2}


def test_a_place_given_up_after_rating_is_kept(service: Service) -> None:
    first = Visitor(service)
    first.go_to("talk-2-1")
    service.withdraw(first.token)
    second = Visitor(service)
    second.answer()
    assert {row.id: row.place for row in rows(service, Participant)} == {first.id: 0, second.id: 1}


def test_in_the_papers_protocol_odd_numbers_begin_with_duplex(make: Callable[..., Service], tmp_path: Path) -> None:
    service = make(study=study_of(tmp_path / "paper", preset="paper"))
    visitors = [Visitor(service) for _ in range(4)]
    for visitor in visitors:
        visitor.answer()
    by_id = {row.id: row for row in rows(service, Participant)}
    assert [by_id[v.id].order[0] for v in visitors] == ["duplex", "strict", "duplex", "strict"]
    assert by_id[visitors[1].id].labels == ["B", "A"]


def test_two_studies_in_one_database_do_not_mix(service: Service, tmp_path: Path) -> None:
    other = Service(quick_study(tmp_path / "other", ('name = "my-study"', 'name = "coffee"')), service.database)
    mine, theirs = Visitor(service), Visitor(other)
    mine.answer()
    theirs.answer()
    assert [row.place for row in rows(service, Participant)] == [0, 0]
    refused(lambda: other.state(mine.token), "wrong_token")
    assert service.state(mine.token)["participant"] == mine.id


# — done twice —


def test_the_same_request_does_nothing_the_second_time(service: Service) -> None:
    visitor = Visitor(service)
    first = visitor.answer({"agree": True, "publish": True}, request="request-1")
    again = visitor.answer({"agree": True, "publish": True}, "consent", "request-1")
    assert again == first
    assert (number(service, Answer), number(service, Request)) == (2, 1)


def test_the_same_request_is_acknowledged_many_steps_later(service: Service) -> None:
    visitor = Visitor(service)
    visitor.answer({"agree": True}, request="request-1")
    visitor.go_to("rate-1")
    assert visitor.answer({"agree": True}, "consent", "request-1")["step"]["key"] == "rate-1"


def test_the_same_answers_in_a_new_request_are_the_same_answer(service: Service) -> None:
    """A page that was loaded again before it heard that its answer was stored."""
    visitor = Visitor(service)
    visitor.answer({"agree": True})
    assert visitor.answer({"agree": True, "publish": False}, "consent")["step"]["key"] == "device"
    assert number(service, Answer) == 2


@pytest.mark.parametrize("answers", [{"agree": True, "publish": True}, {}, None, {"agree": False}])
def test_a_step_that_was_answered_stays_as_it_is(service: Service, answers: Any) -> None:
    """The back button, with another answer."""
    visitor = Visitor(service)
    visitor.answer({"agree": True})
    with pytest.raises(Refusal) as raised:
        service.answer(visitor.token, "request-2", "consent", answers)
    assert raised.value.code == "already_answered"
    assert raised.value.state and raised.value.state["step"]["key"] == "device"
    assert {a.item: a.value for a in rows(service, Answer)} == {"agree": True, "publish": False}


def test_a_request_belongs_to_one_step(service: Service) -> None:
    visitor = Visitor(service)
    visitor.answer(request="request-1")
    refusal = refused(lambda: visitor.answer(request="request-1"), "not_current")
    assert refusal.state and refusal.state["step"]["key"] == "device"


@pytest.mark.parametrize("step", ["rate-1", "done", "nonsense", "", "x" * 10_000])
def test_a_step_that_is_not_the_current_one_is_refused_with_where_they_are(service: Service, step: str) -> None:
    visitor = Visitor(service)
    visitor.answer()
    refusal = refused(lambda: service.answer(visitor.token, "request-2", step, {}), "not_current")
    assert refusal.state and refusal.state["step"]["key"] == "device"
    assert "another page" in str(refusal)


def test_the_end_cannot_be_answered(service: Service) -> None:
    visitor = Visitor(service)
    visitor.go_to("done")
    refusal = refused(lambda: visitor.answer({}), "not_current")
    assert refusal.state and refusal.state["revealed"]


@pytest.mark.parametrize("request_id", [None, "", "short", "x" * 65, "with space", 5, "ü" * 10, ["r"], "a\0bcdefgh"])
def test_a_request_without_an_id_is_refused(service: Service, request_id: Any) -> None:
    visitor = Visitor(service)
    refused(lambda: service.answer(visitor.token, request_id, "consent", {"agree": True}), "bad_request")


@pytest.mark.parametrize("step", [None, 5, ["consent"], {}])
def test_a_step_that_is_no_name_is_refused(service: Service, step: Any) -> None:
    visitor = Visitor(service)
    refused(lambda: service.answer(visitor.token, "request-1", step, {"agree": True}), "bad_request")


@on_both
def test_one_request_sent_twice_at_once_is_one_answer(service: Service) -> None:
    visitor = Visitor(service)

    def send() -> dict[str, Any]:
        return service.answer(visitor.token, "request-1", "consent", {"agree": True})

    results = at_once(*[send] * 6)
    assert [r["step"]["key"] for r in results] == ["device"] * 6
    assert (number(service, Answer), number(service, Request)) == (2, 1)
    assert rows(service, Participant)[0].step == 1


@on_both
def test_of_two_tabs_that_answer_differently_one_counts_and_the_other_is_told(service: Service) -> None:
    visitor = Visitor(service)
    visitor.go_to("rate-1")
    low = fill(visitor.state["step"])
    high = {key: 7 if value == 1 else value for key, value in low.items()}

    def send(answers: dict[str, Any], request: str) -> Any:
        return service.answer(visitor.token, request, "rate-1", answers)

    results = at_once(*(lambda a=a, n=n: send(a, f"request-{n}") for n, a in enumerate((low, high, low, high))))
    kept = {a.item: a.value for a in rows(service, Answer, step="rate-1")}
    assert kept in (low, high)
    for result, sent in zip(results, (low, high, low, high), strict=True):
        if sent == kept:
            assert result["step"]["key"] == "talk-2-1"
        else:
            assert isinstance(result, Refusal) and result.code == "already_answered"
    assert len({a.request for a in rows(service, Answer, step="rate-1")}) == 1


# — answers that are none —


def test_answers_that_are_refused_leave_nothing(service: Service) -> None:
    visitor = Visitor(service)
    refusal = refused(lambda: visitor.answer({"agree": False, "age": 5}), "answers_refused")
    assert refusal.items == {
        "agree": "We need your agreement before you can take part.",
        "age": "This answer belongs to no question on this page. Please load the page again.",
    }
    assert (number(service, Answer), number(service, Request)) == (0, 0)
    assert rows(service, Participant)[0].status == "begun"


def test_100_kb_of_comment_are_refused_in_the_participants_language(service: Service) -> None:
    visitor = Visitor(service, "zh")
    visitor.go_to("rate-1")
    answers = fill(visitor.state["step"]) | {"comment": "x" * 100_000}
    refusal = refused(lambda: visitor.answer(answers), "answers_refused")
    assert list(refusal.items) == ["comment"]
    assert "4,000" in refusal.items["comment"]
    assert not refusal.items["comment"].isascii()


@on_both
@pytest.mark.parametrize(
    "comment", ["<script>alert(1)</script>", "=1+1", "a\0b", "\ud800 half", "很好 🙂", "'; DROP--"]
)
def test_a_comment_is_kept_as_text(service: Service, comment: str) -> None:
    visitor = Visitor(service)
    visitor.go_to("rate-1")
    visitor.answer(fill(visitor.state["step"]) | {"comment": comment})
    kept = rows(service, Answer, item="comment")[0].value
    assert kept == comment.replace("\0", "\ufffd").replace("\ud800", "?")
    kept.encode()


# — talks —


def test_a_talk_has_to_be_held_before_it_is_left(service: Service) -> None:
    visitor = Visitor(service)
    visitor.go_to("talk-1-1")
    assert "20 s" in str(refused(lambda: visitor.answer({}), "too_soon"))
    visitor.talk(seconds=12.9, turns=5)
    assert "8 s" in str(refused(lambda: visitor.answer({}), "too_soon"))
    visitor.talk(seconds=30, turns=0)
    assert service.state(visitor.token)["talk"] == {
        "seconds": 42, "turns": 5, "needed_seconds": 20, "needed_turns": 2
    }  # fmt: skip
    assert visitor.answer({})["step"]["key"] == "talk-1-2"


def test_a_talk_without_turns_says_what_is_missing(service: Service) -> None:
    visitor = Visitor(service)
    visitor.go_to("talk-1-1")
    visitor.talk(seconds=100, turns=1)
    said = str(refused(lambda: visitor.answer({}), "too_soon"))
    assert ": 0 s" in said and "turns" not in said and said.endswith(": 1.")


def test_what_was_talked_on_one_page_counts_for_no_other(service: Service) -> None:
    visitor = Visitor(service)
    visitor.go_to("talk-1-2")
    refused(lambda: visitor.answer({}), "too_soon")


@on_both
def test_a_talk_that_was_cut_off_is_taken_up_again(service: Service) -> None:
    visitor = Visitor(service)
    visitor.go_to("talk-1-1")
    first = service.open_talk(visitor.token)
    service.update_talk(first.id, Figures(15.5, 1, 1))
    second = service.open_talk(visitor.token)
    assert second.before == Figures(15.5, 1, 1)
    assert (second.step, second.system) == ("talk-1-1", rows(service, Participant)[0].order[0])
    assert second.recording != first.recording
    service.update_talk(second.id, Figures(5, 1), ended=True)
    assert [(t.seconds, t.ended) for t in rows(service, Talk)] == [(15.5, False), (5.0, True)]
    visitor.answer({})


def test_there_is_no_talk_before_consent_nor_on_other_pages(service: Service) -> None:
    visitor = Visitor(service)
    refused(lambda: service.open_talk(visitor.token), "consent_first")
    visitor.answer()
    refused(lambda: service.open_talk(visitor.token), "talk_first")
    visitor.go_to("rate-1")
    refused(lambda: service.open_talk(visitor.token), "talk_first")
    assert all(talk.position for talk in rows(service, Talk))


def test_a_talk_that_was_deleted_stays_so(service: Service) -> None:
    visitor = Visitor(service)
    visitor.go_to("talk-1-1")
    opened = service.open_talk(visitor.token)
    assert service.update_talk(opened.id, Figures(1, 1))
    service.withdraw(visitor.token)
    assert not service.update_talk(opened.id, Figures(2, 1))
    assert number(service, Talk) == 0


# — tokens —


@on_both
@pytest.mark.parametrize(
    ("token", "code"), [(None, "no_token"), ("", "no_token"), ("x" * 43, "wrong_token"), ("\ud800\0", "wrong_token")]
)
def test_without_a_token_nothing_is_done(service: Service, token: str | None, code: str) -> None:
    Visitor(service)
    for call in (
        lambda: service.state(token),
        lambda: service.answer(token, "request-1", "consent", {"agree": True}),
        lambda: service.note(token, "focus", {}),
        lambda: service.open_talk(token),
        lambda: service.withdraw(token),
    ):
        refused(call, code)
    assert rows(service, Participant)[0].status == "begun"


def test_with_a_token_one_is_found_again(service: Service) -> None:
    visitor = Visitor(service)
    visitor.go_to("rate-1")
    token, state = service.begin("zh", {}, visitor.token)
    assert (token, state["participant"], state["language"]) == (visitor.token, visitor.id, "en")
    assert number(service, Participant) == 1


def test_an_old_token_begins_anew(service: Service) -> None:
    gone = Visitor(service)
    service.withdraw(gone.token)
    for old in (gone.token, "of-another-study"):
        token, state = service.begin("en", {}, old)
        assert token != old
        assert state["participant"] != gone.id


# — recruits —


@pytest.fixture
def prolific(make: Callable[..., Service]) -> Service:
    return make(*PROLIFIC)


@on_both
def test_a_recruit_is_kept_apart(prolific: Service) -> None:
    visitor = Visitor(prolific, PROLIFIC_PID=MAID, STUDY_ID="s" * 500, SESSION_ID="t\0\ud800", other="x")
    recruit = rows(prolific, Recruit)[0]
    assert (recruit.participant, recruit.source, recruit.external_id) == (visitor.id, "prolific", MAID)
    assert recruit.extra == {"STUDY_ID": "s" * 200, "SESSION_ID": "t?"}
    assert MAID not in json.dumps(visitor.state)


def test_a_recruit_takes_part_once(prolific: Service) -> None:
    visitor = Visitor(prolific, PROLIFIC_PID=MAID)
    visitor.answer()
    for token in (None, "x" * 43):
        refused(lambda token=token: prolific.begin("en", {"PROLIFIC_PID": MAID}, token), "already_taken")
    token, state = prolific.begin("en", {"PROLIFIC_PID": MAID}, visitor.token)
    assert (token, state["participant"], state["step"]["key"]) == (visitor.token, visitor.id, "device")
    assert number(prolific, Participant) == 1


def test_a_recruit_who_lost_their_token_before_consent_begins_anew(prolific: Service) -> None:
    first = Visitor(prolific, PROLIFIC_PID=MAID)
    second = Visitor(prolific, PROLIFIC_PID=MAID)
    assert [row.id for row in rows(prolific, Participant)] == [second.id]
    refused(lambda: prolific.state(first.token), "wrong_token")


@on_both
def test_a_recruit_who_comes_twice_at_once_is_one_participant(prolific: Service) -> None:
    results = at_once(*[lambda: Visitor(prolific, PROLIFIC_PID=MAID)] * 5)
    assert not [r for r in results if isinstance(r, Exception)]
    assert number(prolific, Participant) == number(prolific, Recruit) == 1


def test_in_a_shared_browser_the_next_recruit_is_somebody_else(prolific: Service) -> None:
    first = Visitor(prolific, PROLIFIC_PID=MAID)
    token, state = prolific.begin("en", {"PROLIFIC_PID": "another"}, first.token)
    assert token != first.token
    assert state["participant"] != first.id


def test_who_nobody_sent_may_look_at_a_study_for_recruits(prolific: Service) -> None:
    for sent in ({}, {"PROLIFIC_PID": ""}, {"PROLIFIC_PID": 5}, {"STUDY_ID": "s"}):
        prolific.begin("en", sent, None)
    assert (number(prolific, Participant), number(prolific, Recruit)) == (4, 0)


def test_a_study_without_a_recruitment_service_keeps_no_ids(service: Service) -> None:
    Visitor(service, PROLIFIC_PID=MAID)
    assert number(service, Recruit) == 0


# — notes —


@on_both
def test_what_the_page_saw_is_kept_in_order(service: Service) -> None:
    visitor = Visitor(service)
    visitor.answer()
    service.note(visitor.token, "blur", {"step": "device"})
    service.note(visitor.token, "problem", {"text": "a\0b \ud800 很好"})
    kept = rows(service, Note, participant=visitor.id)
    assert [(n.kind, n.detail) for n in sorted(kept, key=lambda n: n.id)] == [
        ("blur", {"step": "device"}), ("problem", {"text": "a\0b \ud800 很好"})
    ]  # fmt: skip


def test_before_consent_nothing_is_noted(service: Service) -> None:
    visitor = Visitor(service)
    refused(lambda: service.note(visitor.token, "focus", {}), "consent_first")
    assert number(service, Note) == 0


@pytest.mark.parametrize(
    ("kind", "detail"), [("shout", {}), (None, {}), (["focus"], {}), ("focus", "x" * 3000), ("focus", float("nan"))]
)
def test_a_note_that_is_none_is_refused(service: Service, kind: Any, detail: Any) -> None:
    visitor = Visitor(service)
    visitor.answer()
    refused(lambda: service.note(visitor.token, kind, detail), "bad_request")
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    refused(lambda: service.note(visitor.token, "focus", deep), "bad_request")
    while deep:
        deep = deep[0]


def test_notes_come_to_an_end(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_NOTES", 2)
    visitor = Visitor(service)
    visitor.answer()
    for _ in range(2):
        service.note(visitor.token, "focus", {})
    refused(lambda: service.note(visitor.token, "focus", {}), "too_fast")


# — leaving —


@on_both
def test_leaving_deletes_what_was_said_and_keeps_that_somebody_left(prolific: Service) -> None:
    visitor, other = Visitor(prolific, PROLIFIC_PID=MAID), Visitor(prolific, PROLIFIC_PID="another")
    for each in (visitor, other):
        each.go_to("talk-2-1")
        prolific.note(each.token, "blur", {})
    files, others = leave_files(prolific, visitor), leave_files(prolific, other)
    erased, said = prolific.withdraw(visitor.token)
    assert erased.complete
    assert said.startswith("Your answers, your talks and their recordings are deleted.")
    assert erased.files == len(files) == 4
    assert not any(file.exists() for file in files)
    assert all(file.exists() for file in others)
    for table in (Answer, Note, Request, Talk, Recruit):
        assert rows(prolific, table, participant=visitor.id) == []
        assert rows(prolific, table, participant=other.id)
    row = rows(prolific, Participant, id=visitor.id)[0]
    assert (row.status, row.publish, row.audio, row.place, row.step) == ("withdrawn", False, False, 0, 6)
    refused(lambda: prolific.state(visitor.token), "withdrawn")
    refused(lambda: visitor.answer(), "withdrawn")
    assert prolific.withdraw(visitor.token)[0].complete


def test_one_may_leave_from_the_first_page(service: Service) -> None:
    visitor = Visitor(service)
    assert service.withdraw(visitor.token)[0].complete
    assert rows(service, Participant)[0].status == "withdrawn"


def test_the_researcher_deletes_by_id(service: Service) -> None:
    visitor = Visitor(service)
    visitor.go_to("done")
    files = leave_files(service, visitor)
    assert service.delete_participant(visitor.id).complete
    assert not any(file.exists() for file in files)
    with pytest.raises(BadInput, match="expected an id such as"):
        service.delete_participant("p-nobody")


# — time —


@on_both
def test_data_are_deleted_when_their_time_is_over(make: Callable[..., Service]) -> None:
    service = make(("retention_days = 365", "retention_days = 30"))
    old, new = Visitor(service), Visitor(service)
    for each in (old, new):
        each.go_to("rate-1")
    files = leave_files(service, old)
    with service.database.writing() as session:
        session.get_one(Participant, old.id).created_at = "2026-01-01T00:00:00.000+00:00"
    assert service.delete_expired(datetime(2026, 1, 30, tzinfo=UTC)) == ()
    erased = service.delete_expired(datetime(2026, 2, 1, tzinfo=UTC))
    assert [(e.participant, e.complete) for e in erased] == [(old.id, True)]
    assert [row.id for row in rows(service, Participant)] == [new.id]
    assert not any(file.exists() for file in files)
    assert rows(service, Answer, participant=new.id)


@on_both
def test_who_only_looked_in_is_forgotten_by_name_after_a_day(prolific: Service) -> None:
    looked, took = Visitor(prolific, PROLIFIC_PID=MAID), Visitor(prolific, PROLIFIC_PID="another")
    took.answer()
    prolific.delete_expired(datetime.now(UTC) + timedelta(hours=23))
    assert number(prolific, Recruit) == 2
    prolific.delete_expired(datetime.now(UTC) + timedelta(hours=25))
    assert [r.participant for r in rows(prolific, Recruit)] == [took.id]
    assert {row.id for row in rows(prolific, Participant)} == {looked.id, took.id}


def test_a_clock_that_jumps_back_harms_nothing(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    visitor = Visitor(service)
    visitor.go_to("talk-1-1")
    monkeypatch.setattr(module, "utc_now", lambda: "1999-01-01T00:00:00.000+00:00")
    visitor.go_to("done")
    steps = [r.step for r in sorted(rows(service, Answer), key=lambda a: a.id)]
    assert (
        list(dict.fromkeys(steps))
        == ["consent", "device", "practice", "rate-1", "rate-2", "compare", "about"][: len(dict.fromkeys(steps))]
    )


# — a database that fails —


def test_what_was_not_stored_can_be_sent_again(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    visitor = Visitor(service)
    with service.database.writing() as session:
        pages = session.execute(text("PRAGMA page_count")).scalar_one()
        session.execute(text(f"PRAGMA max_page_count = {pages}"))
    visitor.answer({"agree": True})
    with pytest.raises(DatabaseAway):
        for n in range(200):
            service.note(visitor.token, "problem", f"{n} " + "x" * 1900)
    before = number(service, Answer)
    with pytest.raises(DatabaseAway):
        for n in range(200):
            service.note(visitor.token, "blur", n)
        visitor.answer(request="request-2")
    assert number(service, Answer) == before
    assert service.state(visitor.token)["step"]["key"] == "device"
    with service.database.reading() as session:
        session.execute(text("PRAGMA max_page_count = 1000000"))
    assert visitor.answer(request="request-2")["step"]["key"] == "practice"


def test_a_locked_database_is_waited_for_and_then_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_module, "WAIT_SECONDS", 0)
    study = quick_study(tmp_path / "study")
    database, other = Database(study.database_url), Database(study.database_url)
    service = Service(study, database)
    visitor = Visitor(service)
    with other.writing() as holder, pytest.raises(DatabaseAway):
        holder.execute(select(Participant))  # from now on it has the lock
        visitor.answer(request="request-1")
    assert visitor.answer(request="request-1")["step"]["key"] == "device"
    for each in (database, other):
        each.close()
