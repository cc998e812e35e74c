import json
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from duplex_runtime.engine.requests import Output, Sampling
from duplex_runtime.errors import BadInput, DuplexError
from duplex_runtime.events import UserText
from duplex_runtime.recording import Recorder, header_of, read_log
from tests.web_fakes import session_id
from webapp.store import MAX_COMMENT, Rating, Recording, Store

GOOD = {"system": "duplex", "responsiveness": 6, "human_likeness": 4, "comment": "quick"}
FULL = Path("/dev/full")  # a disk that takes nothing


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "data")


def talked(store: Store, failed: Callable[[DuplexError], None] = lambda error: None) -> str:
    """A session that was recorded."""
    session = session_id()
    recording = store.recording(session, failed)
    assert recording
    recording.close()
    return session


# — ratings —


def test_a_rating_is_on_disk_when_it_is_added(store: Store) -> None:
    session = talked(store)
    number = store.add_rating(Rating.parse(session, GOOD))
    with closing(sqlite3.connect(store.folder / "ratings.db")) as another:
        rows = another.execute(
            "SELECT id, session, system, responsiveness, human_likeness, comment, recording FROM ratings"
        ).fetchall()
    assert rows == [(number, session, "duplex", 6, 4, "quick", f"{session}.jsonl")]


def test_a_server_that_starts_again_has_all_ratings_still(store: Store) -> None:
    session = talked(store)
    numbers = [store.add_rating(Rating.parse(session, GOOD)) for _ in range(3)]
    assert [row["id"] for row in Store(store.folder).ratings()] == numbers
    assert len(set(numbers)) == 3


def test_a_rating_says_when_it_was_given(store: Store) -> None:
    store.add_rating(Rating.parse(talked(store), GOOD))
    assert store.ratings()[0]["created_at"].endswith("+00:00")


