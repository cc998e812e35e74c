import asyncio
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select, text

import webapp.study.database as database_module
from tests.study_fakes import PROLIFIC, Guest, StudyPlace, fill
from webapp.study.database import Answer, Note, Participant, Recruit
from webapp.study.routes import MAX_BODY
from webapp.study.service import Service


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StudyPlace]:
    with StudyPlace(tmp_path_factory.mktemp("routes"), *PROLIFIC) as place:
        yield place


@pytest.fixture
def guest(place: StudyPlace) -> Guest:
    return Guest(place)


def number(place: StudyPlace, table: Any, guest: Guest) -> int:
    mine = table.participant == guest.state["participant"]
    with place.service.database.reading() as session:
        return session.scalar(select(func.count()).select_from(table).where(mine)) or 0


def test_a_participant_goes_the_whole_way_over_http(place: StudyPlace) -> None:
    guest = Guest(place, PROLIFIC_PID="p-whole")
    guest.go_to("done")
    assert guest.state["completion"] == {"code": "C0DE", "url": "https://example.org/?cc=C0DE"}
    assert set(guest.state["revealed"].values()) == {"duplex", "strict"}
    assert number(place, Answer, guest) == 19


def test_a_state_is_what_an_answer_gave(place: StudyPlace, guest: Guest) -> None:
    answered = guest.answer().json()["state"]
    response = place.http.get("state", headers={"Authorization": f"Bearer {guest.token}"})
    assert response.json() == answered
    assert response.headers["cache-control"] == "no-store"


def test_an_answer_is_on_disk_when_it_is_acknowledged(place: StudyPlace, guest: Guest) -> None:
    assert guest.answer().status_code == 200
    assert number(place, Answer, guest) == 2


def test_the_back_button_is_told_where_they_are(guest: Guest) -> None:
    guest.answer({"agree": True})
    response = guest.answer({"agree": True, "publish": True}, "consent")
    assert response.status_code == 409
    body = response.json()
    assert body["error"]["code"] == "already_answered"
    assert body["state"]["step"]["key"] == "device"


def test_answers_that_are_refused_are_named(guest: Guest) -> None:
    response = guest.answer({"agree": False})
    assert response.status_code == 422
    error = response.json()["error"]
    assert error["code"] == "answers_refused"
    assert error["items"] == {"agree": "We need your agreement before you can take part."}


def test_a_talk_that_is_too_short_is_told(place: StudyPlace, guest: Guest) -> None:
    guest.go_to("talk-1-1")
    response = guest.answer()
    assert response.status_code == 422
    assert response.json()["error"]["code"] == "too_soon"


def test_100_kb_of_comment_are_refused_by_name(place: StudyPlace, guest: Guest) -> None:
    guest.go_to("rate-1")
    response = guest.answer(fill(guest.state["step"]) | {"comment": "<b>" * 33_000})
    assert response.status_code == 422
    assert "4,000" in response.json()["error"]["items"]["comment"]


@pytest.mark.parametrize(
    "body",
    ["", "{", "null", "[]", '"consent"', b"\xff\xfe", "[" * 60_000, '{"step":' * 5_000, '{"request": 1e999}',
     '{"request": "request-1", "step": "consent"}', '{"request": "request-1", "step": 5, "answers": {}}',
     '{"step": "consent", "answers": {"agree": true}}', '{"request": 1' + "0" * 5000 + "}"],
    ids=lambda body: ascii(body)[:24],
)  # fmt: skip
def test_what_is_no_answer_is_refused_in_words(place: StudyPlace, guest: Guest, body: str | bytes) -> None:
    response = guest.post("answer", body)
    assert response.status_code in (400, 422)
    assert response.json()["error"]["code"] in ("bad_request", "answers_refused")
    assert number(place, Answer, guest) == 0


