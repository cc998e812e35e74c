import json

import pytest

from duplex_runtime.errors import BadInput
from duplex_runtime.evaluation.calibration import Decision, decisions, rates, run
from duplex_runtime.models.engines import torch_engine
from duplex_runtime.models.load import load_model


def test_rates_count_each_kind_of_decision_by_itself() -> None:
    found = [
        Decision(0.9, silent=True, speaking=False),
        Decision(0.2, silent=True, speaking=False),
        Decision(0.4, silent=False, speaking=False),
        Decision(0.6, silent=False, speaking=True),
        Decision(0.5, silent=True, speaking=True),
    ]
    at_half = rates(found, 0.5)
    assert (at_half.silent, at_half.answers, at_half.yields, at_half.goes_on) == (0.5, 1.0, 1.0, 0.0)
    assert at_half.balanced == pytest.approx(0.625)
    assert rates(found, 0.1).silent == 1.0
    assert rates(found, 0.95).silent == 0.0


def test_the_embedded_model_decides_most_held_out_slices_rightly() -> None:
    model = load_model("embedded")
    found = decisions(model, torch_engine(model, 1).network, streams=4)
    assert len(found) > 60
    assert {(d.silent, d.speaking) for d in found} >= {(True, False), (False, False), (False, True)}
    assert rates(found, 0.5).balanced > 0.9
    assert decisions(model, torch_engine(model, 1).network, streams=4) == found  # the same streams each time


def test_run_prints_a_table_and_one_line_of_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("embedded", streams=2) == 0
    *table, last = capsys.readouterr().out.splitlines()
    assert any(line.startswith("threshold") for line in table)
    assert 0 < json.loads(last)["idle_threshold"] < 1


def test_no_streams_is_no_measurement() -> None:
    with pytest.raises(BadInput, match="--streams"):
        run("embedded", streams=0)
