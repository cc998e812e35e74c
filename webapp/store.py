"""What lasts: ratings in SQLite, one recording a session beside it.

store = Store(Path("data"))
recording = store.recording(session_id)
store.add_rating(Rating(...))           # on disk when it returns
"""

from __future__ import annotations

import re
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from duplex_runtime.errors import BadInput, DuplexError
from duplex_runtime.events import SYSTEMS

MAX_COMMENT = 4000
_SESSION = re.compile(r"[A-Za-z0-9_-]{8,64}")
_SCHEMA = """
CREATE TABLE IF NOT EXISTS ratings (
    id INTEGER PRIMARY KEY,
    session TEXT NOT NULL,
    system TEXT NOT NULL CHECK (system IN ('duplex', 'turns')),
    responsiveness INTEGER NOT NULL CHECK (responsiveness BETWEEN 1 AND 7),
    human_likeness INTEGER NOT NULL CHECK (human_likeness BETWEEN 1 AND 7),
    comment TEXT NOT NULL,
    recording TEXT NOT NULL,
    created_at TEXT NOT NULL
)
"""


@dataclass(frozen=True)
class Rating:
    """One person's judgement of one system in one session, on scales of 1 to 7."""

    session: str
    system: str
    responsiveness: int
    human_likeness: int
    comment: str = ""

    @staticmethod
    def parse(session: str, value: Any) -> Rating:
        """A rating from outside; raises BadInput."""
        if not isinstance(value, dict):
            raise BadInput("expected a JSON object with system, responsiveness, human_likeness and comment")
        if value.get("system") not in SYSTEMS:
            raise BadInput(f"system: expected one of {', '.join(SYSTEMS)}, got {str(value.get('system'))[:40]!r}")
        for scale in ("responsiveness", "human_likeness"):
            number = value.get(scale)
            if isinstance(number, bool) or not isinstance(number, int) or not 1 <= number <= 7:
                raise BadInput(f"{scale}: expected a whole number from 1 to 7, got {str(number)[:40]!r}")
        comment = value.get("comment", "")
        if not isinstance(comment, str) or len(comment) > MAX_COMMENT:
            raise BadInput(f"comment: expected text of at most {MAX_COMMENT} characters")
        comment = comment.encode("utf-8", "replace").decode()
        return Rating(session, value["system"], value["responsiveness"], value["human_likeness"], comment)


class Recording:
    """A log file that never ends a conversation: what cannot be written is told once, and the talk goes on."""

    def __init__(self, path: Path, failed: Callable[[DuplexError], None]) -> None:
        self._path, self._failed, self._lock = path, failed, threading.Lock()
        self._file = path.open("a", encoding="utf-8", errors="replace")
        self.broken = False

    def write(self, text: str) -> int:
        """Append whole lines."""
        with self._lock:
            if not self.broken:
                try:
                    self._file.write(text)
                except (OSError, ValueError) as error:
                    self._break(error)
        return len(text)

    def flush(self) -> None:
        """Hand the lines to the system."""
        with self._lock:
            if not self.broken:
                try:
                    self._file.flush()
                except (OSError, ValueError) as error:
                    self._break(error)

    def _break(self, error: Exception) -> None:
        self.broken = True
        self._failed(
            DuplexError(
                "recording_stopped",
                f"this talk is no longer recorded ({error}); what was recorded so far is kept. Free some disk space.",
            )
        )

    def discard(self) -> None:
        """Close and delete: the talk never began."""
        self.close()
        self._path.unlink(missing_ok=True)

    def close(self) -> None:
        """Close the file; a second time does nothing."""
        with self._lock:
            self.broken = True
            with suppress(OSError):
                self._file.close()


class Store:
    """The data folder: `ratings.db` and `recordings/SESSION.jsonl`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._recordings = folder / "recordings"
        self._database = folder / "ratings.db"
        try:
            self._recordings.mkdir(parents=True, exist_ok=True)
            with closing(self._connect()) as connection, connection:
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute(_SCHEMA)
        except (OSError, sqlite3.Error) as error:
            raise DuplexError(
                "storage", f"cannot store ratings in {folder.resolve()}: {error}. Choose another folder with --data."
            ) from None

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._database, timeout=10)
        connection.execute("PRAGMA synchronous = FULL")
        return connection

    def path(self, session: str) -> Path:
        """Where a session's recording is; raises BadInput for what is no session id."""
        if not _SESSION.fullmatch(session):
            raise BadInput("that is not a session id")
        return self._recordings / f"{session}.jsonl"

    def recording(self, session: str, failed: Callable[[DuplexError], None]) -> Recording | None:
        """Begin a session's log; None, told to `failed`, if the disk does not take it."""
        try:
            return Recording(self.path(session), failed)
        except OSError as error:
            failed(DuplexError("recording_stopped", f"this talk is not recorded: {error}"))
            return None

    def add_rating(self, rating: Rating) -> int:
        """Store a rating durably and return its number; raises DuplexError if it is not stored."""
        recording = self.path(rating.session)
        if not recording.exists():
            raise DuplexError("unknown_session", "no talk of that id was held here: reload the page and talk first")
        row = asdict(rating) | {"recording": recording.name, "created_at": datetime.now(UTC).isoformat()}
        try:
            with closing(self._connect()) as connection, connection:
                cursor = connection.execute(
                    f"INSERT INTO ratings ({', '.join(row)}) VALUES ({', '.join('?' * len(row))})",
                    tuple(row.values()),
                )
                return int(cursor.lastrowid or 0)
        except sqlite3.Error as error:
            raise DuplexError(
                "not_stored", f"the rating could not be stored ({error}); nothing is lost, try again in a moment"
            ) from None

    def ratings(self) -> list[dict[str, Any]]:
        """All ratings, oldest first."""
        with closing(self._connect()) as connection:
            connection.row_factory = sqlite3.Row
            return [dict(row) for row in connection.execute("SELECT * FROM ratings ORDER BY id")]
