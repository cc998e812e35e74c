import json

import pytest

from duplex_runtime.errors import BadInput
from webapp.study.power import _differences, _shares, needed, powers, run


@pytest.mark.parametrize(("difference", "expected"), [(0.5, (19, 59, 88)), (0.7, (38, 89, 99))])
def test_it_finds_the_published_power_of_paired_ratings(difference: float, expected: tuple[int, ...]) -> None:
    """Of paired t tests, standard deviation 1.5; the Wilcoxon test has about the same."""
    found = powers(difference, 1.5, (14, 48, 96), runs=1500)
    assert [100 * each.alone for each in found] == pytest.approx(expected, abs=4.5)


def test_without_a_difference_it_finds_one_in_twenty() -> None:
    (found,) = powers(0.0, 1.5, (48,), scales=5, runs=4000)
    assert found.alone == pytest.approx(0.05, abs=0.012)
    assert found.first_of_many == pytest.approx(0.01, abs=0.006)


def test_ratings_have_the_difference_and_the_deviation_that_were_asked_for() -> None:
    for difference, sd in ((0.5, 1.5), (-1.0, 1.2), (0.0, 2.5), (0.3, 0.8)):
        values, shares = _shares(difference, sd)
        mean = values @ shares
        assert (mean, (values**2 @ shares - mean**2) ** 0.5) == pytest.approx((difference, sd), abs=0.01)
        assert shares.sum() == pytest.approx(1) and min(shares) >= 0


def test_needed_is_where_80_per_cent_begin() -> None:
    number = needed(1.0, 1.5, runs=1000)
    assert number is not None and 17 <= number <= 24
    least, enough = powers(1.0, 1.5, (number - 2, number + 2), runs=1000)
    assert least.alone <= 0.82 and enough.alone >= 0.79
    after_holm = needed(1.0, 1.5, scales=5, runs=1000)
    assert after_holm is not None and after_holm > number
    assert needed(0.0, 1.5, runs=100) is None


def test_the_seed_decides() -> None:
    assert powers(0.5, 1.5, (20,), runs=300, seed=1) == powers(0.5, 1.5, (20,), runs=300, seed=1)
    assert (_differences(0.5, 1.5, 20, 300, 1) != _differences(0.5, 1.5, 20, 300, 2)).any()
    assert (_differences(0.5, 1.5, 20, 300, 1) == _differences(0.5, 1.5, 30, 300, 1)[:, :20]).all()


@pytest.mark.parametrize(
    ("difference", "sd", "participants", "said"),
    [
        (0.5, 0.0, (48,), "expected points"),
        (5.0, 1.5, (48,), "expected points"),
        (float("nan"), 1.5, (48,), "expected points"),
        (0.5, float("inf"), (48,), "expected points"),
        (3.9, 3.9, (48,), "no ratings from 1 to 7"),
        (0.5, 1.5, (2,), "--participants: expected numbers from 3"),
        (0.5, 1.5, (48, 10**9), "--participants: expected numbers from 3"),
    ],
)
def test_what_cannot_be(difference: float, sd: float, participants: tuple[int, ...], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        powers(difference, sd, participants, runs=100)


def test_the_last_line_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(1.5, 1.5, (10, 14), scales=3, runs=200, seed=0) == 0
    out = capsys.readouterr().out.splitlines()
    found = json.loads(out[-1])
    assert set(found["power"]) == {"10", "14"} and set(found["needed"]) == {"1", "3"}
    assert any("80 % power for one scale" in line for line in out)
