"""The study's tables, and the database that holds them: the only place that knows the schema.

database = Database("sqlite:////srv/study/study.db")      # or postgresql://…; on the newest revision when it returns
with database.writing() as session:                       # one transaction, durable when the block has ended
    session.add(Answer(participant="p-abcdefgh", request="…", step="rate-1", item="overall", value=6, at=utc_now()))

Whatever keeps the database from working (locked, full, away, read-only) comes out as `DatabaseAway`; the next
transaction tries again by itself.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import (
    JSON,
    BigInteger,
    Connection,
    Engine,
    ForeignKey,
    MetaData,
    UniqueConstraint,
    create_engine,
    event,
    make_url,
    text,
)
from sqlalchemy.exc import ArgumentError, DBAPIError, DisconnectionError, IntegrityError
from sqlalchemy.exc import OperationalError as Operational
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from sqlalchemy.pool import QueuePool

from duplex_runtime.errors import BadInput, DuplexError

log = logging.getLogger(__name__)

MIGRATIONS = Path(__file__).parent / "migrations"
#: Seconds that a transaction waits for another one, and for a connection.
WAIT_SECONDS = 10


class Base(DeclarativeBase):
    """What the migrations are compared with. Constraints have names, so that a migration can change them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


class Participant(Base):
    """One row a participant. `status`: begun, consented, completed, withdrawn or excluded. `step`: index into the way.
    `way`: "keys" or "speech". `version` counts changes: of two tabs that write at once, one fails.

    `block` to `seed` are those of `Assignment`, None until consent: who only looks in takes nobody's place.
    """

    __tablename__ = "participants"
    id: Mapped[str] = mapped_column(primary_key=True)
    study: Mapped[str] = mapped_column(index=True)
    token_hash: Mapped[str] = mapped_column(unique=True)
    status: Mapped[str] = mapped_column(default="begun")
    step: Mapped[int] = mapped_column(default=0)
    language: Mapped[str]
    way: Mapped[str] = mapped_column(default="keys")
    block: Mapped[int | None]
    place: Mapped[int | None]
    arm: Mapped[int | None]
    order: Mapped[list[str] | None] = mapped_column(JSON(none_as_null=True))
    labels: Mapped[list[str] | None] = mapped_column(JSON(none_as_null=True))
    sides: Mapped[list[int] | None] = mapped_column(JSON(none_as_null=True))
    seed: Mapped[int | None] = mapped_column(BigInteger)
    consent_version: Mapped[str] = mapped_column(default="")
    publish: Mapped[bool] = mapped_column(default=False)
    audio: Mapped[bool] = mapped_column(default=False)
    excluded_because: Mapped[str] = mapped_column(default="")
    created_at: Mapped[str]
    updated_at: Mapped[str]
    version: Mapped[int] = mapped_column()
    __mapper_args__ = {"version_id_col": version}  # noqa: RUF012


class Recruit(Base):
    """Who sent the participant: apart from the rest, so that it can be deleted alone."""

    __tablename__ = "recruits"
    participant: Mapped[str] = mapped_column(ForeignKey("participants.id", ondelete="CASCADE"), primary_key=True)
    source: Mapped[str]
    external_id: Mapped[str] = mapped_column(index=True)
    extra: Mapped[dict[str, str]] = mapped_column(JSON)


class Answer(Base):
    """One answer to one item."""

    __tablename__ = "answers"
    __table_args__ = (UniqueConstraint("participant", "step", "item"), {"sqlite_autoincrement": True})
    id: Mapped[int] = mapped_column(primary_key=True)
    participant: Mapped[str] = mapped_column(ForeignKey("participants.id", ondelete="CASCADE"))
    request: Mapped[str]
    step: Mapped[str]
    item: Mapped[str]
    value: Mapped[Any] = mapped_column(JSON)
    at: Mapped[str]


