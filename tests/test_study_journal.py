import json
import logging
import stat
from pathlib import Path
from typing import Any

import pytest

from webapp.study.journal import Journal, journal_of

CONSENT: dict[str, Any] = {"participant": "p-a", "request": "r1", "step": "consent", "answers": {"agree": True}}
RATING: dict[str, Any] = {"participant": "p-a", "request": "r2", "step": "rate-1", "answers": {"comment": "你好\n=1"}}
TALK: dict[str, Any] = {"participant": "p-a", "talk": "talk-1-1", "recording": "x.jsonl"}


def lines(folder: Path) -> list[Any]:
    return [json.loads(line) for line in journal_of(folder, "p-a").read_text(encoding="utf-8").splitlines()]


def test_lines_are_appended_each_once(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journals")
    again = RATING | {"request": "r3"}
    for values in (CONSENT, TALK, RATING, RATING, again, TALK, CONSENT, TALK | {"recording": "y.jsonl"}):
        journal.write(values)
    assert lines(tmp_path / "journals") == [CONSENT, TALK, RATING, TALK | {"recording": "y.jsonl"}]
    assert stat.S_IMODE(journal_of(tmp_path / "journals", "p-a").stat().st_mode) == 0o600


def test_without_consent_nothing_is_written(tmp_path: Path) -> None:
    Journal(tmp_path).write(RATING)
    assert not journal_of(tmp_path, "p-a").exists()


def test_whoever_left_gets_no_line_any_more(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.write(CONSENT)
    journal_of(tmp_path, "p-a").write_bytes(b"")  # what could not be deleted from the mirror leaves an empty one
    journal.write(RATING)
    assert journal_of(tmp_path, "p-a").read_bytes() == b""


def test_a_line_that_was_cut_off_spoils_no_other(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.write(CONSENT)
    with journal_of(tmp_path, "p-a").open("ab") as file:
        file.write(b'{"participant": "p-')
    journal.write(RATING)
    assert json.loads(journal_of(tmp_path, "p-a").read_text(encoding="utf-8").splitlines()[-1]) == RATING


def test_a_disk_that_takes_nothing_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    journal_of(tmp_path, "p-a").mkdir()
    with caplog.at_level(logging.ERROR):
        Journal(tmp_path).write(CONSENT)
    assert "the journal of p-a is not complete" in caplog.text


def test_a_name_reaches_no_other_folder(tmp_path: Path) -> None:
    assert journal_of(tmp_path, "../../etc/p").parent == tmp_path
