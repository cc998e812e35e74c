"""Quantiles, slopes and tables of load tests."""

import pytest

from webapp.load.figures import quantile, shown, slope, spread


def test_a_quantile_is_one_of_the_values() -> None:
    values = [float(n) for n in range(100, 0, -1)]
    assert [quantile(values, share) for share in (0.5, 0.9, 0.99, 1.0)] == [50, 90, 99, 100]
    assert quantile([3.0], 0.01) == 3.0
    assert quantile([], 0.5) is None


def test_a_spread_has_four_quantiles() -> None:
    assert spread([0.1, 0.3, 0.2], "late_s") == {
        "late_s_p50": 0.2, "late_s_p90": 0.3, "late_s_p95": 0.3, "late_s_p99": 0.3,
    }  # fmt: skip
    assert set(spread([], "late_s").values()) == {None}


def test_a_slope_is_found_in_noise() -> None:
    noise = (4.0, -4.0, -4.0, 4.0)
    assert slope((x, 7.0 * x + noise[x % 4]) for x in range(400)) == pytest.approx(7.0, abs=0.01)
    assert slope([(1.0, 2.0), (1.0, 3.0)]) is None
    assert slope([]) is None


def test_a_table_shows_what_is_unknown_and_what_went_wrong() -> None:
    text = shown("people", {"failed": 2, "queue_s_p50": None, "why": {"cut": 2}, "closed": {}})
    rows = ["  failed       2", "  queue_s_p50  –", "  why          cut: 2", "  closed       none"]
    assert text.splitlines() == ["people", *rows]