@pytest.mark.parametrize("path", ["begin", "answer", "note"])
def test_more_than_the_server_takes_is_refused(guest: Guest, path: str) -> None:
    response = guest.post(path, b'{"x": "' + b"x" * MAX_BODY + b'"}')
    assert response.status_code == 413
    assert "shorten" in response.json()["error"]["message"]


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer  x y", "Bearer x", "Basic x", "Bearer \u00fc" * 500])
def test_without_a_token_of_ours_nothing_is_done(place: StudyPlace, guest: Guest, header: str | None) -> None:
    headers = {} if header is None else {"Authorization": header.encode("latin-1")}
    body = json.dumps({"request": "request-1", "step": "consent", "answers": {"agree": True}, "kind": "focus"})
    for path in ("answer", "note", "withdraw"):
        response = place.http.post(path, content=body, headers=headers)
        assert response.status_code == 401
        assert response.json()["error"]["code"] in ("no_token", "wrong_token")
    assert place.http.get("state", headers=headers).status_code == 401
    assert number(place, Answer, guest) == 0


def test_a_token_in_the_address_is_none(place: StudyPlace, guest: Guest) -> None:
    assert place.http.get("state", params={"token": guest.token}).status_code == 401


@pytest.mark.parametrize(
    ("asked", "chinese"),
    [("zh-CN,zh;q=0.9,en;q=0.8", True), ("fr, en;q=0.5, zh;q=0.7", True), ("en-GB,zh;q=0.1", False), ("fr", False),
     ("", False), (";;;q=x,zh;q=nonsense", False), ("," * 5000 + "zh", False)],
)  # fmt: skip
def test_who_is_not_known_is_answered_in_the_browsers_language(place: StudyPlace, asked: str, chinese: bool) -> None:
    message = place.http.get("state", headers={"Accept-Language": asked}).json()["error"]["message"]
    assert message.isascii() != chinese


def test_with_a_token_one_is_found_again(place: StudyPlace) -> None:
    first = Guest(place, PROLIFIC_PID="p-again")
    first.answer()
    again = Guest(place, token=first.token, PROLIFIC_PID="p-again")
    assert (again.token, again.step) == (first.token, "device")
    response = place.http.post("begin", json={"language": "en", "recruit": {"PROLIFIC_PID": "p-again"}})
    assert response.status_code == 409
    assert response.json()["error"]["code"] == "already_taken"


@pytest.mark.parametrize(("asked", "language"), [("zh-CN,zh;q=0.9", "zh"), ("fr", "en"), ("", "en")])
def test_without_a_language_it_is_the_browsers(place: StudyPlace, asked: str, language: str) -> None:
    state = place.http.post("begin", json={}, headers={"Accept-Language": asked}).json()["state"]
    assert state["language"] == language
    assert state["languages"] == {"en": "English", "zh": "中文"}


def test_the_language_may_be_changed_before_consent(place: StudyPlace) -> None:
    guest = Guest(place)
    begun = guest.post("begin", {"language": "zh"}).json()
    assert begun["token"] == guest.token
    assert begun["state"]["language"] == "zh"
    guest.state = begun["state"]
    guest.answer()
    begun = guest.post("begin", {"language": "en"}).json()
    assert (begun["state"]["language"], begun["state"]["languages"]) == ("zh", {})


@pytest.mark.parametrize("body", [{"language": "de"}, {"language": "en", "recruit": "x"}, {"language": ["en"]}])
def test_a_beginning_that_is_none_is_refused(place: StudyPlace, body: Any) -> None:
    response = place.http.post("begin", json=body)
    assert response.status_code in (400, 422)
    assert "error" in response.json()


def test_a_beginning_needs_no_recruit(place: StudyPlace) -> None:
    for body in ({"language": "en"}, {"language": "en", "recruit": None}, {"language": "en", "recruit": {}}):
        assert place.http.post("begin", json=body).status_code == 200


def test_what_the_page_saw_is_noted(place: StudyPlace, guest: Guest) -> None:
    note = {"kind": "blur", "detail": {"step": "consent"}}
    assert guest.post("note", note).status_code == 403
    guest.answer()
    response = guest.post("note", note)
    assert (response.status_code, response.content) == (204, b"")
    assert guest.post("note", {"kind": "shout"}).status_code == 400
    assert number(place, Note, guest) == 1


