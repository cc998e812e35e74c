"""From a recording of the server to the talk that people watch while they wait."""

import json
from pathlib import Path
from typing import Any

import pytest

from duplex_runtime.errors import BadInput
from duplex_runtime.recording import FORMAT
from webapp import replay
from webapp.replay import replay_of

STATIC = Path(__file__).resolve().parents[1] / "static"


def lines(system: str, *lines: dict[str, Any], **header: Any) -> list[dict[str, Any]]:
    first = {"kind": "header", "format": FORMAT, "model": "m", "slice_seconds": "adaptive", **header}
    return [{**line, "system": system} for line in (first, *lines)]


def typed(at: float, **what: Any) -> dict[str, Any]:
    return {"kind": "input", "at": at, **what}


def told(kind: str, **values: Any) -> dict[str, Any]:
    return {"kind": "event", "event": {"type": kind, **values}}


def recording(folder: Path, *logs: list[dict[str, Any]]) -> Path:
    path = folder / "talk.jsonl"
    path.write_text("\n".join(json.dumps(line) for log in logs for line in log), encoding="utf-8")
    return path


def events(found: dict[str, Any], *kinds: str) -> list[Any]:
    return [(at, event) for at, event in found["events"] if event["type"] in kinds]


def test_keys_become_edits_of_a_text_box_and_what_is_sealed_leaves_it(tmp_path: Path) -> None:
    duplex = lines(
        "duplex",
        typed(0.5, text="hi t"),
        typed(0.7, delete=1),
        typed(0.9, text="you"),
        {"kind": "due", "at": 1.2},
        told("duplex.sealed", characters=3),
        typed(1.5, enter=True),
    )
    found = replay_of(recording(tmp_path, duplex, lines("turns")))
    assert [(at, e["delete"], e["insert"], e["text"]) for at, e in events(found, "client.edit")] == [
        (0.5, 0, "hi t", "hi t"),
        (0.7, 1, "", "hi "),
        (0.9, 0, "you", "hi you"),
    ]
    assert events(found, "client.said") == [(1.2, {"type": "client.said", "text": "hi "})]
    assert events(found, "client.enter") == [(1.5, {"type": "client.enter", "at": 1.5})]


def test_events_of_both_systems_come_when_they_were_told_in_their_order(tmp_path: Path) -> None:
    duplex = lines(
        "duplex",
        {"kind": "output", "at": 2.0, "token": 1, "done": True},
        told("response.output_text.delta", system="duplex", response_id="r", slice=0, delta="w", at=3.5),
        told("duplex.yield", system="duplex", at=2.0),
    )
    turns = lines("turns", {"kind": "output", "at": 1.0, "token": 1, "done": True}, told("response.done", at=1.0))
    found = replay_of(recording(tmp_path, duplex, turns))
    assert [(at, e["type"]) for at, e in found["events"]] == [
        (1.0, "response.done"),
        (2.0, "response.output_text.delta"),
        (2.0, "duplex.yield"),
    ]
    assert found["seconds"] == 5.5, "until two seconds after the last word is to be shown"


def test_the_session_says_how_the_talk_was_held_and_not_whose_it_was(tmp_path: Path) -> None:
    header = {"session": "secret", "slice_seconds": 2.0, "baseline": "barge-in"}
    found = replay_of(recording(tmp_path, lines("duplex", **header), lines("turns", **header)))
    assert "secret" not in json.dumps(found)
    session = found["session"]
    assert (session["model"], session["slice_seconds"], session["baseline"]) == ("m", 2.0, "barge-in")


def test_a_talk_with_one_system_or_by_voice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="expected a recording of duplex and turns, got one of duplex"):
        replay_of(recording(tmp_path, lines("duplex")))
    for spoken in (typed(0.1, speech=True), typed(0.1, text="a ", spoken=True)):
        with pytest.raises(BadInput, match="only typed"):
            replay_of(recording(tmp_path, lines("duplex", spoken), lines("turns")))


def test_a_slow_moment_of_the_server_is_no_fault_of_the_talk(tmp_path: Path) -> None:
    found = replay_of(recording(tmp_path, lines("duplex", typed(0.1, pace=1)), lines("turns")))
    assert found["events"] == []


def test_a_broken_line_is_told_with_its_file(tmp_path: Path) -> None:
    path = recording(tmp_path, lines("duplex", {"kind": "input", "at": "soon", "text": "a"}), lines("turns"))
    with pytest.raises(BadInput, match=r"talk\.jsonl: a line is not of the format"):
        replay_of(path)


def test_what_is_printed_is_the_replay_one_event_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = recording(tmp_path, lines("duplex", typed(0.5, text="é"), typed(0.6, enter=True)), lines("turns"))
    assert replay.main([str(path)]) == 0
    text = capsys.readouterr().out
    assert json.loads(text) == json.loads(json.dumps(replay_of(path)))
    assert len(text.splitlines()) == 4
    with pytest.raises(BadInput, match="expected one recording"):
        replay.main([])


def test_the_one_that_comes_with_the_page_is_of_this_form() -> None:
    found = json.loads((STATIC / "replay.json").read_text(encoding="utf-8"))
    assert set(found) == {"session", "seconds", "events"}
    moments = [at for at, _ in found["events"]]
    assert moments == sorted(moments) and moments[-1] <= found["seconds"]
    assert {"client.edit", "client.said", "duplex.slice", "duplex.yield"} <= {e["type"] for _, e in found["events"]}
