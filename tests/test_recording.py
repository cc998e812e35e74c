import io
import json
from pathlib import Path
from typing import Any

import pytest
from fakes import FakeEngine, Words, answering, keys

from duplex_runtime.baseline import TurnConversation
from duplex_runtime.clock import SimulatedClock
from duplex_runtime.duplex import DuplexConversation
from duplex_runtime.engine.requests import Sampling
from duplex_runtime.errors import BadInput
from duplex_runtime.events import Cancel, Edit, Enter, Heard, Input, Pace, SpeechEnd, SpeechStart, UserText, Voiced
from duplex_runtime.layout import EMBEDDED
from duplex_runtime.loop import Loop, run_script
from duplex_runtime.recording import (
    Difference,
    Recorder,
    header_of,
    input_from_json,
    input_to_json,
    read_log,
    replay,
    sampling_from,
)

ANSWERS = {"hello": "hi you", "tell me": " ".join(f"w{i}" for i in range(25))}
SCRIPT: list[tuple[float, Input]] = [
    *keys("tell me. "),
    *keys("mm-hm ", 1.5),
    *keys("stop. ", 3.0),
    *keys("hellooo", 6.0),
    (6.5, Edit(2)),
    (6.6, Enter()),
]
KINDS = {"duplex": DuplexConversation, "turns": TurnConversation}


def words() -> Words:
    """A vocabulary that gives the same ids each time."""
    made = Words()
    made.encode("tell me. mm-hm stop. hello hellooo " + " ".join(ANSWERS.values()))
    return made


def record(path: Path, *systems: str) -> None:
    sampling = Sampling(seed=7)
    with path.open("w", encoding="utf-8") as file:
        for system in systems:
            vocabulary, clock = words(), SimulatedClock()
            loop = Loop(FakeEngine(answering(ANSWERS, vocabulary)))
            recorder = Recorder(file, system)
            recorder.header(header_of("fake", sampling, {"slice_seconds": "adaptive"}))
            conversation = KINDS[system](EMBEDDED, vocabulary)
            session = loop.add(conversation, clock, sampling, [recorder])
            run_script(loop, session, SCRIPT, clock)


def differences(path: Path, system: str = "duplex") -> list[Difference]:
    vocabulary = words()
    conversation = KINDS[system](EMBEDDED, vocabulary)
    return list(replay(read_log(path)[system], conversation, FakeEngine(answering(ANSWERS, vocabulary))))


def rewrite(path: Path, change: Any) -> None:
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    change(lines)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "talk.jsonl"
    record(path, "duplex")
    return path


@pytest.mark.parametrize("system", ["duplex", "turns"])
def test_a_recording_replays_to_the_same_tokens(tmp_path: Path, system: str) -> None:
    path = tmp_path / "talk.jsonl"
    record(path, system)
    tokens = [line["token"] for line in read_log(path)[system].lines if line["kind"] == "output"]
    assert len([t for t in tokens if t is not None]) >= 20 or system == "turns"
    assert differences(path, system) == []


def test_two_systems_share_a_file(tmp_path: Path) -> None:
    path = tmp_path / "talk.jsonl"
    record(path, "duplex", "turns")
    assert set(read_log(path)) == {"duplex", "turns"}
    assert differences(path, "duplex") == differences(path, "turns") == []


def test_a_changed_token_is_a_difference(log: Path) -> None:
    def change(lines: list[dict[str, Any]]) -> None:
        said = [line for line in lines if line["kind"] == "output" and line["token"]]
        said[3]["token"] += 1

    rewrite(log, change)
    (difference,) = differences(log)
    assert difference.expected != difference.got
    assert difference.expected[0] == difference.got[0] + 1


def test_a_missing_output_is_a_difference(log: Path) -> None:
    def change(lines: list[dict[str, Any]]) -> None:
        del lines[next(i for i, line in enumerate(lines) if line["kind"] == "output" and line["token"])]

    rewrite(log, change)
    assert differences(log)


def test_another_model_is_a_difference(log: Path) -> None:
    conversation = DuplexConversation(EMBEDDED, words())
    assert list(replay(read_log(log)["duplex"], conversation, FakeEngine()))


def test_a_replay_gives_its_place_back(log: Path) -> None:
    vocabulary = words()
    engine = FakeEngine(answering(ANSWERS, vocabulary), slots=1)
    for _ in range(2):
        conversation = DuplexConversation(EMBEDDED, vocabulary)
        assert list(replay(read_log(log)["duplex"], conversation, engine)) == []


def test_a_last_line_that_was_cut_off_is_dropped(log: Path) -> None:
    whole = read_log(log)["duplex"].lines
    text = log.read_text(encoding="utf-8")
    log.write_text(text[: text.rstrip().rindex("\n") + 12], encoding="utf-8")
    assert read_log(log)["duplex"].lines == whole[:-1]
    assert differences(log) == []


def test_a_last_line_cut_in_the_middle_of_a_character_is_dropped(log: Path) -> None:
    whole = read_log(log)["duplex"].lines
    line = '{"kind": "input", "system": "duplex", "at": 99.0, "text": "🙂'
    log.write_bytes(log.read_bytes() + line.encode()[:-2])
    assert read_log(log)["duplex"].lines == whole


@pytest.mark.parametrize("bad", ["{", "[]", "3", '{"kind": "due"}', '{"system": "duplex"}', "null"])
def test_a_bad_line_is_named_by_its_number(log: Path, bad: str) -> None:
    lines = log.read_text(encoding="utf-8").splitlines()
    lines[4] = bad
    log.write_text("\n".join(lines) + "\n", encoding="utf-8")
    with pytest.raises(BadInput, match=r"talk\.jsonl line 5: expected a JSON object with kind and system"):
        read_log(log)


