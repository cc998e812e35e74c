from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from duplex_runtime.errors import BadInput
from tests.study_fakes import Visitor, fill, leave_files, number, quick_study, refused
from webapp.study.database import Answer, Database, Participant
from webapp.study.erase import Due, due, erase
from webapp.study.service import Service


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    study = quick_study(tmp_path / "study")
    database = Database(study.database_url)
    yield Service(study, database)
    database.close()


def test_what_cannot_be_deleted_is_said_and_tried_again(
    service: Service, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    visitor = Visitor(service)
    visitor.go_to("rate-1")
    files = leave_files(service, visitor)
    unlink = Path.unlink

    def stuck(path: Path, missing_ok: bool = False) -> None:
        if path.suffix == ".wav":
            raise PermissionError(13, "Permission denied")
        unlink(path, missing_ok)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", stuck)
        erased, said = service.withdraw(visitor.token)
    assert not erased.complete
    assert visitor.id in said
    assert erased.left == tuple(f"{f}: Permission denied" for f in files if f.suffix == ".wav")
    assert number(service, Answer) == 0  # what could be deleted is gone
    refused(lambda: service.state(visitor.token), "not_deleted")
    assert "not wholly deleted" in caplog.text
    assert service.withdraw(visitor.token)[0].complete
    assert not any(file.exists() for file in files)
    refused(lambda: service.state(visitor.token), "withdrawn")


def test_a_recording_name_reaches_no_other_folder(service: Service, tmp_path: Path) -> None:
    visitor = Visitor(service)
    visitor.go_to("rate-1")
    outside = tmp_path / "precious.jsonl"
    outside.write_text("words")
    service.study.recordings.mkdir()
    with service.database.writing() as session:
        session.execute(text("UPDATE talks SET recording = :name"), {"name": str(outside)})
    service.withdraw(visitor.token)
    assert outside.exists()


def test_a_study_may_keep_data_for_good(tmp_path: Path) -> None:
    study = quick_study(tmp_path / "study", ("retention_days = 365", "retention_days = 0"))
    database = Database(study.database_url)
    service = Service(study, database)
    visitor = Visitor(service)
    visitor.answer()
    assert due(study, database, datetime.now(UTC) + timedelta(days=100_000)) == Due()
    database.close()


def test_only_what_belongs_to_a_talk_is_deleted(service: Service) -> None:
    visitor = Visitor(service)
    visitor.go_to("rate-1")
    files = leave_files(service, visitor)
    near = files[0].with_name(files[0].stem + "0.jsonl")
    near.touch()
    erased = erase(service.database, service.study.recordings, visitor.id)
    assert (erased.files, erased.left) == (4, ())
    assert near.exists()


def test_rows_go_with_their_participant(service: Service) -> None:
    visitor = Visitor(service)
    visitor.go_to("rate-1")
    erased = erase(service.database, service.study.recordings, visitor.id, row=True)
    assert erased.complete
    assert erased.rows > 0
    assert number(service, Participant) == 0


def test_the_words_of_who_left_are_in_no_file(service: Service) -> None:
    def found() -> list[str]:
        return [
            p.name for p in service.study.folder.rglob("*") if p.is_file() and b"a private remark" in p.read_bytes()
        ]

    visitor = Visitor(service)
    visitor.go_to("rate-1")
    visitor.answer(fill(visitor.state["step"]) | {"comment": "a private remark " * 200})
    assert found()
    service.withdraw(visitor.token)
    assert found() == []


def test_an_id_that_nobody_has_is_said(service: Service) -> None:
    with pytest.raises(BadInput, match="expected an id such as p-abcdefgh"):
        erase(service.database, service.study.recordings, "p-nobody")


def test_what_is_due_at_both_looks_is_due() -> None:
    first = Due(frozenset({"a", "b"}), frozenset({"c"}))
    assert first & Due(frozenset({"b"}), frozenset({"c", "d"})) == Due(frozenset({"b"}), frozenset({"c"}))
    assert first & Due() == Due()
