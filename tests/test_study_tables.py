from pathlib import Path
from typing import Any

import pytest

from tests.study_files import THREE, study
from tests.study_people import person
from webapp.study import tables
from webapp.study.analysis import Findings, findings_of
from webapp.study.definition import PAPER_SCALES, Study
from webapp.study.frames import Person, frames_of
from webapp.study.simulated import people_of
from webapp.study.statistics import Estimate
from webapp.study.truth import Truth

DUPLEX, STRICT = (6, 5, 7, 4, 6, 5, 7, 5), (3, 5, 2, 6, 4, 1, 5, 3)


def found(made: Study, *people: Person) -> Findings:
    return findings_of(made, frames_of(made, people))


def rows(table: Any) -> dict[str, tuple[Any, ...]]:
    return {row[0]: row[1:] for row in table.rows}


@pytest.fixture(scope="module")
def eight(tmp_path_factory: pytest.TempPathFactory) -> Findings:
    people = [
        person(f"p-{n}", DUPLEX[n], STRICT[n], begins=("duplex", "strict")[n % 2],
               about={"age": 20 + n, "gender": "woman"} if n else {"gender": "man"})
        for n in range(8)
    ]  # fmt: skip
    others = [
        person("q-1", status="begun", order=()),
        person("q-2", status="withdrawn"),
        person("q-3", failed_checks=2),
        person("q-4", status="consented", step="rate-1", begins="strict"),
        person("q-5", minutes=2.0),
    ]
    return found(study(tmp_path_factory.mktemp("study"), ("min_minutes = 0", "min_minutes = 4")), *people, *others)


def test_texts() -> None:
    assert [tables.p_text(p) for p in (None, 0.0004, 0.001, 0.04567, 1.0)] == [
        None,
        "<0.001",
        "0.001",
        "0.046",
        "1.000",
    ]
    assert tables.with_interval(Estimate(0.123, -0.004, 1.5)) == "0.12 [0.00, 1.50]"
    assert tables.with_interval(Estimate(2.0)) == "2.00" and tables.with_interval(None) is None
    assert tables.named("human_likeness") == "human-likeness"


def test_the_flow_adds_up(eight: Findings) -> None:
    flow = tables.flow(eight)
    assert flow.columns == ("", "all", "began with duplex", "began with strict")
    by = rows(flow)
    assert by["opened the first page"] == (13, None, None)
    assert by["gave consent"] == (12, 7, 5)
    assert by["analysed"] == (8, 4, 4)
    assert by["withdrew, data deleted"] == (1, 1, 0) and by["failed attention checks"] == (1, 1, 0)
    assert by["did not finish"] == (1, 0, 1)
    assert by["gave consent"][0] == sum(row[0] for name, row in by.items() if name not in flow.rows[0] + flow.rows[1])


def test_exclusions_name_who_has_data(eight: Findings) -> None:
    assert tables.exclusions(eight).rows == (
        ("q-3", "failed attention checks", "2 checks failed"),
        ("q-4", "did not finish", "stopped at rate-1"),
        ("q-5", "took too little time", "2.0 minutes, at least 4 needed"),
    )


def test_what_they_said_about_themselves(eight: Findings) -> None:
    numbers, choices = tables.about(eight)
    assert rows(numbers)["age"][:2] == (7, 24.0)
    assert ("gender", "woman", 7) in choices.rows and ("", "man", 1) in choices.rows
    assert [row[2] for row in choices.rows if row[1] == "no answer"] == [0, 8, 8]


def test_ratings_and_comparisons(eight: Findings) -> None:
    table = tables.ratings(eight)
    assert len(table.rows) == 10 and table.rows[0][:3] == ("responsiveness", "duplex", 8)
    assert table.rows[0][6:] == (0, 0, 0, 1, 3, 2, 2)
    models, tests = tables.comparisons(eight)
    assert "Holm over 5 tests" in models.note
    assert rows(tests)["overall"][0] == 8 and rows(tests)["overall"][1].startswith("2.00 [")


def test_what_could_not_be_estimated_says_why(tmp_path: Path) -> None:
    models, tests = tables.comparisons(found(study(tmp_path), person("p-1")))
    assert rows(models)["overall"] == ("fewer than three participants", None, None, None)
    assert rows(tests)["overall"] == (1, "2.00", "2.00", None, None)


def test_three_systems_have_tables_for_every_pair(tmp_path: Path) -> None:
    made = study(tmp_path, *THREE)
    findings = found(made, *people_of(made, Truth(), 12, 1))
    assert [table.title.split(":")[0] for table in tables.comparisons(findings)[::2]] == [
        "duplex minus barge-in", "duplex minus strict", "barge-in minus strict"
    ]  # fmt: skip
    assert len(tables.flow(findings).columns) == 5
    assert [row[0] for row in tables.preferences(findings)[-2].rows] == ["duplex", "barge-in"]


def test_preferences_blinding_and_order(eight: Findings) -> None:
    which, strongly, strengths, unaware = tables.preferences(eight)
    assert which.rows[0][:3] == ("duplex to strict", 8, 4)
    assert strongly.rows == (("duplex", 0, 4, 0), ("strict", 0, 4, 0))
    assert strengths.rows[0][1].startswith("0.00 [") and unaware.rows == which.rows
    assert rows(tables.blinding(eight))["all"] == (0, 0, 8, "0.00")
    order, side = tables.order(eight)
    assert len(order.rows) == 5 and rows(side)["the system that came earlier"][:2] == (8, 8)


def test_the_paper_stands_beside_what_was_asked(tmp_path: Path, eight: Findings) -> None:
    table = tables.paper(eight)
    assert table and set(tables.PAPER) == set(PAPER_SCALES)
    assert rows(table)["responsiveness"][:3] == (3.43, 6.21, 2.78)
    assert "2406.15718" in table.note and "14 participants" in table.note
    without = study(
        tmp_path / "b",
        ('systems = ["duplex", "strict"]', 'systems = ["barge-in", "strict"]'),
        ("guess = true", "guess = false"),
    )
    assert tables.paper(found(without)) is None


def test_no_recordings_no_panel(eight: Findings) -> None:
    (talks,) = tables.measured(eight)
    assert [row[1:] for row in talks.rows] == [(0, None, None, None)] * 2
