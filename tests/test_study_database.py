import logging
import shutil
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import func, select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm.exc import StaleDataError

import webapp.study.database as module
from duplex_runtime.errors import BadInput, DuplexError
from tests.study_postgres import PostgresServer
from webapp.study.database import (
    Answer,
    Base,
    Database,
    DatabaseAway,
    Participant,
    Recruit,
    Talk,
    alembic_config,
    utc_now,
    utc_text,
)


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with PostgresServer() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/study.db"
    return str(request.getfixturevalue("server").fresh())


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    database = Database(url)
    yield database
    database.close()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "study.db"


@pytest.fixture
def sqlite(file: Path) -> Iterator[Database]:
    database = Database(f"sqlite:///{file}")
    yield database
    database.close()


def someone(name: str = "p-aaaaaaaa", **values: Any) -> Participant:
    fixed = {"study": "s", "token_hash": f"hash of {name}", "language": "en"}
    return Participant(id=name, created_at=utc_now(), updated_at=utc_now(), **fixed | values)


def answer(participant: str = "p-aaaaaaaa", item: str = "overall", value: Any = 6) -> Answer:
    return Answer(participant=participant, request="r", step="rate-1", item=item, value=value, at=utc_now())


def count(database: Database, table: Any) -> int:
    with database.reading() as session:
        return session.scalar(select(func.count()).select_from(table)) or 0


# — both databases —


def test_what_was_written_is_there_for_the_next_who_opens_it(url: str) -> None:
    first = Database(url)
    big = 2**62
    with first.writing() as session:
        session.add(someone(order=["strict", "duplex"], labels=["B", "A"], seed=big, audio=True))
        session.flush()
        session.add(answer(value="很好 <b>=1+1</b> \U0001f642"))
    first.close()
    second = Database(url)
    with second.reading() as session:
        row = session.scalars(select(Participant)).one()
        assert (row.order, row.labels, row.sides, row.seed) == (["strict", "duplex"], ["B", "A"], None, big)
        assert (row.status, row.step, row.audio, row.publish, row.block) == ("begun", 0, True, False, None)
        assert session.scalars(select(Answer)).one().value == "很好 <b>=1+1</b> \U0001f642"
    second.close()