class Request(Base):
    """A form action that was done: done again, it does nothing."""

    __tablename__ = "requests"
    participant: Mapped[str] = mapped_column(ForeignKey("participants.id", ondelete="CASCADE"), primary_key=True)
    request: Mapped[str] = mapped_column(primary_key=True)
    step: Mapped[str]
    at: Mapped[str]


class Note(Base):
    """What the page saw: focus, blur, hidden, visible, reload, device, problem."""

    __tablename__ = "notes"
    __table_args__ = ({"sqlite_autoincrement": True},)
    id: Mapped[int] = mapped_column(primary_key=True)
    participant: Mapped[str] = mapped_column(ForeignKey("participants.id", ondelete="CASCADE"), index=True)
    kind: Mapped[str]
    detail: Mapped[Any] = mapped_column(JSON)
    at: Mapped[str]


class Talk(Base):
    """One connection in which a talk was held; a talk that was taken up again has several.

    `recording`: a file in the study's recordings. `ended`: the connection was closed in order.
    """

    __tablename__ = "talks"
    __table_args__ = ({"sqlite_autoincrement": True},)
    id: Mapped[int] = mapped_column(primary_key=True)
    participant: Mapped[str] = mapped_column(ForeignKey("participants.id", ondelete="CASCADE"), index=True)
    position: Mapped[int]
    session: Mapped[int]
    task: Mapped[str]
    system: Mapped[str]
    label: Mapped[str]
    recording: Mapped[str]
    seconds: Mapped[float] = mapped_column(default=0.0)
    turns: Mapped[int] = mapped_column(default=0)
    interruptions: Mapped[int] = mapped_column(default=0)
    ended: Mapped[bool] = mapped_column(default=False)
    began_at: Mapped[str]


def utc_now() -> str:
    """Now, as every table holds it: ISO 8601 in UTC, to the millisecond. Texts of later times sort behind."""
    return utc_text(datetime.now(UTC))