def test_leaving_deletes_and_says_so(place: StudyPlace) -> None:
    guest = Guest(place, "zh", PROLIFIC_PID="p-leaves")
    guest.go_to("rate-1")
    left = guest.post("withdraw", {"request": "request-1"})
    assert left.status_code == 200
    assert left.json()["deleted"] is True
    assert not left.json()["message"].isascii()
    assert number(place, Answer, guest) == number(place, Recruit, guest) == 0
    response = guest.answer()
    assert (response.status_code, response.json()["error"]["code"]) == (410, "withdrawn")
    assert guest.post("withdraw", {"request": "request-1"}).json()["deleted"] is True


def test_leaving_says_what_could_not_be_deleted(
    place: StudyPlace, guest: Guest, monkeypatch: pytest.MonkeyPatch
) -> None:
    guest.go_to("rate-1")
    place.study.recordings.mkdir(exist_ok=True)
    with place.service.database.reading() as session:
        names = session.execute(text("SELECT recording FROM talks WHERE participant = :p"),
                                {"p": guest.state["participant"]}).scalars().all()  # fmt: skip
    (place.study.recordings / names[0]).mkdir()  # not a file: it cannot be unlinked
    left = guest.post("withdraw", {})
    assert left.json()["deleted"] is False
    assert guest.state["participant"] in left.json()["message"]
    assert guest.answer().json()["error"]["code"] == "not_deleted"
    (place.study.recordings / names[0]).rmdir()
    assert guest.post("withdraw", {}).json()["deleted"] is True


def test_while_the_database_is_locked_nothing_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(database_module, "WAIT_SECONDS", 0)
    with StudyPlace(tmp_path) as place:
        guest = Guest(place, "zh")
        with place.service.database.writing() as holder:
            holder.execute(select(Participant))
            response = guest.answer({"agree": True}, request="request-1")
            assert response.status_code == 503
            assert response.json()["error"]["code"] == "database_away"
            assert "nothing is lost" in response.json()["error"]["message"].lower()
            reading = place.http.get("state", headers={"Authorization": f"Bearer {guest.token}"})
            assert reading.status_code == 200
        assert guest.answer({"agree": True}, request="request-1").status_code == 200
        assert guest.token not in caplog.text
        assert "locked" in caplog.text


def test_a_failure_that_nobody_foresaw_is_an_answer(
    place: StudyPlace, guest: Guest, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patch, caplog.at_level(logging.ERROR):
        patch.setattr(Service, "answer", broken)
        response = guest.answer()
    assert response.status_code == 500
    assert response.json()["error"]["code"] == "unexpected"
    assert "ZeroDivisionError" in caplog.text
    assert guest.answer().status_code == 200


def test_fifty_may_answer_at_once(place: StudyPlace) -> None:
    import httpx

    async def one(http: httpx.AsyncClient, n: int) -> str:
        begun = (await http.post("begin", json={"language": "en"})).json()
        body = {"request": f"request-{n:02}", "step": "consent", "answers": {"agree": True}}
        headers = {"Authorization": f"Bearer {begun['token']}"}
        twice = await asyncio.gather(*(http.post("answer", json=body, headers=headers) for _ in range(2)))
        return " ".join(f"{r.status_code} {r.json()['state']['step']['key']}" for r in twice)

    async def all_of_them() -> list[str]:
        async with httpx.AsyncClient(base_url=place.http.base_url, timeout=30, trust_env=False) as http:
            return await asyncio.gather(*(one(http, n) for n in range(50)))

    assert set(asyncio.run(all_of_them())) == {"200 device 200 device"}
    held = Participant.block.is_not(None), Participant.status != "withdrawn"
    with place.service.database.reading() as session:
        seats = session.execute(select(Participant.block, Participant.place).where(*held)).all()
    assert len(seats) == len(set(map(tuple, seats)))