def test_many_people_may_rate_at_once(store: Store) -> None:
    session, failures = talked(store), []

    def rate() -> None:
        try:
            for _ in range(5):
                store.add_rating(Rating.parse(session, GOOD))
        except DuplexError as error:
            failures.append(error)

    threads = [threading.Thread(target=rate) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert len(store.ratings()) == 30


@pytest.mark.parametrize("scale", ["responsiveness", "human_likeness"])
@pytest.mark.parametrize("number", [0, 8, -1, 10**400, 3.5, 4.0, "4", None, True, [4], float("nan")])
def test_a_scale_goes_from_one_to_seven(scale: str, number: Any) -> None:
    with pytest.raises(BadInput, match=f"{scale}: expected a whole number from 1 to 7, got"):
        Rating.parse(session_id(), GOOD | {scale: number})


@pytest.mark.parametrize("scale", ["responsiveness", "human_likeness"])
def test_both_scales_are_needed(scale: str) -> None:
    with pytest.raises(BadInput, match=scale):
        Rating.parse(session_id(), {key: value for key, value in GOOD.items() if key != scale})


@pytest.mark.parametrize("system", ["left", "", None, 1, ["duplex"], {"a": 1}])
def test_only_the_two_systems_are_rated(system: Any) -> None:
    with pytest.raises(BadInput, match="system: expected one of duplex, turns"):
        Rating.parse(session_id(), GOOD | {"system": system})


@pytest.mark.parametrize("value", [None, [], "rating", 5])
def test_a_rating_is_an_object(value: Any) -> None:
    with pytest.raises(BadInput, match="expected a JSON object"):
        Rating.parse(session_id(), value)


def test_a_comment_has_an_end() -> None:
    assert Rating.parse("s", GOOD | {"comment": "x" * MAX_COMMENT}).comment == "x" * MAX_COMMENT
    for comment in ("x" * (MAX_COMMENT + 1), 5, None):
        with pytest.raises(BadInput, match="comment: expected text"):
            Rating.parse("s", GOOD | {"comment": comment})


@pytest.mark.parametrize(
    "comment",
    ["=1+1", '=HYPERLINK("http://x","y")', "<script>alert(1)</script>", "'); DROP TABLE ratings; --", "😀 été\n\ttab",
     "nul\x00byte", ""],
)  # fmt: skip
def test_a_comment_is_stored_as_it_was_written(comment: str, store: Store) -> None:
    store.add_rating(Rating.parse(talked(store), GOOD | {"comment": comment}))
    assert [row["comment"] for row in store.ratings()] == [comment]


def test_a_comment_with_half_a_character_is_stored_without_it(store: Store) -> None:
    store.add_rating(Rating.parse(talked(store), GOOD | {"comment": "a\ud800b"}))
    assert [row["comment"] for row in store.ratings()] == ["a?b"]


def test_a_talk_that_was_never_held_cannot_be_rated(store: Store) -> None:
    with pytest.raises(DuplexError) as caught:
        store.add_rating(Rating.parse("session-unknown", GOOD))
    assert caught.value.code == "unknown_session"
    assert store.ratings() == []


@pytest.mark.parametrize(
    "session", ["../ratings", "..", "../../etc/passwd", "/etc/passwd", "a" * 65, "short", "", "with space", "x.jsonl",
                "session-1\n", "sess\x00ion-1", "sessión-01"],
)  # fmt: skip
def test_a_session_id_cannot_leave_the_folder(session: str, store: Store) -> None:
    with pytest.raises(BadInput, match="not a session id"):
        store.path(session)
    with pytest.raises(BadInput, match="not a session id"):
        store.add_rating(Rating.parse(session, GOOD))


def test_the_table_itself_refuses_what_is_out_of_range(store: Store) -> None:
    with pytest.raises(DuplexError):
        store.add_rating(Rating(talked(store), "duplex", 9, 4))
    assert store.ratings() == []


# — when the disk does not take it —


def refuse(store: Store, how: str, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Make the database refuse to be written; returns what ends that."""
    if how == "locked":
        lock = sqlite3.connect(store.folder / "ratings.db")
        lock.execute("BEGIN IMMEDIATE")
        connect = store._connect

        def impatient() -> sqlite3.Connection:
            connection = connect()
            connection.execute("PRAGMA busy_timeout = 50")
            return connection

        monkeypatch.setattr(store, "_connect", impatient)
        return lock.close
    statement = {"full": "PRAGMA max_page_count = 1", "read-only": "PRAGMA query_only = ON"}[how]
    plain = store._connect

    def limited() -> sqlite3.Connection:
        connection = plain()
        connection.execute(statement)
        return connection

    monkeypatch.setattr(store, "_connect", limited)
    return lambda: monkeypatch.setattr(store, "_connect", plain)


@pytest.mark.parametrize("how", ["full", "read-only", "locked"])
def test_a_rating_that_is_not_stored_says_so_and_spares_the_others(
    how: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = talked(store)
    store.add_rating(Rating.parse(session, GOOD))
    end = refuse(store, how, monkeypatch)
    large = GOOD | {"comment": "x" * MAX_COMMENT}  # needs new pages
    with pytest.raises(DuplexError) as caught:
        for _ in range(10):
            store.add_rating(Rating.parse(session, large))
    assert caught.value.code == "not_stored"
    assert "not be stored" in str(caught.value)
    end()
    kept = len(Store(store.folder).ratings())
    assert kept >= 1
    store.add_rating(Rating.parse(session, GOOD))
    assert len(store.ratings()) == kept + 1


def test_a_damaged_database_is_told_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "ratings.db").write_bytes(b"this is no database" * 100)
    with pytest.raises(DuplexError, match=r"cannot store ratings in .*--data"):
        Store(tmp_path)


def test_a_folder_that_cannot_be_made_is_told_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    for folder in (tmp_path / "file", tmp_path / "file" / "data"):
        with pytest.raises(DuplexError, match=r"cannot store ratings in .*--data") as caught:
            Store(folder)
        assert caught.value.code == "storage"


# — recordings —


def lines_of(recorder: Recorder, count: int) -> None:
    recorder.header(header_of("m", Sampling(), {"slice_seconds": "adaptive"}))
    for i in range(count):
        recorder.heard(UserText(f"word{i} "), float(i))
        recorder.answered(Output(0, i, False, i), float(i))


def test_a_recording_is_written_as_it_happens(store: Store) -> None:
    session = session_id()
    recording = store.recording(session, pytest.fail)
    assert recording
    lines_of(Recorder(recording, "duplex"), 3)  # type: ignore[arg-type]
    assert len(read_log(store.path(session))["duplex"].lines) == 6  # before it is closed
    recording.close()
    recording.close()


def test_a_full_disk_ends_the_recording_and_not_the_talk() -> None:
    told: list[DuplexError] = []
    recording = Recording(FULL, told.append)
    lines_of(Recorder(recording, "duplex"), 3)  # type: ignore[arg-type]
    recording.close()
    assert [error.code for error in told] == ["recording_stopped"]
    assert "no longer recorded" in str(told[0]) and "No space left" in str(told[0])


def test_what_was_recorded_before_the_disk_was_full_can_be_read(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[DuplexError] = []
    session = session_id()
    recording = store.recording(session, told.append)
    assert recording
    recorder = Recorder(recording, "duplex")  # type: ignore[arg-type]
    lines_of(recorder, 2)

    class Full:
        def __init__(self, file: Any) -> None:
            self._file = file

        def write(self, text: str) -> int:
            self._file.write(text[: len(text) // 2])  # a part still fits
            self._file.flush()
            raise OSError(28, "No space left on device")

        def __getattr__(self, name: str) -> Any:
            return getattr(self._file, name)

    monkeypatch.setattr(recording, "_file", Full(recording._file))
    for at in range(5):
        recorder.heard(UserText("lost"), at)
    assert len(told) == 1
    recording.close()
    assert len(read_log(store.path(session))["duplex"].lines) == 4


def test_a_recording_that_cannot_begin_is_told_and_the_talk_goes_on(
    store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    told: list[DuplexError] = []
    monkeypatch.setattr(store, "path", lambda session: tmp_path / "nowhere" / "x.jsonl")
    assert store.recording(session_id(), told.append) is None
    assert [error.code for error in told] == ["recording_stopped"]


def test_lines_written_after_the_end_are_dropped(store: Store) -> None:
    session = session_id()
    recording = store.recording(session, pytest.fail)
    assert recording
    recording.close()
    recording.write("late\n")
    recording.flush()
    assert store.path(session).read_text() == ""


def test_two_threads_may_write_lines_to_one_recording(store: Store) -> None:
    session = session_id()
    recording = store.recording(session, pytest.fail)
    assert recording
    threads = [
        threading.Thread(target=lines_of, args=(Recorder(recording, system), 200))  # type: ignore[arg-type]
        for system in ("duplex", "turns")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    recording.close()
    for line in store.path(session).read_text().splitlines():
        json.loads(line)
    assert {system: len(log.lines) for system, log in read_log(store.path(session)).items()} == {
        "duplex": 400,
        "turns": 400,
    }
