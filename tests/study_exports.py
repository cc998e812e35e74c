"""A study in which somebody of every kind has been, for what is exported of it.

crowd = Crowd(tmp_path)
crowd.open, crowd.shy          # finished; agreed to publishing, or did not
"""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

from pyarrow import parquet
from sqlalchemy import update

from tests.study_fakes import PROLIFIC, VOICE, Change, Visitor, fill, quick_study, rows
from webapp.study.database import Database, Participant, Talk
from webapp.study.service import Service

#: Comments that a spreadsheet, a reader of CSV or a page may stumble over.
NASTY = '=HYPERLINK("http://x.invalid","a")\r\n"two", lines; <b>|\u202e你好 🐝'
LEFT = "a private remark of somebody who left"
SHY = "a remark that is not to be published"


class Crowd:
    """open, shy: finished; the first agreed to publishing and to recording the voice. stopped: agreed to publishing and
    did not finish. excluded: by the researcher, and agreed to publishing. withdrawn, looker: as they say."""

    def __init__(self, folder: Path, *changes: Change) -> None:
        self.study = quick_study(folder / "study", *PROLIFIC, *VOICE, *changes)
        self.database = Database(self.study.database_url)
        self.service = Service(self.study, self.database)
        self.open = self._visitor("open", True, NASTY)
        self.shy = self._visitor("shy", False, SHY)
        self.stopped = self._visitor("stopped", True, "", "rate-1")
        self.excluded = self._visitor("excluded", True, "@excluded")
        self.withdrawn = self._visitor("withdrawn", True, LEFT)
        self.service.withdraw(self.withdrawn.token)
        self.looker = Visitor(self.service, PROLIFIC_PID="prolific-looker")
        self._exclude(self.excluded)

    def _visitor(self, name: str, publish: bool, comment: str, until: str = "done") -> Visitor:
        visitor = Visitor(self.service, PROLIFIC_PID=f"prolific-{name}", STUDY_ID="s", SESSION_ID="t")
        visitor.answer({"agree": True, "publish": publish, "audio": publish})
        visitor.service.note(
            visitor.token, "device", {"step": "device", "agent": "Mozilla of Ann", "width": 9_876_543_210}
        )
        visitor.service.note(visitor.token, "blur", {"step": "hidden words", "to": "mail"})
        visitor.go_to("rate-1")
        if until == "done":
            visitor.answer(fill(visitor.state["step"]) | ({"comment": comment} if comment else {}))
            visitor.go_to("about")
            visitor.answer({"age": 41, "gender": "other"})
        return visitor

    def _exclude(self, visitor: Visitor) -> None:
        values = {"status": "excluded", "excluded_because": "a colleague"}
        with self.database.writing() as session:
            session.execute(update(Participant).where(Participant.id == visitor.id).values(**values))

    def talks(self, visitor: Visitor) -> list[Talk]:
        """In the order in which they were held."""
        return sorted(rows(self.service, Talk, participant=visitor.id), key=lambda talk: int(talk.id))

    def close(self) -> None:
        self.database.close()


def csv_of(folder: Path, table: str) -> list[dict[str, str]]:
    """Rows of a table, texts as a spreadsheet would have them."""
    with (folder / "csv" / f"{table}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def jsonl_of(folder: Path, table: str) -> list[dict[str, Any]]:
    lines = (folder / "jsonl" / f"{table}.jsonl").read_text(encoding="utf-8").split("\n")
    return [json.loads(line) for line in lines if line]


def parquet_of(folder: Path, table: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = parquet.read_table(folder / "parquet" / f"{table}.parquet").to_pylist()
    return found
