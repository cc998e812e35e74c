import json
from pathlib import Path

import pytest

from duplex_runtime.errors import BadInput
from tests.study_files import THREE, study
from webapp.study.database import Database
from webapp.study.simulate import KINDS, coverage, fill, intervals_of, mark_of, run, shares_held, truth_of
from webapp.study.truth import Truth


def test_intervals_hold_the_truth(tmp_path: Path) -> None:
    covers = coverage(study(tmp_path), runs=5, careful=40, seed=2, workers=1)
    assert {cover.kind for cover in covers} == set(KINDS)
    assert len(covers) == 3 * 5 + 1 + 3
    assert all(cover.runs == 5 for cover in covers)
    shares = shares_held(covers)
    assert list(shares) == list(KINDS)
    # of 25 or 5 intervals: one that holds the truth in nine cases of ten is hardly ever below
    assert all(share >= 0.8 for kind, share in shares.items() if kind != "blinding" and kind != "bradley_terry")
    assert sum(cover.held for cover in covers) / sum(cover.runs for cover in covers) > 0.88


@pytest.mark.parametrize("excluded", [True, False])
def test_the_careless_pull_differences_to_nothing_unless_they_are_excluded(tmp_path: Path, excluded: bool) -> None:
    made = study(tmp_path, *(() if excluded else (("attention_failed = 2", "attention_failed = 0"),)))
    half = Truth(careless=0.6, withdraws=0, leaves=0, looks=0)
    covers = coverage(made, runs=3, careful=40, seed=2, workers=1, truth=half)
    found = {cover.of: cover for cover in covers if cover.kind == "mean_difference"}
    assert found["responsiveness, duplex - strict"].held == (3 if excluded else 0)


def test_the_seed_decides_and_the_number_of_processes_does_not(tmp_path: Path) -> None:
    made = study(tmp_path)
    alone = coverage(made, runs=2, careful=10, seed=1, workers=1)
    assert coverage(made, runs=2, careful=10, seed=1, workers=2) == alone
    assert coverage(made, runs=2, careful=10, seed=2, workers=1) != alone


def test_three_systems_have_three_differences(tmp_path: Path) -> None:
    made = study(
        tmp_path,
        *THREE,
        (
            'scales = ["responsiveness", "faithfulness", "factuality", "human_likeness", "overall"]',
            'scales = ["overall"]',
        ),
    )
    covers = coverage(made, runs=1, careful=12, workers=1)
    of = [cover.of for cover in covers if cover.kind == "mixed_model"]
    assert of == ["overall, duplex - barge-in", "overall, duplex - strict", "overall, barge-in - strict"]
    truths = {cover.of: cover.truth for cover in covers if cover.kind == "bradley_terry"}
    assert truths == {"duplex": pytest.approx(0.8), "barge-in": pytest.approx(0.3)}


def test_every_interval_has_a_truth(tmp_path: Path) -> None:
    made = study(tmp_path)
    truth = Truth()
    assert truth_of(made, truth, "mixed_model", "overall, duplex - strict") == 0.5
    assert truth_of(made, truth, "blinding", "began with strict") == pytest.approx(0.2)
    assert truth_of(made, truth, "mean_difference", "factuality, duplex - strict") == 0
    assert intervals_of([], {}, []) == {}


def test_the_last_line_is_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(study(tmp_path), runs=1, careful=12, seed=3) == 0
    *table, last = capsys.readouterr().out.splitlines()
    assert "Hodges-Lehmann shift" in "\n".join(table)
    found = json.loads(last)
    assert set(found["coverage"]) == set(KINDS) and (found["runs"], found["participants"], found["seed"]) == (1, 12, 3)


# — a study is filled —


def test_filling_says_who_came_and_leaves_a_mark(tmp_path: Path) -> None:
    made = study(tmp_path, *THREE)
    assert mark_of(made.folder) is None
    database = Database(made.database_url)
    came = fill(made, database, Truth(), careful=3, seed=9)
    assert came["careful"] == 3
    mark = mark_of(made.folder)
    assert mark and (mark["seed"], mark["participants"]) == (9, 3)
    assert mark["truth"]["strengths"]["duplex"] == 0.8
    assert len(list(made.recordings.glob("*.jsonl"))) >= 3 * 3 * 3
    database.close()


def test_real_and_simulated_people_are_never_mixed(tmp_path: Path) -> None:
    made = study(tmp_path)
    database = Database(made.database_url)
    fill(made, database, Truth(), careful=1, seed=1)
    with pytest.raises(BadInput, match="expected a study without participants"):
        fill(made, database, Truth(), careful=1, seed=1)
    database.close()
