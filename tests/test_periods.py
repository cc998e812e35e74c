"""Slice periods side by side, on the real small model."""

import pytest

from duplex_runtime.errors import BadInput
from duplex_runtime.evaluation import periods
from duplex_runtime.evaluation.periods import run


def test_every_period_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(periods, "SITUATIONS", ("smooth-capital",))
    monkeypatch.setattr(periods, "PERIODS", ("0.5", "4", "adaptive"))
    result = run("embedded", questions=1, seeds=1, workers=1)
    assert tuple(result.figures) == ("0.5", "4", "adaptive")
    for figures in result.figures.values():
        assert 0 <= figures["right"] <= 1
        assert figures["slices_a_minute"] > 0
    # a fixed slice of 4 s hears later than an adaptive one
    assert result.figures["4"]["reaction_s"] > result.figures["adaptive"]["reaction_s"]
    assert result.figures["0.5"]["slices_a_minute"] > result.figures["4"]["slices_a_minute"]
    assert result.missing == ()


@pytest.mark.parametrize(("questions", "seeds"), [(0, 1), (1, 0)])
def test_bad_numbers(questions: int, seeds: int) -> None:
    with pytest.raises(BadInput, match="--questions and --seeds"):
        run("embedded", questions=questions, seeds=seeds)
