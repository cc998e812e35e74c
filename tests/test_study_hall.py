import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import select, text
from websockets.exceptions import ConnectionClosed

import webapp.study.database as database_module
import webapp.study.hall as module
from duplex_runtime.recording import read_log
from tests.speech_fakes import LOUD, SILENT, FakeKit, frame
from tests.study_fakes import VOICE, Guest, StudyPlace
from tests.web_fakes import Client, eventually, room
from webapp.admission import Admission, Limits
from webapp.study.database import Talk

SHORT = (("min_seconds = 20", "min_seconds = 1"), ("min_turns = 2", "min_turns = 1"))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StudyPlace]:
    with StudyPlace(tmp_path_factory.mktemp("hall"), *SHORT) as place:
        yield place


@pytest.fixture(autouse=True)
def stored_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STORE_SECONDS", 0.05)


@pytest.fixture
def guest(place: StudyPlace) -> Guest:
    """One whose first talk begins."""
    guest = Guest(place)
    guest.go_to("talk-1-1")
    return guest


def talks(place: StudyPlace, guest: Guest) -> list[Talk]:
    with place.service.database.reading() as session:
        mine = select(Talk).where(Talk.participant == guest.state["participant"]).order_by(Talk.id)
        return list(session.scalars(mine))


def chat(client: Client) -> None:
    client.begin()
    client.type("hello.")
    client.enter()
    client.until("response.done")


def until_error(client: Client) -> tuple[str, int | None]:
    """The error that the server gives before it closes, and the code with which it closes."""
    error = client.until("error")["error"]
    return error["code"], client.until_closed()


def test_a_participant_talks_to_the_system_of_their_step(place: StudyPlace, guest: Guest) -> None:
    with guest.talk() as client:
        chat(client)
        assert client.said("partner") == "hi you"
        place_system = talks(place, guest)[0].system
    eventually(lambda: talks(place, guest)[0].ended, "the end is stored")
    talk = talks(place, guest)[0]
    assert (talk.position, talk.session, talk.label) == (1, 1, guest.state["labels"][0])
    assert talk.turns == 1
    assert talk.seconds > 0
    log = read_log(place.study.recordings / talk.recording)
    assert list(log) == ["duplex" if place_system == "duplex" else "turns"]
    header = next(iter(log.values())).header
    assert (header["baseline"], header["session"]) == ("strict", talk.recording.removesuffix(".jsonl"))


def test_nothing_on_the_wire_tells_which_system_it_is(place: StudyPlace) -> None:
    wires = {}
    for _ in range(4):
        guest = Guest(place)
        guest.go_to("talk-1-1")
        with guest.talk() as client:
            chat(client)
            client.type("count.")
            client.enter()
            client.until("response.created")
            client.type("stop.")
            client.until("study.talk")
            for event in client.events:
                for word in ("turns", "strict", "barge", "embedded", '"duplex"', "duplex-", "p_idle", "slice"):
                    told = json.dumps(event if event["type"] != "study.talk" else {})
                    assert word not in told, event
        wires[talks(place, guest)[0].system] = {e["type"] for e in client.events}
        place.quiet()
    assert set(wires) == {"duplex", "strict"}


def test_before_consent_nobody_talks_and_nothing_is_recorded(place: StudyPlace) -> None:
    guest = Guest(place)
    before = set(place.study.recordings.glob("*"))
    with guest.talk() as client:
        assert until_error(client) == ("consent_first", 4403)
    assert talks(place, guest) == []
    assert set(place.study.recordings.glob("*")) == before
    assert place.served.sessions() == 0


@pytest.mark.parametrize("token", ["", "x" * 43, "%00", "ü"])
def test_who_has_no_place_does_not_talk(place: StudyPlace, guest: Guest, token: str) -> None:
    with guest.talk(token or "\n") as client:
        assert until_error(client) == ("wrong_token", 4403)
    url = f"{place.served.url.replace('http', 'ws')}/study/{place.study.name}/realtime"
    with Client(url) as client:
        assert until_error(client) == ("no_token", 4403)


def test_on_other_pages_there_is_no_talk(place: StudyPlace) -> None:
    guest = Guest(place, "zh")
    guest.go_to("rate-1")
    with guest.talk() as client:
        error = client.until("error")["error"]
        assert error["code"] == "talk_first"
        assert not error["message"].isascii()