def utc_text(moment: datetime) -> str:
    """A moment as the tables hold it."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds")


class DatabaseAway(DuplexError):
    """The database cannot be used just now; nothing of the transaction was kept, and it may be tried again."""

    def __init__(self) -> None:
        super().__init__(
            "database_away", "this could not be stored just now; nothing is lost, please try again in a moment"
        )


class Database:
    """See the module. Safe to use from many threads; raises DuplexError if it cannot be opened and migrated."""

    def __init__(self, url: str) -> None:
        self._engine = _sqlite_engine(url) if url.startswith("sqlite") else _postgres_engine(url)
        self.kind = self._engine.dialect.name
        try:
            self._migrate()
        except Exception:
            self.close()
            raise

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A transaction that only reads; raises DatabaseAway."""
        with _told(), Session(self._engine, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """A transaction that is durable when the block has ended, or undone if it raised.

        Raises DatabaseAway; IntegrityError and StaleDataError where another transaction was quicker.
        """
        with _told(), Session(self._writer, expire_on_commit=False) as session, session.begin():
            yield session

    def alone(self, session: Session, name: str) -> None:
        """Until this transaction ends nobody else does what goes by that name."""
        _lock(session.connection(), name)

    def tidy(self) -> None:
        """After something was deleted: nothing of it stays in SQLite's log."""
        if self.kind == "sqlite":
            with _told(), self._engine.connect() as connection:
                connection.execution_options(isolation_level="AUTOCOMMIT")
                connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    @property
    def _writer(self) -> Engine:
        return self._engine.execution_options(writes=True)

    def _migrate(self) -> None:
        from alembic import command
        from alembic.util import CommandError

        try:
            with _told(), self._writer.begin() as connection:
                _lock(connection, "migrate")
                command.upgrade(alembic_config(connection), "head")
        except DatabaseAway as away:
            raise DuplexError(
                "database", f"cannot open the study's database: {away.__cause__}. Check [storage] database."
            ) from None
        except CommandError as error:
            raise DuplexError(
                "database", f"the study's database was made by another version of Duplex Arena ({error}): update it"
            ) from None


def alembic_config(connection: Connection) -> Any:
    """Alembic's settings for one open transaction; see migrations/env.py."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


@contextmanager
def _told() -> Iterator[None]:
    """What a database can do wrong, as one error; what it said is logged without what was to be stored."""
    try:
        yield
    except IntegrityError:
        raise
    except (DBAPIError, PoolTimeout) as error:
        cause = error.orig if isinstance(error, DBAPIError) else error
        said = str(cause) if isinstance(error, Operational | PoolTimeout) else ""  # others may quote values
        log.error("the study's database failed: %s: %s", type(cause).__name__, " ".join(said.split()))
        raise DatabaseAway from cause


def _lock(connection: Connection, name: str) -> None:
    if connection.dialect.name == "postgresql":  # SQLite has one writer at a time
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": zlib.crc32(name.encode())})


def _postgres_engine(url: str) -> Engine:
    wait = WAIT_SECONDS * 1000
    options = f"-c lock_timeout={wait} -c statement_timeout={2 * wait} -c synchronous_commit=on"
    try:
        parsed = make_url(url.replace("postgres://", "postgresql://", 1))
        if parsed.get_backend_name() != "postgresql":
            raise ArgumentError
        psycopg = parsed.get_driver_name() == "psycopg"
        return create_engine(
            parsed,
            connect_args={"connect_timeout": WAIT_SECONDS, "options": options} if psycopg else {},
            pool_pre_ping=True,  # a server that was started anew is found again
            pool_size=8,
            max_overflow=24,
            pool_timeout=WAIT_SECONDS,
            hide_parameters=True,
        )
    except ArgumentError:
        raise BadInput(
            f"[storage] database: expected sqlite:///FILE or postgresql://USER:PASSWORD@HOST/NAME, got {url[:12]!r}…"
        ) from None
    except ModuleNotFoundError as missing:
        raise BadInput(
            f"[storage] database: PostgreSQL needs {missing.name}: pip install 'duplex-arena[study]'"
        ) from None


def _sqlite_engine(url: str) -> Engine:
    scheme, _, path = url.partition(":///")  # not a URL's path: a folder may have a ? or # in its name
    if scheme != "sqlite" or path in ("", ":memory:"):
        raise BadInput(
            f"[storage] database: expected sqlite:///FILE, got {url[:40]!r}: a study must outlive its server"
        )
    file = Path(path).absolute()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch(mode=0o600)  # what people said is nobody else's
    except OSError as error:
        raise DuplexError("database", f"cannot open the study's database: {error}. Check [storage] database.") from None

    def connect() -> sqlite3.Connection:
        # mode=rw: if the file is taken away, no empty one stands in its place
        address = f"file:{quote(str(file))}?mode=rw"
        return sqlite3.connect(address, uri=True, timeout=WAIT_SECONDS, check_same_thread=False)

    engine = create_engine(
        "sqlite://",
        creator=connect,
        poolclass=QueuePool,
        pool_size=8,
        max_overflow=24,
        pool_timeout=WAIT_SECONDS,
        hide_parameters=True,
    )

    @event.listens_for(engine, "connect")
    def connected(connection: sqlite3.Connection, record: Any) -> None:
        connection.isolation_level = None  # transactions begin when `begin` below says so
        _write_ahead(connection)
        for pragma in ("synchronous = FULL", "foreign_keys = ON", "secure_delete = ON"):
            connection.execute(f"PRAGMA {pragma}").close()
        record.info["file"] = _identity(file)

    @event.listens_for(engine, "checkout")
    def taken(_connection: Any, record: Any, _proxy: Any) -> None:
        # what is written to a file that was deleted or replaced is lost without a word
        if record.info["file"] != _identity(file):
            raise DisconnectionError

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get("writes")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Into WAL mode. SQLite gives up at once where another is about to write the new file, so we wait."""
    end = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL").close()
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > end:
                raise
            time.sleep(0.01)


def _identity(file: Path) -> tuple[int, int]:
    try:
        status = os.stat(file)
    except OSError:
        return (0, 0)
    return (status.st_dev, status.st_ino)
