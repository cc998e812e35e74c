from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.study_exports import LEFT, SHY, Crowd
from tests.study_files import study
from webapp.study.database import Database
from webapp.study.export import Options, export
from webapp.study.roll import exports_with, roll_of


@pytest.fixture
def crowd(tmp_path: Path) -> Iterator[Crowd]:
    crowd = Crowd(tmp_path / "crowd")
    yield crowd
    crowd.close()


def test_it_says_who_is_where_and_nothing_that_they_said(crowd: Crowd) -> None:
    table = roll_of(crowd.study, crowd.database)
    rows = {row[0]: row[1:3] for row in table.rows}
    assert rows[crowd.open.id] == ("completed", "done")
    assert rows[crowd.stopped.id] == ("consented", "rate-1")
    assert rows[crowd.looker.id] == ("begun", "consent")
    assert (rows[crowd.withdrawn.id][0], rows[crowd.excluded.id][0]) == ("withdrawn", "excluded")
    assert [row[3] for row in table.rows] == sorted(str(row[3]) for row in table.rows)
    text = table.text()
    assert "1 begun, 2 completed, 1 consented, 1 excluded, 1 withdrawn." in text
    assert not [word for word in (LEFT, SHY, "HYPERLINK", "prolific", "41") if word in text.replace(":41", "")]


def test_nobody_has_come_yet(tmp_path: Path) -> None:
    empty = study(tmp_path)
    database = Database(empty.database_url)
    assert "Nobody has come yet" in roll_of(empty, database).text()
    database.close()


def test_exports_that_somebody_is_in_are_found(crowd: Crowd) -> None:
    folder = crowd.study.folder
    public = export(crowd.study, crowd.database, folder / "export", Options()).folder
    everybody = export(crowd.study, crowd.database, folder / "mine", Options("all")).folder
    assert exports_with(crowd.study, crowd.open.id) == [public, everybody]
    assert exports_with(crowd.study, crowd.shy.id) == [everybody]
    assert exports_with(crowd.study, crowd.withdrawn.id) == []
    (everybody / "export.json").write_text("{")
    assert exports_with(crowd.study, crowd.withdrawn.id) == [everybody]
