from pathlib import Path
from xml.etree import ElementTree

import pytest

from duplex_runtime.errors import DuplexError
from duplex_runtime.evaluation import pictures
from tests.study_files import study
from tests.study_people import person
from webapp.study.analysis import Findings, findings_of
from webapp.study.drawings import pictures_of
from webapp.study.frames import frames_of


def found(tmp_path: Path, people: int) -> Findings:
    made = study(tmp_path)
    came = [person(f"p-{n}", duplex=5 + n % 3, strict=2 + n % 4) for n in range(people)]
    return findings_of(made, frames_of(made, came))


@pytest.mark.parametrize("people", [1, 8])
def test_pictures_of_what_there_is(tmp_path: Path, people: int) -> None:
    drawn, missing = pictures_of(found(tmp_path, people))
    names = [picture.name for picture in drawn]
    assert missing == () and len(set(names)) == len(names) == 1 + 1 + 5 + 1
    assert {"means", "duplex-strict", "ratings-overall", "preference-duplex-strict"} <= set(names)
    for picture in drawn:
        assert ElementTree.fromstring(picture.svg).tag.endswith("svg")
        assert picture.title in picture.svg


def test_nobody_has_no_pictures(tmp_path: Path) -> None:
    assert pictures_of(found(tmp_path, 0)) == ([], ())


def test_without_matplotlib_it_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object) -> str:
        raise DuplexError("no_pictures", "pictures need matplotlib")

    monkeypatch.setattr(pictures, "intervals", away)
    assert pictures_of(found(tmp_path, 3)) == ([], ("pictures need matplotlib",))
