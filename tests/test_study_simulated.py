from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from tests.study_files import THREE, study
from webapp.study.assignment import assign
from webapp.study.simulated import Mind, minds, people_of
from webapp.study.steps import check_answers, failed_checks, way_of
from webapp.study.truth import Truth


@pytest.mark.parametrize("changes", [(), THREE])
def test_their_answers_are_answers(tmp_path: Path, changes: tuple[tuple[str, str], ...]) -> None:
    made = study(tmp_path, *changes)
    for seed in range(8):
        assignment = assign(made, seed)
        mind = Mind(Truth(careless=0.5), np.random.default_rng(seed))
        for step in way_of(made, assignment):
            taken = check_answers(step, mind.answers(step, assignment.order))
            assert {item.key for item in step.items if item.required and not item.only_if} <= set(taken)


def test_the_careless_fail_every_check_and_the_careful_none(tmp_path: Path) -> None:
    made = study(tmp_path)
    steps, order = way_of(made, assign(made, 0)), assign(made, 0).order
    failed = {}
    for share in (0.0, 1.0):
        truth = Truth(careless=share, withdraws=0, leaves=0, looks=0)
        mind = Mind(truth, np.random.default_rng(1))
        failed[mind.kind] = failed_checks(steps, {step.key: mind.answers(step, order) for step in steps})
    assert failed == {"careful": 0, "careless": 2}


def test_they_come_in_the_shares_of_the_truth() -> None:
    truth = Truth(careless=0.2, withdraws=0.1, leaves=0.1, looks=0.1)
    kinds = Counter(mind.kind for mind in minds(truth, 500, seed=0))
    assert kinds["careful"] == 500
    everybody = sum(kinds.values())
    assert everybody == pytest.approx(1000, abs=100)
    assert kinds["careless"] == pytest.approx(0.2 * everybody, abs=50)


def test_the_seed_decides(tmp_path: Path) -> None:
    made = study(tmp_path)
    one, again, other = (list(people_of(made, Truth(), 5, seed)) for seed in (1, 1, 2))
    assert one == again != other


def test_people_stop_where_they_stop(tmp_path: Path) -> None:
    made = study(tmp_path)
    people = list(people_of(made, Truth(careless=0, withdraws=0.3, leaves=0.3, looks=0.2), 10, seed=3))
    by_status = {status: [p for p in people if p.status == status] for status in ("begun", "withdrawn", "consented")}
    assert all(by_status.values())
    assert not any(p.answers or p.talks for status in ("begun", "withdrawn") for p in by_status[status])
    for each in by_status["consented"]:
        assert each.step not in each.answers and each.step != "done" and "consent" in each.answers
    seats = [p.order for p in people if p.order]
    assert abs(2 * seats.count(("duplex", "strict")) - len(seats)) <= made.block
