import json
import random
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from duplex_runtime.errors import DuplexError
from tests.study_fakes import StudyPlace, Visitor, quick_study
from webapp.study import bench, bench_crowd, bench_kills, hall
from webapp.study.bench import ServerProcess, some_study
from webapp.study.bench_kills import Person, answers_to, compare
from webapp.study.database import Answer, Database, Participant, utc_now
from webapp.study.service import Service
from webapp.study.steps import check_answers, way_of


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    study = quick_study(tmp_path / "study")
    database = Database(study.database_url)
    yield Service(study, database)
    database.close()


@pytest.fixture
def person(service: Service) -> Person:
    """Whose one answer, to consent, was acknowledged and is stored."""
    visitor = Visitor(service)
    visitor.answer({"agree": True, "publish": True})
    person = Person("", service, threading.Event(), random.Random(0))
    for item in ("agree", "publish"):
        person.acknowledged[visitor.id, "consent", item] = True
    person.sent |= person.acknowledged.keys()
    person.steps[visitor.id] = 1
    return person


def found(person: Person) -> tuple[int, int]:
    figures = compare(person.service.database, [person])
    return figures["lost"], figures["doubled"]


def change(person: Person, act: Callable[[Any], None]) -> None:
    with person.service.database.writing() as session:
        act(session)


def test_what_was_acknowledged_and_is_there_is_neither_lost_nor_doubled(person: Person) -> None:
    assert found(person) == (0, 0)


def test_an_answer_that_is_missing_is_lost(person: Person) -> None:
    change(person, lambda s: s.delete(s.query(Answer).filter_by(item="agree").one()))
    assert found(person) == (1, 0)


def test_an_answer_that_is_another_is_lost(person: Person) -> None:
    change(person, lambda s: setattr(s.query(Answer).filter_by(item="publish").one(), "value", False))
    assert found(person) == (1, 0)


def test_an_answer_that_nobody_sent_is_doubled(person: Person) -> None:
    who = next(iter(person.steps))
    again = Answer(participant=who, request="r", step="device", item="agree", value=True, at=utc_now())
    change(person, lambda s: s.add(again))
    assert found(person) == (0, 1)


def test_a_step_that_was_taken_twice_is_doubled(person: Person) -> None:
    change(person, lambda s: setattr(s.query(Participant).one(), "step", 2))
    assert found(person) == (0, 0)  # one may have been stored and not yet heard of
    change(person, lambda s: setattr(s.query(Participant).one(), "step", 3))
    assert found(person) == (0, 1)


def test_any_answers_are_answers(service: Service) -> None:
    from webapp.study.assignment import assign

    rng = random.Random(0)
    for step in way_of(service.study, assign(service.study, 0)):
        answers = answers_to([item.shown() for item in step.items], rng)
        assert check_answers(step, answers) == answers


def test_a_server_that_is_killed_keeps_what_it_acknowledged(capsys: pytest.CaptureFixture[str]) -> None:
    with some_study(sessions="1", min_seconds="1", min_turns="1") as study:
        command = ("-m", "webapp.study.bench_kills", str(study.folder), "{port}")
        figures = bench_kills.run(study, ServerProcess(study, command, {}), 1, random.Random(0))
    assert (figures["lost"], figures["doubled"], figures["kills"]) == (0, 0, 1)
    assert figures["acknowledged"] > 0
    assert "killed 1 times" in capsys.readouterr().out


def test_a_server_that_does_not_start_is_said() -> None:
    with some_study() as study, pytest.raises(DuplexError, match=r"did not start: .*no such thing"):
        ServerProcess(study, ("-c", "raise SystemExit('no such thing')"), {}).start()


class Running:
    """In the place of `ServerProcess`: a server that runs already."""

    def __init__(self, place: StudyPlace) -> None:
        self.url = str(place.http.base_url)

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...


@pytest.fixture
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"LEAST_PAUSE": 0.0, "MOST_PAUSE": 0.01, "KEY_SECONDS": 0.0, "COMING_SECONDS": 0.01}.items():
        monkeypatch.setattr(bench_crowd, name, value)
    monkeypatch.setattr(bench_crowd, "SENTENCES", ("hello.",))
    monkeypatch.setattr(hall, "STORE_SECONDS", 0.05)


def test_a_crowd_goes_the_whole_way(tmp_path: Path, hurry: None, capsys: pytest.CaptureFixture[str]) -> None:
    short = (
        ("min_seconds = 20", "min_seconds = 1"),
        ("min_turns = 2", "min_turns = 1"),
        ("sessions = 2", "sessions = 1"),
    )
    with StudyPlace(tmp_path, *short) as place:
        figures = bench_crowd.run(Running(place), 4, random.Random(0))  # type: ignore[arg-type]
        with place.service.database.reading() as session:
            statuses = [row.status for row in session.query(Participant)]
    assert figures["finished"] == 4
    assert figures["form_actions"] == 4 * 10
    assert 0 < figures["ack_ms_p50"] <= figures["ack_ms_p95"]
    assert statuses == ["completed"] * 4
    assert "troubles" not in capsys.readouterr().out


def test_the_benchmark_ends_in_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    parts = {
        "lost": 0,
        "doubled": 0,
        "kills": 3,
        "ack_ms_p50": 5.0,
        "ack_ms_p95": 9.0,
        "finished": 2,
        "participants": 2,
    }
    monkeypatch.setattr(bench_kills, "run", lambda *_: dict(parts))
    monkeypatch.setattr(bench_crowd, "run", lambda *_: {})
    assert bench.run(kills=3, participants=2) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == parts
    parts["lost"] = 1
    assert bench.run(kills=3, participants=2) == 1
    parts |= {"lost": 0, "finished": 1}
    assert bench.run(kills=3, participants=2) == 1
