"""The panel from scenarios to tables, and from recordings."""

import json
from pathlib import Path
from typing import Any

import pytest
from test_conduct import Named

from duplex_runtime.errors import BadInput
from duplex_runtime.evaluation import conduct, panel
from webapp.cli import main


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Scenarios for the fake models, and these in the place of real ones."""
    models: Any = {name: Named(name) for name in ("duplex", "turns")}
    monkeypatch.setattr(conduct, "load_systems", lambda name: models)
    scenarios = tmp_path / "scenarios"
    scenarios.mkdir()
    (scenarios / "hello.txt").write_text("situation  smooth\n0.5-1 s  turn  Hello.\ndone 1 s  turn  Goodbye.\n")
    (scenarios / "stop.txt").write_text(
        "situation  stop\n0.5 s  turn  Please count.\nanswer 2-3 s  backchannel  mm-hm\nanswer 5-6 s  stop  Stop.\n"
    )
    return scenarios


def run(folder: Path, **options: Any) -> Any:
    return panel.run("embedded", seeds=6, folder=folder, workers=1, **options)


def test_tables_pictures_and_the_eight_names(folder: Path) -> None:
    result = run(folder)
    assert set(result.figures) == {"duplex", "strict", "barge-in"}
    assert result.figures["duplex"]["R_R"] == 1.0
    assert result.figures["barge-in"]["L_Y"] is None or result.figures["barge-in"]["L_Y"] < 0.3
    assert [p.name for p in result.pictures] == ["eight", "offsets"]
    assert result.tables[0].rows[0][0] == "L_R ↓"
    assert result.missing == ()


def test_two_runs_give_the_same_numbers(folder: Path) -> None:
    first, second = run(folder), run(folder)
    assert first.figures == second.figures
    assert first.tables == second.tables
    assert first.pictures == second.pictures


def test_a_bad_scenario_is_missing_and_the_others_run(folder: Path) -> None:
    (folder / "bad.txt").write_text("situation  stop\n1 s  shout  Hello.\n")
    result = run(folder, systems=("duplex",))
    assert result.figures["duplex"]["R_R"] == 1.0
    assert len(result.missing) == 1 and "bad.txt line 2" in result.missing[0]


def test_its_recordings_give_the_same_panel_again(folder: Path, tmp_path: Path) -> None:
    result = run(folder, out=tmp_path / "out")
    again = panel.of_logs([tmp_path / "out" / "recordings"])
    assert again.figures == result.figures
    assert (tmp_path / "out" / "ticks.jsonl").is_file()


def test_a_bad_recording_is_named_and_left_out(folder: Path, tmp_path: Path) -> None:
    run(folder, out=tmp_path / "out")
    logs = tmp_path / "out" / "recordings"
    (logs / "a.jsonl").write_text(
        '{"kind": "header", "system": "duplex", "format": 1}\n{"kind": "input", "system": "duplex"}\n'
    )
    result = panel.of_logs([logs])
    assert len(result.missing) == 1 and "a.jsonl line 2" in result.missing[0]
    with pytest.raises(BadInput, match=r"no talk could be counted: .*a\.jsonl line 2"):
        panel.of_logs([logs / "a.jsonl"])
    with pytest.raises(BadInput, match="expected recordings"):
        panel.of_logs([tmp_path / "scenarios"])


def test_the_command_ends_in_one_json_line(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "out")
    assert (
        main(["bench", "panel", "--scenarios", str(folder), "--seeds", "2", "--systems", "duplex", "--out", out]) == 0
    )
    lines = capsys.readouterr().out.splitlines()
    assert list(json.loads(lines[-1])["duplex"]) == ["L_R", "L_Y", "R_R", "R_Y", "I_A", "S_BC", "S_VT", "S_ND"]
    assert main(["bench", "panel", "--logs", f"{out}/recordings"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == json.loads(lines[-1])
    assert main(["report", "--only-write", "--out", out]) == 0
    assert (tmp_path / "out" / "report.html").is_file()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--seeds", "0"], "expected 1 to 1000, got 0"),
        (["--systems", "psychic"], "got 'psychic'"),
        (["--only", "nonsense"], "got 'nonsense'"),
        (["--scenarios", "/nowhere"], "expected a folder of scenarios"),
        (["--slice-seconds", "99"], "expected 'adaptive' or a number"),
    ],
)
def test_bad_options(options: list[str], message: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = ["bench", "panel", *([] if "--scenarios" in options else ["--scenarios", str(folder)])]
    assert main([*base, *options]) == 2
    assert message in capsys.readouterr().err