def test_a_stranger_page_is_refused(place: StudyPlace, guest: Guest) -> None:
    from websockets.exceptions import InvalidStatus
    from websockets.sync.client import connect

    url = f"{place.served.url.replace('http', 'ws')}/study/{place.study.name}/realtime?token={guest.token}"
    with pytest.raises(InvalidStatus), connect(url, proxy=None, origin="https://evil.example"):  # type: ignore[arg-type]
        pass
    assert talks(place, guest) == []


def test_the_participant_hears_how_much_is_still_to_go(place: StudyPlace, guest: Guest) -> None:
    assert guest.answer().status_code == 422
    with guest.talk() as client:
        chat(client)
        while (told := client.until("study.talk"))["seconds"] < 1:
            pass
        assert told["needed_seconds"] == told["needed_turns"] == 1
        response = guest.answer()
        assert response.status_code == 200
        assert guest.step == "talk-1-2"
        assert client.until_closed() == 1000


def test_what_was_said_a_moment_ago_counts_for_the_answer(
    place: StudyPlace, guest: Guest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "STORE_SECONDS", 1000.0)
    with guest.talk() as client:
        chat(client)
        eventually(lambda: guest.answer().status_code == 200, "a second has passed")


def test_an_answer_of_before_ends_no_talk_of_now(place: StudyPlace, guest: Guest) -> None:
    with guest.talk() as client:
        client.begin()
        again = guest.answer({"agree": True}, "consent")
        assert again.status_code == 200
        chat_on = "hello."
        client.type(chat_on)
        client.enter()
        client.until("response.done")


def test_a_talk_that_broke_off_is_taken_up_again(place: StudyPlace, guest: Guest) -> None:
    with guest.talk() as client:
        chat(client)
        client.until("study.talk")
        client.socket.socket.close()  # no goodbye: the network is gone
    with guest.talk() as client:
        chat(client)
        eventually(lambda: guest.answer().status_code == 200, "both together are long enough")
    assert [talk.session for talk in talks(place, guest)] == [1, 1]
    assert len({talk.recording for talk in talks(place, guest)}) == 2


def test_a_talk_is_not_resumed_its_page_opens_another(place: StudyPlace, guest: Guest) -> None:
    with guest.talk() as client:
        assert set(client.begin()) == {"audio"}
        client.cut()
        place.quiet()  # at once: nobody waits for who was cut off
    assert not place.served.arena._sessions


def test_the_later_of_two_windows_goes_on(place: StudyPlace, guest: Guest) -> None:
    with guest.talk() as first:
        chat(first)
        with guest.talk() as second:
            assert until_error(first) == ("talk_open", 4409)
            chat(second)
            assert place.served.sessions() == 1
    eventually(lambda: all(talk.ended for talk in talks(place, guest)), "both ends are stored")
    assert len(talks(place, guest)) == 2
    assert all(talk.turns == 1 for talk in talks(place, guest))


def test_many_windows_opened_at_once_leave_one(place: StudyPlace, guest: Guest) -> None:
    clients = [guest.talk() for _ in range(5)]
    for client in clients:
        try:
            client.send({"type": "session.update", "session": {}})
        except ConnectionClosed:
            continue
    eventually(lambda: place.served.sessions() == 1, "one is left")
    for client in clients:
        client.close()
    place.quiet()


def test_who_leaves_while_talking_leaves_no_file(place: StudyPlace, guest: Guest) -> None:
    with guest.talk() as client:
        chat(client)
        talk = talks(place, guest)[0]
        assert (place.study.recordings / talk.recording).exists()
        assert guest.post("withdraw", {"request": "request-1"}).json()["deleted"]
        client.until_closed()
    place.quiet()
    assert talks(place, guest) == []
    assert not (place.study.recordings / talk.recording).exists()


def test_what_a_researcher_deletes_while_it_is_said_is_gone_at_its_end(place: StudyPlace, guest: Guest) -> None:
    with guest.talk() as client:
        client.begin()
        talk = talks(place, guest)[0]
        place.service.delete_participant(guest.state["participant"])
        (place.study.recordings / talk.recording).write_text("written once more")
    place.quiet()
    eventually(lambda: not (place.study.recordings / talk.recording).exists(), "the file is gone")


