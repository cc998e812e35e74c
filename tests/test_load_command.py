"""`duplex loadtest` on the command line: its options, its last line and its status."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from web_fakes import save_tiny_model

from webapp.cli import main
from webapp.load import abuse, command, server, soak, talks

GOOD = {"people": 1, "p99_over_half_period": 0.2, "failed": 0, "failures": 0}


@contextmanager
def no_server(model: str, folder: Path) -> Iterator[server.Server]:
    yield server.Server(9, 1, folder, folder / "log")


def last_line(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
    return value


def test_help_explains_the_options(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["loadtest", "--help"])
    assert caught.value.code == 0
    said = capsys.readouterr().out
    assert said.startswith("usage: duplex loadtest")
    options = ("people", "ramp", "seconds", "soak", "minutes", "abuse", "only", "kills", "messages", "sessions")
    assert all(f"--{name}" in said for name in options)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["http://example.org"], "on this machine"),
        (["--people", "0"], "--people: expected 1 or more, got 0"),
        (["--ramp", "-1"], "--ramp: expected 0 or more"),
        (["--seconds", "nan"], "--seconds: expected 1 or more, got nan"),
        (["--soak", "--minutes", "0"], "--minutes: expected more than 0"),
        (["--abuse", "http://127.0.0.1:7860"], "leave the URL out"),
        (["--only", "kills"], "parts of --abuse, which is missing"),
    ],
)
def test_what_makes_no_sense_is_an_error(options: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["loadtest", *options]) == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    ("found", "status"),
    [({}, 0), ({"failed": 2}, 1), ({"p99_over_half_period": 1.0}, 1), ({"p99_over_half_period": None}, 0)],
)
def test_the_last_line_is_json_and_the_status_says_whether_all_was_well(
    found: dict[str, Any], status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def load(server: Any, people: int, ramp: float, seconds: float, seed: int) -> dict[str, Any]:
        assert (people, ramp, seconds, seed) == (3, 1.0, 5.0, 7)
        return GOOD | found

    monkeypatch.setattr(server, "own_server", no_server)
    monkeypatch.setattr(talks, "load", load)
    options = ["--people", "3", "--ramp", "1", "--seconds", "5", "--seed", "7"]
    assert main(["loadtest", *options]) == status
    assert last_line(capsys) == GOOD | found


def test_a_soak_tells_a_line_a_minute_and_ends_in_json(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def soaking(server: Any, minutes: float, seed: int, tell: Any) -> dict[str, Any]:
        tell(f"minute 1 of {minutes:g}")
        return GOOD | {"failures": 1}

    monkeypatch.setattr(server, "own_server", no_server)
    monkeypatch.setattr(soak, "soak", soaking)
    assert main(["loadtest", "--soak", "--minutes", "2"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "minute 1 of 2" and lines[-2] == "not as it should be: failures"
    assert json.loads(lines[-1])["failures"] == 1


def test_abuse_can_be_held_in_part(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    asked: list[Any] = []

    def run(*arguments: Any) -> dict[str, Any]:
        asked.append(arguments[:6])
        return {"lost": 0, "doubled": 1}

    monkeypatch.setattr(abuse, "run", run)
    assert main(["loadtest", "--abuse", "--only", "kills", "--only", "fuzz", "--kills", "9", "--messages", "50"]) == 1
    assert asked == [("embedded", ["kills", "fuzz"], 9, 50, 300, 0)]
    assert last_line(capsys) == {"lost": 0, "doubled": 1}
    monkeypatch.setattr(abuse, "run", lambda *arguments: asked.append(arguments[1]) or {})
    assert main(["loadtest", "--abuse"]) == 0
    assert asked[-1] == command.PARTS


@pytest.mark.slow
def test_the_whole_way_with_a_small_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = str(save_tiny_model(tmp_path / "model"))
    assert main(["loadtest", "--model", model, "--people", "2", "--ramp", "0", "--seconds", "3"]) == 0
    found = last_line(capsys)
    assert found["opened"] == 2 and found["failed"] == 0 and found["rss_mb_last"] > 100
    assert main(["loadtest", "--model", model, "--abuse", "--only", "sessions", "--sessions", "6"]) == 0
    assert last_line(capsys)["session_failures"] == 0
