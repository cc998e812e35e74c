"""The engine benchmark at tiny size: that it measures what it says, not how fast this machine is."""

import json

import pytest
import torch

from duplex_runtime.engine.engine import SlotEngine
from duplex_runtime.engine.fused import FusedNetwork
from duplex_runtime.errors import ModelError
from duplex_runtime.evaluation import peers
from duplex_runtime.evaluation.peers import ROWS, _Bench, continuous, crowd, hour, ratio, reencode, run, slope
from duplex_runtime.layout import EMBEDDED
from duplex_runtime.models.load import LoadedModel
from tests.web_fakes import tiny_loaded


@pytest.fixture(scope="module")
def tiny(one_thread: None) -> LoadedModel:
    return tiny_loaded()  # type: ignore[no-any-return]


def test_the_reference_loop_says_what_the_library_generates(tiny: LoadedModel) -> None:
    ids = _Bench(tiny)._ids(40)
    generated = tiny.network.generate(torch.tensor([ids]), max_new_tokens=6, do_sample=False, eos_token_id=None)
    assert reencode(tiny.network, ids, 6) == generated[0, 40:].tolist()
    assert reencode(tiny.network, ids, 0) == []  # it listened


def test_continuous_batching_answers_every_prompt(tiny: LoadedModel) -> None:
    bench = _Bench(tiny)
    with continuous(tiny.network, [list(bench._ids(20, seed)) for seed in range(3)], 4) as answer:
        answer()
        answer()
    assert tiny.network.config._attn_implementation != "paged|sdpa"  # the model is as it was


def test_ratios_are_medians_of_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([6.0, 2.0, 9.0, 1.0, 4.0, 4.0])
    monkeypatch.setattr(peers, "seconds", lambda work: next(times))
    assert ratio(lambda: None, lambda: None, pairs=3) == (3.0, 6.0, 2.0)


def test_a_slope_is_that_of_the_line() -> None:
    assert slope([(0.0, 5.0), (1.0, 7.0), (2.0, 9.0)]) == pytest.approx(2.0)


def test_an_hour_of_slices_is_computed_for_real_and_stays_within_the_window(tiny: LoadedModel) -> None:
    """1,800 slices of five words and ten tokens: the real engine, the real conversation, a simulated clock."""
    longest = 0

    class Watched(FusedNetwork):
        def forward(self, parts):  # type: ignore[no-untyped-def]
            nonlocal longest
            longest = max(longest, *(part.start + len(part.ids) for part in parts))
            return super().forward(parts)

    engine = SlotEngine(Watched(tiny.network, 1, 1000), EMBEDDED.idle, eos=0)
    times, resident = hour(tiny, engine)
    assert len(times) in (1799, 1800)  # nobody spoke before the first
    assert 400 < longest <= tiny.memory.limit
    assert len(resident) == 90


def test_a_crowd_is_served_and_measured(tiny: LoadedModel) -> None:
    engine = SlotEngine(FusedNetwork(tiny.network, 4, 1000), EMBEDDED.idle, eos=0)
    late = crowd(tiny, engine, 4, warm_seconds=0.1, run_seconds=2.2)
    assert 0 <= late < 2


def test_a_row_that_cannot_be_measured_is_null_with_its_reason(
    tiny: LoadedModel, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(peers, "load_model", lambda name, system: tiny)
    monkeypatch.setattr(peers, "fusible", lambda network: False)

    def no_llama(self: _Bench) -> float:
        raise ModelError("llama.cpp is not installed")

    monkeypatch.setattr(_Bench, "llamacpp", no_llama)
    result = run("tiny", ["batch_16", "floor_cpu", "llamacpp"])
    assert list(result) == ["batch_16", "floor_cpu", "llamacpp", "notes"]
    assert result["batch_16"] > 0
    assert result["floor_cpu"] is result["llamacpp"] is None
    assert any(note.startswith("llamacpp: llama.cpp is not installed") for note in result["notes"])
    table = capsys.readouterr().out
    assert ROWS["batch_16"][0] in table
    assert "—" in table
    json.dumps(result)


def test_every_row_of_the_table_has_its_measurement() -> None:
    assert all(callable(getattr(_Bench, row)) for row in ROWS)
