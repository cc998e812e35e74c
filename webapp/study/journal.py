"""What participants did, one line each, in a file a participant: what a study with a mirror has beside its database.

journal = Journal(study.journals)
journal.write(answers_line(row, request, "consent", {"agree": True}, now))        # makes journals/p-abcdefgh.jsonl
journal.write({"participant": "p-abcdefgh", "talk": "talk-1-1", "recording": "….jsonl", …})

The database is what counts. A journal is written after its commit, is only ever appended to, and can be copied while it
grows. There is one for each participant so that a deletion is the deletion of a file. Consent begins
it; nothing is written for whoever has none: they left, or came before the study had a mirror.
"""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from webapp.study.database import Participant

log = logging.getLogger(__name__)

#: What was drawn for a participant, and what they agreed to: in the first line.
_PLACE = (
    "language",
    "consent_version",
    "publish",
    "audio",
    "block",
    "place",
    "arm",
    "order",
    "labels",
    "sides",
    "seed",
)


class Journal:
    """See the module. What the disk does not take is logged, and lost from the journal alone."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, values: dict[str, Any]) -> None:
        """Append a line; none if there is one of the same step or recording already."""
        path = journal_of(self._folder, values["participant"])
        begins = values.get("step") == "consent"
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            file = os.open(path, os.O_WRONLY | os.O_APPEND | (os.O_CREAT if begins else 0), 0o600)
            try:
                before = path.read_bytes()
                # an empty one is that of somebody who left, see `Copies`
                if (before or begins) and not _has(before, values):
                    torn = b"" if before.endswith(b"\n") or not before else b"\n"
                    line = json.dumps(values, ensure_ascii=False).encode("utf-8", "replace")
                    os.write(file, torn + line + b"\n")
            finally:
                os.close(file)
        except FileNotFoundError:
            return
        except OSError as error:
            log.error("the journal of %s is not complete: %s", values["participant"], error.strerror)


def answers_line(row: Participant, request: str, step: str, answers: dict[str, Any], at: str) -> dict[str, Any]:
    """The line of a step that was answered."""
    place = {column: getattr(row, column) for column in _PLACE} if step == "consent" else {}
    return {"participant": row.id, "request": request, "step": step, "answers": answers, "at": at, **place}


def journal_of(folder: Path, participant: str) -> Path:
    """The file of a participant."""
    return folder / f"{Path(participant).name}.jsonl"


def recordings_in(journal: Path) -> set[str]:
    """Names, without endings, of the recordings that a journal names."""
    return {Path(line["recording"]).stem for line in _lines(journal.read_bytes()) if "recording" in line}


def _has(journal: bytes, values: dict[str, Any]) -> bool:
    lines = _lines(journal)
    return any(key in values and line.get(key) == values[key] for line in lines for key in ("step", "recording"))


def _lines(journal: bytes) -> list[dict[str, Any]]:
    """All but what was cut off while it was written."""
    return [json.loads(line) for line in journal.split(b"\n") if line.endswith(b"}")]