def test_models_and_migrations_agree(database: Database) -> None:
    with database.writing() as session:
        context = MigrationContext.configure(session.connection(), opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []


def test_a_database_of_the_first_revision_comes_to_the_newest_with_what_is_in_it(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Database._migrate
    with monkeypatch.context() as patch:
        patch.setattr(Database, "_migrate", lambda self: None)
        old = Database(url)
    with old.writing() as session:
        first = ScriptDirectory.from_config(alembic_config(session.connection())).get_base()
        assert first
        command.upgrade(alembic_config(session.connection()), first)
        session.execute(
            text(
                "INSERT INTO participants (id, study, token_hash, status, step, language, way, consent_version, "
                "publish, audio, excluded_because, created_at, updated_at, version) "
                "VALUES ('p-old', 's', 'h', 'begun', 0, 'en', 'keys', '', false, false, '', '', '', 1)"
            )
        )
    real(old)
    with old.reading() as session:
        assert [row.id for row in session.scalars(select(Participant))] == ["p-old"]
        revision = session.execute(text("SELECT version_num FROM alembic_version")).scalar_one()
        assert revision == ScriptDirectory.from_config(alembic_config(session.connection())).get_current_head()
    old.close()


NEXT = """
import sqlalchemy as sa
from alembic import op
revision, down_revision = "next", {head!r}
def upgrade():
    with op.batch_alter_table("answers") as batch:
        batch.add_column(sa.Column("new", sa.String(), server_default="x", nullable=False))
        {then}
"""


@pytest.fixture
def next_revision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Adds a revision to a copy of the migrations."""

    def add(database: Database, then: str = "pass") -> None:
        folder = tmp_path / "migrations"
        shutil.copytree(module.MIGRATIONS, folder, ignore=shutil.ignore_patterns("__pycache__"))
        with database.reading() as session:
            head = ScriptDirectory.from_config(alembic_config(session.connection())).get_current_head()
        (folder / "versions" / "next.py").write_text(NEXT.format(head=head, then=then), encoding="utf-8")
        monkeypatch.setattr(module, "MIGRATIONS", folder)

    return add


def test_a_migration_keeps_the_rows(url: str, next_revision: Any) -> None:
    first = Database(url)
    with first.writing() as session:
        session.add(someone())
        session.flush()
        session.add(answer())
    next_revision(first)
    first.close()
    second = Database(url)
    with second.reading() as session:
        assert session.execute(text("SELECT new FROM answers")).scalars().all() == ["x"]
    second.close()


def test_a_migration_that_fails_changes_nothing(url: str, next_revision: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    first = Database(url)
    with first.writing() as session:
        session.add(someone())
    next_revision(first, then="raise ZeroDivisionError")
    first.close()
    with pytest.raises(ZeroDivisionError):
        Database(url)
    monkeypatch.setattr(module, "MIGRATIONS", Path(module.__file__).parent / "migrations")
    again = Database(url)
    assert count(again, Participant) == 1
    assert count(again, Answer) == 0
    again.close()


def test_a_database_of_a_later_version_is_refused_in_words(url: str) -> None:
    database = Database(url)
    with database.writing() as session:
        session.execute(text("UPDATE alembic_version SET version_num = 'of-tomorrow'"))
    database.close()
    with pytest.raises(DuplexError, match="another version of Duplex Arena"):
        Database(url)


def test_many_may_open_it_at_once(url: str) -> None:
    opened: list[Database] = []
    threads = [threading.Thread(target=lambda: opened.append(Database(url))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(opened) == 4
    for database in opened:
        database.close()


def test_a_new_file_that_another_is_writing_is_opened_when_they_have_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite does not wait for a writer when it changes a file's mode."""
    with closing(sqlite3.connect(tmp_path / "study.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        waits: list[float] = []

        def finish(seconds: float) -> None:
            waits.append(seconds)
            if other.in_transaction:
                other.execute("COMMIT")

        monkeypatch.setattr(module.time, "sleep", finish)
        Database(f"sqlite:///{tmp_path / 'study.db'}").close()
    assert waits


def test_a_block_that_raises_leaves_nothing(database: Database) -> None:
    with pytest.raises(KeyError), database.writing() as session:
        session.add(someone())
        session.flush()
        raise KeyError
    assert count(database, Participant) == 0


def test_an_item_is_answered_once(database: Database) -> None:
    with database.writing() as session:
        session.add(someone())
        session.flush()
        session.add(answer())
    with pytest.raises(IntegrityError), database.writing() as session:
        session.add(answer(value=1))
    assert count(database, Answer) == 1


def test_an_answer_needs_its_participant(database: Database) -> None:
    with pytest.raises(IntegrityError), database.writing() as session:
        session.add(answer("p-nobody"))


def test_with_the_participant_goes_all_that_is_theirs(database: Database) -> None:
    with database.writing() as session:
        session.add(someone())
        session.add(someone("p-bbbbbbbb"))
        session.flush()
        session.add_all([answer(), answer("p-bbbbbbbb")])
        session.add(Recruit(participant="p-aaaaaaaa", source="prolific", external_id="e", extra={}))
    with database.writing() as session:
        session.delete(session.get_one(Participant, "p-aaaaaaaa"))
    assert (count(database, Participant), count(database, Answer), count(database, Recruit)) == (1, 1, 0)


def test_of_two_who_change_one_row_the_later_is_told(database: Database) -> None:
    with database.writing() as session:
        session.add(someone())
    with database.reading() as session:
        seen = session.get_one(Participant, "p-aaaaaaaa")
    with database.writing() as session:
        session.get_one(Participant, "p-aaaaaaaa").step = 1
    with pytest.raises(StaleDataError), database.writing() as session:
        session.add(seen)
        seen.step = 5
    with database.reading() as session:
        assert session.get_one(Participant, "p-aaaaaaaa").step == 1


def test_what_goes_by_one_name_is_done_by_one_at_a_time(database: Database) -> None:
    """Without it two would read the same count, and write the same number."""

    def add(number: int) -> None:
        with database.writing() as session:
            database.alone(session, "count")
            taken = session.scalar(select(func.count()).select_from(Participant)) or 0
            session.add(someone(f"p-{number}", block=taken))

    threads = [threading.Thread(target=add, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with database.reading() as session:
        assert sorted(row.block or 0 for row in session.scalars(select(Participant))) == list(range(8))


def test_ids_say_the_order_when_the_clock_jumps(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    with database.writing() as session:
        session.add(someone())
        session.flush()
        for item, at in (("one", "2026-01-02"), ("two", "2026-01-01")):
            session.add(Answer(participant="p-aaaaaaaa", request="r", step="s", item=item, value=1, at=at))
            session.flush()
    with database.reading() as session:
        assert list(session.scalars(select(Answer.item).order_by(Answer.id))) == ["one", "two"]


def test_a_number_of_a_deleted_row_is_not_given_again(database: Database) -> None:
    with database.writing() as session:
        session.add(someone())
        session.flush()
        session.add(last := answer())
    with database.writing() as session:
        session.delete(session.get_one(Answer, last.id))
    with database.writing() as session:
        session.add(new := answer())
    assert new.id > last.id


# — what a database can do —


def test_a_server_that_is_away_is_said_and_found_again(
    server: PostgresServer, caplog: pytest.LogCaptureFixture
) -> None:
    database = Database(server.fresh())
    with database.writing() as session:
        session.add(someone())
    server.stop()
    try:
        with pytest.raises(DatabaseAway, match="nothing is lost"), database.writing() as session:
            session.add(someone("p-secret"))
            session.flush()
    finally:
        server.start()
    assert count(database, Participant) == 1
    with database.writing() as session:
        session.add(someone("p-bbbbbbbb"))
    assert count(database, Participant) == 2
    assert "OperationalError" in caplog.text
    assert "p-secret" not in caplog.text
    database.close()


def test_a_server_that_holds_a_lock_too_long_is_said(server: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAIT_SECONDS", 1)  # libpq waits for a connection no shorter
    url = server.fresh()
    database, other = Database(url), Database(url)
    with other.writing() as holder:
        holder.execute(text("LOCK TABLE participants"))
        with pytest.raises(DatabaseAway), database.writing() as session:
            session.add(someone())
            session.flush()
    with database.writing() as session:
        session.add(someone())
    assert count(database, Participant) == 1
    for each in (database, other):
        each.close()


def test_no_server_at_the_address_is_said_before_anybody_comes() -> None:
    with pytest.raises(DuplexError, match="cannot open the study's database") as raised:
        Database("postgresql://study:secret@127.0.0.1:9/nowhere")
    assert "secret" not in str(raised.value)


def test_a_locked_file_is_said_and_the_next_try_works(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAIT_SECONDS", 0)
    database = Database(f"sqlite:///{file}")
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(DatabaseAway), database.writing() as session:
        session.add(someone())
    assert count(database, Participant) == 0  # who only reads does not wait
    other.execute("ROLLBACK")
    other.close()
    with database.writing() as session:
        session.add(someone())
    assert count(database, Participant) == 1
    database.close()


def test_a_full_disk_is_said_and_keeps_what_was_there(sqlite: Database, caplog: pytest.LogCaptureFixture) -> None:
    with sqlite.writing() as session:
        session.add(someone())
        session.flush()
        session.add(answer())
        pages = session.execute(text("PRAGMA page_count")).scalar_one()
    with pytest.raises(DatabaseAway), sqlite.writing() as session:
        session.execute(text(f"PRAGMA max_page_count = {pages + 1}"))
        session.add(answer(item="comment", value="my secret " * 10_000))
    assert count(sqlite, Answer) == 1
    assert "full" in caplog.text
    assert "secret" not in caplog.text
    with sqlite.writing() as session:
        session.execute(text("PRAGMA max_page_count = 1000000"))
        session.add(answer(item="comment", value="my secret " * 10_000))
    assert count(sqlite, Answer) == 2


def test_a_database_that_may_only_be_read_is_said(sqlite: Database) -> None:
    with pytest.raises(DatabaseAway), sqlite.writing() as session:
        session.execute(text("PRAGMA query_only = ON"))
        session.add(someone())
    with sqlite.reading() as session:
        session.execute(text("PRAGMA query_only = OFF"))
    with sqlite.writing() as session:
        session.add(someone())
    assert count(sqlite, Participant) == 1


def test_nothing_is_written_to_a_file_that_was_taken_away(sqlite: Database, file: Path, tmp_path: Path) -> None:
    """A connection that is still open would go on in a file that nobody will find again."""
    with sqlite.writing() as session:
        session.add(someone())
    aside = tmp_path / "aside"
    aside.mkdir()
    for each in tmp_path.glob("study.db*"):
        each.rename(aside / each.name)
    with pytest.raises(DatabaseAway), sqlite.writing() as session:
        session.add(someone("p-bbbbbbbb"))
    assert not file.exists()
    for each in aside.iterdir():
        each.rename(tmp_path / each.name)
    with sqlite.writing() as session:
        session.add(someone("p-bbbbbbbb"))
    assert count(sqlite, Participant) == 2


def test_a_file_in_which_another_lies_is_noticed(sqlite: Database, file: Path, tmp_path: Path) -> None:
    other = Database(f"sqlite:///{tmp_path}/other.db")
    other.tidy()
    other.close()
    for each in tmp_path.glob("study.db*"):
        each.unlink()
    (tmp_path / "other.db").rename(file)
    with sqlite.writing() as session:
        session.add(someone())
    with sqlite3.connect(file) as connection:
        assert connection.execute("SELECT id FROM participants").fetchall() == [("p-aaaaaaaa",)]
    connection.close()


def test_a_file_that_is_no_database_is_said(file: Path) -> None:
    file.write_text("this is a letter, not a database; " * 100)
    with pytest.raises(DuplexError, match="not a database"):
        Database(f"sqlite:///{file}")


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DuplexError, match="cannot open the study's database"):
        Database(f"sqlite:///{tmp_path}/file/study.db")


@pytest.mark.parametrize("url", ["", "study.db", "mysql://host/name", "sqlite://", "sqlite:///:memory:", "postgresql"])
def test_what_is_no_address_is_said(url: str) -> None:
    with pytest.raises(BadInput, match="expected sqlite:///FILE"):
        Database(url)


def test_sqlite_keeps_what_it_acknowledged(sqlite: Database, file: Path) -> None:
    with sqlite.reading() as session:
        names = ("journal_mode", "synchronous", "foreign_keys", "busy_timeout", "secure_delete")
        values = [session.execute(text(f"PRAGMA {name}")).scalar_one() for name in names]
    assert values == ["wal", 2, 1, 10_000, 1]
    assert file.stat().st_mode & 0o077 == 0


def test_a_writer_waits_for_another_before_it_reads(sqlite: Database, file: Path) -> None:
    """A transaction that began by reading could not write once another has written in between."""
    with sqlite.writing() as session:
        assert session.scalar(select(func.count()).select_from(Participant)) == 0
        other = sqlite3.connect(file, timeout=0, isolation_level=None)
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("BEGIN IMMEDIATE")
        other.close()


def test_what_was_deleted_is_in_no_file(sqlite: Database, tmp_path: Path) -> None:
    def found() -> list[str]:
        return [p.name for p in tmp_path.iterdir() if b"a very private remark" in p.read_bytes()]

    with sqlite.writing() as session:
        session.add(someone())
        session.flush()
        session.add(answer(item="comment", value="a very private remark " * 500))
    assert found()
    with sqlite.writing() as session:
        session.delete(session.get_one(Participant, "p-aaaaaaaa"))
    sqlite.tidy()
    assert found() == []


def test_a_name_with_odd_characters_is_a_name(tmp_path: Path) -> None:
    folder = tmp_path / "my study? 50 % & 研究#1"
    database = Database(f"sqlite:///{folder}/study.db")
    with database.writing() as session:
        session.add(someone())
    database.close()
    assert (folder / "study.db").stat().st_size > 0
    again = Database(f"sqlite:///{folder}/study.db")
    assert count(again, Participant) == 1
    again.close()


def test_moments_are_texts_that_sort(caplog: pytest.LogCaptureFixture) -> None:
    early = datetime(2026, 1, 1, 23, 30, tzinfo=timezone(timedelta(hours=-2)))
    late = datetime(2026, 1, 2, 2, 0, tzinfo=UTC)
    assert utc_text(early) == "2026-01-02T01:30:00.000+00:00"
    assert utc_text(early) < utc_text(late) < utc_now()


def test_a_talk_begins_with_nothing_counted(database: Database) -> None:
    with database.writing() as session:
        session.add(someone())
        session.flush()
        session.add(
            talk := Talk(participant="p-aaaaaaaa", position=1, session=1, task="t", system="duplex", label="A",
                         recording="x.jsonl", began_at=utc_now())
        )  # fmt: skip
    with database.reading() as session:
        row = session.get_one(Talk, talk.id)
        assert (row.seconds, row.turns, row.interruptions, row.ended) == (0.0, 0, 0, False)


def test_what_failed_is_logged_as_an_error(sqlite: Database, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR), pytest.raises(DatabaseAway), sqlite.writing() as session:
        session.execute(text("SELECT * FROM strangers WHERE name = :name"), {"name": "a secret"})
    assert "no such table" in caplog.text
    assert "a secret" not in caplog.text