def test_a_talk_goes_on_while_the_database_is_locked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(database_module, "WAIT_SECONDS", 0)
    with StudyPlace(tmp_path, *SHORT) as place:
        guest = Guest(place)
        guest.go_to("talk-1-1")
        with guest.talk() as client:
            client.begin()
            eventually(lambda: len(talks(place, guest)) == 1, "the talk is there")
            with place.service.database.writing() as holder:
                holder.execute(text("SELECT 1"))
                client.type("hello.")
                client.enter()
                client.until("response.done")
                eventually(lambda: "is not stored" in caplog.text, "a try failed")
                assert guest.answer().json()["error"]["code"] == "database_away"
            client.until("study.talk")
        eventually(lambda: talks(place, guest)[0].ended, "the end is stored")
        assert talks(place, guest)[0].turns == 1


def test_what_could_not_be_stored_at_the_end_is_stored_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_module, "WAIT_SECONDS", 0)
    with StudyPlace(tmp_path, *SHORT) as place:
        guest = Guest(place)
        guest.go_to("talk-1-1")
        with guest.talk() as client:
            chat(client)
            holder = place.service.database.writing()
            holder.__enter__().execute(text("SELECT 1"))
        place.quiet()
        holder.__exit__(None, None, None)
        eventually(lambda: talks(place, guest)[0].ended, "the end is stored")
        assert talks(place, guest)[0].turns == 1


def test_a_full_house_is_told_and_may_be_tried_again(tmp_path: Path) -> None:
    with StudyPlace(tmp_path, slots=1) as place:
        guests = [Guest(place) for _ in range(4)]
        for guest in guests:
            guest.go_to("talk-1-1")
        by_system: dict[str, list[Guest]] = {}
        for guest in guests:
            order = place.service.open_talk(guest.token).system
            by_system.setdefault(order, []).append(guest)
        first, second = next(pair for pair in by_system.values() if len(pair) > 1)[:2]
        with first.talk() as held, second.talk() as waiting:
            held.begin()
            waiting.send({"type": "session.update", "session": {}})
            assert waiting.until("error")["error"]["code"] == "busy"
            held.close()
            place.quiet()
            waiting.begin()


def test_a_voice_is_heard_counted_and_kept_if_allowed(tmp_path: Path) -> None:
    with StudyPlace(tmp_path, *SHORT, *VOICE, kit=FakeKit(["hello."] * 3)) as place:
        for audio in (True, False):
            guest = Guest(place)
            guest.answer({"agree": True, "audio": audio})
            guest.answer({"keyboard": True, "way": "speech", "microphone": True, "loudspeaker": True})
            guest.go_to("talk-1-1")
            with guest.talk() as client:
                client.begin()
                for samples in [LOUD] * 30 + [SILENT] * 60:
                    client.send(frame(np.asarray(samples)))
                words: Any = client.until("conversation.item.input_audio_transcription.delta")
                assert words == {"type": words["type"], "event_id": words["event_id"], "delta": "hello. "}
            place.quiet()
            eventually(lambda guest=guest: talks(place, guest)[0].ended, "the end is stored")  # type: ignore[misc]
            talk = talks(place, guest)[0]
            assert talk.turns == 1
            assert (place.study.recordings / talk.recording).with_suffix(".wav").exists() == audio


# — places —


def test_who_comes_when_all_places_are_taken_waits_for_one(place: StudyPlace, guest: Guest) -> None:
    place.served.arena.admission = Admission(Limits(places=1, per_person=None))
    other = Guest(place)
    other.go_to("talk-1-1")
    guest.go_to("talk-1-1")
    try:
        with other.talk() as first, guest.talk() as second:
            first.begin()
            assert second.until("duplex.queue")["position"] == 1
            first.close()
            second.begin()
    finally:
        place.served.arena.admission = room()


def test_who_cannot_even_wait_is_told_so_in_their_language(place: StudyPlace) -> None:
    place.served.arena.admission = Admission(Limits(places=1, waiting=0, per_person=None))
    other, guest = Guest(place), Guest(place)
    other.go_to("talk-1-1")
    guest.go_to("talk-1-1")
    try:
        with other.talk() as first, guest.talk() as second:
            first.begin()
            error = second.until("error")["error"]
            assert error["code"] == "busy" and "Too many people" in error["message"]
    finally:
        place.served.arena.admission = room()
