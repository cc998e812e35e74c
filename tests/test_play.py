import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from duplex_runtime.errors import BadInput
from duplex_runtime.models import load
from duplex_runtime.models.load import Choice
from duplex_runtime.recording import read_log
from tests.web_fakes import FakeModels
from webapp.play import play, replay_log

SCRIPT = [
    {"at": 0.0, "text": "well "},
    {"at": 1.0, "text": "counnt"},
    {"at": 1.1, "key": "Backspace"},
    {"at": 1.2, "key": "Backspace"},
    {"at": 1.3, "text": "t."},
    {"at": 1.4, "key": "Enter"},
    {"at": 6.0, "text": "stop."},
    {"at": 9.0, "text": "goodbye. "},
]


@pytest.fixture(autouse=True)
def models(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(load, "load_model", FakeModels())
    yield


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "talk.jsonl"
    path.write_text("\n".join(map(json.dumps, SCRIPT)), encoding="utf-8")
    return path


def played(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


@pytest.mark.parametrize("slices", ["adaptive", "0.5", "2"])
@pytest.mark.parametrize("system", ["duplex", "turns"])
def test_a_script_is_played_slice_by_slice(
    script: Path, capsys: pytest.CaptureFixture[str], system: str, slices: str
) -> None:
    assert play(str(script), Choice(), system, slices, False, 0, None) == 0
    lines = [line for line in played(capsys) if line["type"] == "slice"]
    assert all({"at", "user", "model", "idle", "p_idle"} <= set(line) for line in lines)
    assert [line["at"] for line in lines] == sorted(line["at"] for line in lines)
    said = "".join(line["model"] for line in lines)
    assert "n0" in said and "n1" in said
    heard = " ".join(" ".join(line["user"] for line in lines).split())
    assert ("well count." in heard) and ("stop." in heard) == (system == "duplex")
    assert ("see" in said) == (system == "duplex"), "who waits got no Enter for the last words"


def test_a_recording_replays(script: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "log.jsonl"
    play(str(script), Choice(), "duplex", "adaptive", False, 7, log)
    assert read_log(log)["duplex"].header["sampling"]["seed"] == 7
    capsys.readouterr()
    assert replay_log(log, None) == 0
    assert "all the same" in capsys.readouterr().out


def test_a_recording_of_fixed_slices_replays(script: Path, tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    play(str(script), Choice(), "duplex", "0.5", False, 0, log)
    assert replay_log(log, None) == 0


def test_real_time_gives_the_same_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "short.jsonl"
    path.write_text('{"at": 0.0, "text": "hel"}\n{"at": 0.1, "text": "lo."}\n')
    log = tmp_path / "log.jsonl"
    assert play(str(path), Choice(), "duplex", "adaptive", True, 0, log) == 0
    assert "hi you" in " ".join(line.get("model", "") for line in played(capsys))
    assert replay_log(log, None) == 0


@pytest.mark.parametrize("text", ["a\ud800 hello. ", "\x00 hello. ", "\u2028 hello. "], ids=ascii)
def test_strange_characters_are_recorded_as_they_were_heard(text: str, tmp_path: Path) -> None:
    path, log = tmp_path / "talk.jsonl", tmp_path / "log.jsonl"
    path.write_text(json.dumps({"at": 0, "text": text}))
    assert play(str(path), Choice(), "duplex", "adaptive", False, 0, log) == 0
    assert replay_log(log, None) == 0


def test_a_recording_that_cannot_be_written_is_told(script: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="--record"):
        play(str(script), Choice(), "duplex", "adaptive", False, 0, tmp_path / "nowhere" / "log.jsonl")


# — recordings that are not what they were —


@pytest.fixture
def log(script: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    path = tmp_path / "log.jsonl"
    play(str(script), Choice(), "duplex", "adaptive", False, 0, path)
    capsys.readouterr()
    return path


def changed(log: Path, change: Any, kind: str = "output") -> Path:
    """The log with a line of a kind put through `change`: the third, or the last if there are fewer."""
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    of_kind = [i for i, line in enumerate(lines) if line["kind"] == kind]
    at = of_kind[min(2, len(of_kind) - 1)]
    change(lines[at])
    log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return log


def test_another_token_is_found(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert replay_log(changed(log, lambda line: line.update(token=(line["token"] or 0) + 1)), None) == 1
    assert "differs at line" in capsys.readouterr().out


def test_another_word_of_the_person_is_found(log: Path) -> None:
    log.write_text(log.read_text().replace("counnt", "goodbb"))
    assert replay_log(log, None) == 1


def test_a_missing_output_is_found(log: Path) -> None:
    lines = log.read_text().splitlines(keepends=True)
    spoken = [i for i, line in enumerate(lines) if '"output"' in line and '"token": null' not in line]
    del lines[spoken[2]]
    log.write_text("".join(lines))
    assert replay_log(log, None) == 1


def test_a_log_that_was_cut_off_replays_as_far_as_it_goes(log: Path) -> None:
    text = log.read_text()
    log.write_text(text[: int(len(text) * 0.7)])
    assert replay_log(log, None) == 0


@pytest.mark.parametrize(
    ("key", "value"),
    [("sampling", None), ("sampling", {"unknown": 1}), ("slice_seconds", None),
     ("slice_seconds", [2]), ("slice_seconds", 10**400), ("system", ["duplex"]), ("format", 99)],
    ids=lambda value: str(value)[:20],
)  # fmt: skip
def test_a_header_of_another_kind_is_told(log: Path, key: str, value: Any) -> None:
    with pytest.raises(BadInput):
        replay_log(changed(log, lambda line: line.update({key: value}), "header"), None)


@pytest.mark.parametrize("key", ["sampling", "slice_seconds", "model", "system"])
def test_a_header_without_what_is_needed_is_told(log: Path, key: str) -> None:
    with pytest.raises(BadInput):
        replay_log(changed(log, lambda line: line.pop(key), "header"), None)


@pytest.mark.parametrize(
    ("kind", "values"),
    [("input", {"text": 5, "delete": "x"}), ("due", {"at": None}), ("output", {"at": "x"}),
     ("input", {"delete": 0, "text": "x" * 30_000})],
    ids=lambda value: str(value)[:30],
)  # fmt: skip
def test_a_line_of_another_kind_is_told(log: Path, kind: str, values: dict[str, Any]) -> None:
    with pytest.raises(BadInput):
        replay_log(changed(log, lambda line: line.update(values), kind), None)


@pytest.mark.parametrize(
    "content", [b"", b"\n\n", b"junk\nmore\n", b"\xff\xfe\x00", b"[]\n{}\n", b"[" * 50_000 + b"\n\n"]
)
def test_a_file_that_is_no_log_is_told(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(content)
    with pytest.raises(BadInput, match=r"log\.jsonl"):
        replay_log(path, None)


def test_a_log_that_is_not_there_is_told(tmp_path: Path) -> None:
    for path in (tmp_path / "log.jsonl", tmp_path):
        with pytest.raises(BadInput, match="no such log file"):
            replay_log(path, None)
