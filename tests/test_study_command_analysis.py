import argparse
import json
from pathlib import Path

import pytest

from duplex_runtime.errors import BadInput
from tests.study_files import study_file
from webapp.study.command_analysis import add_commands


def run(*arguments: str) -> int:
    parser = argparse.ArgumentParser(prog="duplex study")
    add_commands(parser.add_subparsers(required=True))
    parsed = parser.parse_args(arguments)
    return int(parsed.run(parsed))


def test_a_study_is_simulated_and_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = study_file(tmp_path / "pilot").parent
    assert run("simulate", str(folder), "--participants", "3", "--seed", "5") == 0
    came = json.loads(capsys.readouterr().out)
    assert came["careful"] == 3 and came["came"] >= 3 and came["seed"] == 5
    assert run("report", str(folder)) == 0
    html, markdown = capsys.readouterr().out.split()
    assert Path(html) == folder / "report" / "report.html" and Path(markdown).is_file()
    assert run("report", str(folder / "study.toml"), "--out", str(tmp_path / "elsewhere")) == 0
    assert (tmp_path / "elsewhere" / "report.html").is_file()


def test_many_studies_end_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("simulate", "--runs", "1", "--participants", "10") == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["participants"] == 10 and 0 <= found["coverage"]["mean_difference"] <= 1


def test_power_ends_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("power", "--difference", "1.2", "--participants", "12, 20", "--runs", "100", "--scales", "2") == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert list(found["power"]) == ["12", "20"] and found["power"]["20"][0] > found["power"]["20"][1] - 1e-9


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("simulate",), "expected PATH, a study to fill, or --runs N"),
        (("simulate", "--runs", "0"), "--runs: expected a whole number from 1"),
        (("simulate", "--runs", "5", "--participants", "0"), "--participants: expected a whole number from 1"),
        (("simulate", "--runs", "5", "--seed", "-1"), "--seed: expected a whole number from 0"),
        (("power", "--participants", "14,many"), "--participants: expected numbers with commas"),
        (("power", "--participants", ""), "--participants: expected numbers with commas"),
        (("power", "--runs", "1"), "--runs: expected a whole number from 100"),
        (("power", "--scales", "0"), "--scales: expected a whole number from 1"),
        (("report", "nowhere"), "nowhere"),
    ],
)
def test_what_cannot_be_is_said(
    arguments: tuple[str, ...], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadInput, match=said):
        run(*arguments)


def test_help_needs_no_heavy_library() -> None:
    import subprocess
    import sys

    code = "import webapp.study.command_analysis, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"pandas", "scipy", "statsmodels", "numpy", "sqlalchemy", "torch"} & set(done.stdout.split())
