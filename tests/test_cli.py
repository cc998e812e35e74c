import io
import json
import re
import sys
from pathlib import Path

import pytest

from tests.web_fakes import save_tiny_model
from webapp.cli import main

COMMANDS = (
    "serve",
    "chat",
    "play",
    "replay",
    "data",
    "train",
    "average",
    "eval",
    "calibrate",
    "convert",
    "bench",
    "study",
    "report",
    "deploy",
    "doctor",
    "loadtest",
)
TALK = """\
{"at": 0.0, "text": "tell me "}
{"at": 1.5, "text": "about volcanoes?"}
{"at": 1.6, "key": "Enter"}
{"at": 4.0, "text": "stop. "}
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_tiny_model(tmp_path_factory.mktemp("cli") / "model"))


@pytest.fixture
def talk(tmp_path: Path) -> str:
    path = tmp_path / "talk.jsonl"
    path.write_text(TALK)
    return str(path)


def out(capsys: pytest.CaptureFixture[str], *arguments: str, status: int = 0) -> str:
    assert main(arguments) == status
    return capsys.readouterr().out


def error(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line on standard error of a command that gives up."""
    assert main(arguments) == 2
    said = capsys.readouterr()
    assert said.err.startswith("duplex: ") and said.err.count("\n") == 1
    assert not said.out
    return said.err


