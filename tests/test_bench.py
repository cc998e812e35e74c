import json
from pathlib import Path

import pytest
import torch

from tests.web_fakes import save_tiny_model
from webapp import bench
from webapp.cli import main


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_tiny_model(tmp_path_factory.mktemp("bench") / "model"))


@pytest.fixture(autouse=True)
def keep_threads() -> object:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def figures(capsys: pytest.CaptureFixture[str]) -> dict[str, float]:
    """The last line, after a table for people."""
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) > 1
    return dict(json.loads(lines[-1]))


def test_the_cost_of_a_slice_ends_in_one_json_line(
    model: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = bench.slice_cost
    monkeypatch.setattr(bench, "slice_cost", lambda name: whole(name, slices=5))
    assert main(["bench", "slice", "--model", model]) == 0
    result = figures(capsys)
    assert 0 < result["listening_slice_ms_p50"] < result["ten_token_slice_ms_p50"] <= result["ten_token_slice_ms_p95"]


def test_the_reaction_is_measured_over_a_real_server(
    model: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    whole = bench.reaction
    monkeypatch.setattr(bench, "reaction", lambda name: whole(name, sentences=1))
    assert main(["bench", "reaction", "--model", model]) == 0
    result = figures(capsys)
    assert result["reaction_answered"] == 1
    assert 0 < result["reaction_s_p50"] < 8


def test_a_model_that_never_answers_still_ends_in_json(
    model: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def silent(name: str) -> dict[str, float]:
        return bench._report_reaction("reaction", [], 3)

    monkeypatch.setattr(bench.peers, "run", lambda name: {"batch_16": 4.0, "notes": ["llamacpp: not installed"]})
    monkeypatch.setattr(bench, "slice_cost", lambda name: {"slice": 1.0})
    monkeypatch.setattr(bench, "reaction", silent)
    monkeypatch.setattr(bench, "screen_reaction", silent)
    monkeypatch.setattr(bench.bench_voice, "run", lambda name, out: {"underruns": 0, "notes": ["flite: missing"]})
    assert main(["bench", "all", "--model", model]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert "NaN" not in last
    result = json.loads(last)
    assert (result["slice"], result["batch_16"]) == (1.0, 4.0)
    assert [note.split(":")[0] for note in result["notes"]] == ["llamacpp", "reaction", "screen", "flite"]