def test_a_line_before_its_header_is_named(log: Path) -> None:
    lines = log.read_text(encoding="utf-8").splitlines()
    log.write_text("\n".join(lines[1:]) + "\n", encoding="utf-8")
    with pytest.raises(BadInput, match=r"line 1: input of 'duplex' before its header"):
        read_log(log)


def test_an_empty_file_and_no_file_are_refused(tmp_path: Path) -> None:
    empty = tmp_path / "empty.jsonl"
    empty.write_text("\n")
    with pytest.raises(BadInput, match="expected a log with a header line"):
        read_log(empty)
    with pytest.raises(BadInput, match="no such log file"):
        read_log(tmp_path / "none.jsonl")


@pytest.mark.parametrize(
    ("kind", "key", "value"),
    [("input", "text", 3), ("input", "at", "soon"), ("due", "at", None), ("output", "token", [])],
)
def test_a_value_of_the_wrong_kind_is_bad_input_or_a_difference(log: Path, kind: str, key: str, value: Any) -> None:
    def change(lines: list[dict[str, Any]]) -> None:
        next(line for line in lines if line["kind"] == kind)[key] = value

    rewrite(log, change)
    if kind == "output":
        assert differences(log)
    else:
        with pytest.raises(BadInput):
            differences(log)


@pytest.mark.parametrize("sampling", [None, 3, {"heat": 1.0}, "missing"])
def test_a_header_without_good_sampling_is_bad_input(log: Path, sampling: Any) -> None:
    def change(lines: list[dict[str, Any]]) -> None:
        lines[0]["sampling"] = sampling
        if sampling == "missing":
            del lines[0]["sampling"]

    rewrite(log, change)
    with pytest.raises(BadInput, match="sampling"):
        differences(log)


def test_the_header_keeps_the_sampling() -> None:
    sampling = Sampling(0.8, 0.7, 0.4, 11)
    header = json.loads(json.dumps(header_of("embedded", sampling, {"system": "duplex"})))
    assert sampling_from(header) == sampling


@pytest.mark.parametrize(
    "event",
    [
        UserText("a\n🙂"),
        UserText(""),
        UserText("a ", spoken=True),
        Edit(0),
        Edit(7),
        Enter(),
        Cancel(),
        Cancel("duplex-2"),
        Pace(3),
        SpeechStart(),
        SpeechEnd(1.5),
        Voiced(True),
        Heard("duplex-1", 12),
    ],
)
def test_inputs_survive_the_way_to_json_and_back(event: Input) -> None:
    assert input_from_json(json.loads(json.dumps(input_to_json(event)))) == event


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"text": None},
        {"delete": -1},
        {"delete": 1.5},
        {"delete": True},
        {"enter": False},
        {"cancel": 1},
        {"pace": 4},
        {"pace": True},
        {"speech": False},
        {"voiced": 1},
        {"heard": -1, "response_id": "duplex-1"},
        {"heard": 3},
    ],
)
def test_other_inputs_are_refused(value: dict[str, Any]) -> None:
    with pytest.raises(
        BadInput, match=r'expected "text", "delete", "enter", "cancel", "pace", "speech", "voiced" or "heard", got'
    ):
        input_from_json(value)


def test_every_line_is_on_the_disk_at_once(tmp_path: Path) -> None:
    path = tmp_path / "talk.jsonl"
    with path.open("w", encoding="utf-8") as file:
        Recorder(file, "duplex").heard(UserText("hi"), 1.0)
        assert path.read_text(encoding="utf-8").endswith("\n")


def test_half_a_surrogate_pair_does_not_break_the_recording(tmp_path: Path) -> None:
    path = tmp_path / "talk.jsonl"
    with path.open("w", encoding="utf-8") as file:
        recorder = Recorder(file, "duplex")
        recorder.header({})
        recorder.heard(UserText("a\ud83d"), 1.0)
        recorder.heard(UserText("b"), 2.0)
    assert [line["at"] for line in read_log(path)["duplex"].lines] == [1.0, 2.0]


def test_a_line_is_one_line_whatever_is_typed() -> None:
    file = io.StringIO()
    Recorder(file, "duplex").heard(UserText("a\nb\u2028c\x85d\x1e"), 1.0)
    assert file.getvalue().count("\n") == 1
    assert len(file.getvalue().split("\n")) == 2


def test_a_slice_that_was_stopped_and_a_change_of_pace_replay(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    vocabulary, clock = words(), SimulatedClock()
    engine = FakeEngine(answering(ANSWERS, vocabulary))
    loop = Loop(engine)
    with path.open("w", encoding="utf-8") as file:
        recorder = Recorder(file, "duplex")
        recorder.header(header_of("fake", Sampling(), {"slice_seconds": "adaptive"}))
        session = loop.add(DuplexConversation(EMBEDDED, vocabulary), clock, Sampling(), [recorder])
        for event in (UserText("tell me. "), Enter()):
            loop.hear(session, event, 0.0)
        loop.turn()
        loop.turn()
        loop.hear(session, UserText("stop. "), 0.01)  # after two words
        loop.hear(session, Pace(1), 0.01)
        loop.turn()  # the engine ends the slice
        run_script(loop, session, [(9.0, UserText("hello "))], clock)
    text = path.read_text(encoding="utf-8")
    assert text.count('"stopped": true') == 1
    assert '"pace": 1' in text
    assert differences(path) == []
    path.write_text(text.replace(', "stopped": true', ""), encoding="utf-8")
    assert differences(path)