# — help —


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--help"])
    assert caught.value.code == 0
    said = capsys.readouterr().out
    assert all(command in said for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_and_its_options(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([command, "--help"])
    assert caught.value.code == 0
    said = capsys.readouterr().out
    assert said.startswith(f"usage: duplex {command}")
    lines = said[said.index("options:") :].splitlines()[1:]
    bare = [line for line in lines if line.startswith("  -") and "  " not in line.strip()]
    following = [lines[lines.index(line) + 1] for line in bare if lines.index(line) + 1 < len(lines)]
    assert all(line.startswith("      ") for line in following), "an option without a word of help"


@pytest.mark.parametrize("arguments", [(), ("shout",), ("play",), ("play", "x", "--speed", "2"), ("eval", "nothing")])
def test_what_is_no_command_ends_with_the_usage(arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage: duplex" in capsys.readouterr().err


def test_an_environment_that_makes_no_sense_is_told_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PORT", "abc")
    assert "PORT" in error(capsys, "data", "--rows", "1")


# — play —


@pytest.mark.parametrize("slices", ["adaptive", "1"])
@pytest.mark.parametrize("system", ["duplex", "turns"])
def test_play_prints_what_was_said_and_when(
    system: str, slices: str, model: str, talk: str, capsys: pytest.CaptureFixture[str]
) -> None:
    said = out(capsys, "play", talk, "--model", model, "--system", system, "--slice-seconds", slices)
    slices_said = [line for line in map(json.loads, said.splitlines()) if line["type"] == "slice"]
    assert all({"at", "user", "model", "idle", "p_idle"} <= set(line) for line in slices_said)
    assert "volcanoes?" in " ".join(line["user"] for line in slices_said)
    assert any(line["model"] for line in slices_said)


def test_the_same_seed_gives_the_same_talk_and_another_seed_another(
    model: str, talk: str, capsys: pytest.CaptureFixture[str]
) -> None:
    one, two, other = (out(capsys, "play", talk, "--model", model, "--seed", seed) for seed in ("1", "1", "2"))
    assert one == two
    assert one != other


@pytest.mark.parametrize("seed", ["-1", "9" * 30])
def test_a_seed_out_of_range_is_told_in_words(
    seed: str, model: str, talk: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["play", talk, "--model", model, "--seed", seed]) in (0, 2)
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("bad", ['{"at": 1.0}', "junk", '{"at": -1, "text": "x"}', '{"at": 0, "key": "F1"}', "[]"])
def test_a_bad_line_is_told_with_file_and_number(
    bad: str, model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "talk.jsonl"
    path.write_text(f'{{"at": 0.0, "text": "hello "}}\n{bad}\n')
    assert f"{path} line 2" in error(capsys, "play", str(path), "--model", model)


def test_a_script_that_is_not_there_is_told(model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "nowhere.jsonl" in error(capsys, "play", str(tmp_path / "nowhere.jsonl"), "--model", model)


@pytest.mark.parametrize("slices", ["0", "-1", "nan", "inf", "fast", "1e9", ""])
def test_slices_of_no_sensible_length_are_told(
    slices: str, model: str, talk: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "adaptive" in error(capsys, "play", talk, "--model", model, f"--slice-seconds={slices}")


class Piped:
    """Standard input that is a pipe."""

    def __init__(self, content: bytes) -> None:
        self.buffer = io.BytesIO(content)


def test_play_reads_standard_input(
    model: str, talk: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", Piped(TALK.encode()))
    piped = out(capsys, "play", "-", "--model", model)
    assert piped == out(capsys, "play", talk, "--model", model)


def test_a_bad_line_of_standard_input_is_told_with_its_number(
    model: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = '{"at": 0.0, "text": "one \u2028 line "}\n'.encode()
    monkeypatch.setattr(sys, "stdin", Piped(first + b'{"at": 1.0, "text": "\xff"}\n'))
    assert "line 2" in error(capsys, "play", "-", "--model", model)


class Gone(io.StringIO):
    """Standard output of `duplex play … | head -1`, where the second line finds nobody."""

    def write(self, text: str) -> int:
        if "\n" in self.getvalue():
            raise BrokenPipeError(32, "Broken pipe")
        return super().write(text)


def test_a_reader_who_has_seen_enough_is_no_error(model: str, talk: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with Gone() as output, io.StringIO() as errors, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", output)
        patch.setattr(sys, "stderr", errors)
        assert main(["play", talk, "--model", model]) == 0
        assert errors.closed or not errors.getvalue()


# — replay —


@pytest.mark.parametrize("system", ["duplex", "turns"])
def test_what_play_recorded_replays_until_somebody_changes_it(
    system: str, model: str, talk: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "log.jsonl"
    out(capsys, "play", talk, "--model", model, "--system", system, "--seed", "3", "--record", str(log))
    assert "all the same" in out(capsys, "replay", str(log))
    log.write_text(re.sub(r'"token": (\d)', r'"token": 1\1', log.read_text(), count=1))
    assert "differs" in out(capsys, "replay", str(log), status=1)


def test_a_log_that_is_not_there_is_told(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert "no such log file" in error(capsys, "replay", str(tmp_path / "log.jsonl"))


# — data —


def test_data_build_makes_rows_of_the_corpus(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--rows", "3", "--workers", "1", "--periods", "2", "--out", str(tmp_path / "rows"))
    said = out(capsys, "data", "build", *options)
    assert json.loads(said.splitlines()[-1])["rows"] == 3
    lines = (tmp_path / "rows" / "rows-00000.jsonl").read_text().splitlines()
    for row in map(json.loads, lines):
        assert [line["role"] for line in row["output"]] == ["user", "assistant"] * (len(row["output"]) // 2)
    assert "was made with other settings" in error(capsys, "data", "build", *options, "--seed", "7")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--rows", "-1"), "--rows"),
        (("--source", "nowhere.jsonl"), "hub:OWNER/NAME"),
        (("--kinds", "nod=1"), "expected shares of"),
        (("--periods", "soon"), "--periods like"),
        ((), "how many talks"),
    ],
)
def test_data_build_says_what_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], message: str
) -> None:
    assert message in error(capsys, "data", "build", "--out", str(tmp_path / "rows"), *options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--preset", "huge"), "expected one of embedded"),
        (("--preset", "lora", "--model", "nowhere"), "--model and --data belong together"),
        (("--preset", "lora"), r"expected a preset with [model] and [backbone]"),
    ],
)
def test_train_says_what_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], message: str
) -> None:
    assert message in error(capsys, "train", "--out", str(tmp_path / "run"), *options)


# — the edges —


def test_an_interrupted_command_ends_quietly(monkeypatch: pytest.MonkeyPatch, talk: str) -> None:
    def interrupt(*_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("webapp.play.play", interrupt)
    assert main(["play", talk]) == 130


def test_a_model_that_is_not_there_is_told(talk: str, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (("play", talk), ("bench", "slice"), ("chat",)):
        assert "no model folder" in error(capsys, *arguments, "--model", "nowhere")
