import json
from pathlib import Path
from typing import Any

import pytest

from duplex_runtime import events as e
from duplex_runtime.errors import BadInput
from duplex_runtime.events import Edit, Enter, UserText
from tests.web_fakes import shape
from webapp.wire import (
    CLIENT_EVENTS,
    MAX_BYTES,
    MAX_NAME,
    SOUND_EVENTS,
    Ack,
    Played,
    SessionUpdate,
    Sound,
    TooLong,
    Typed,
    error_event,
    on_the_wire,
    opened,
    parse,
)

CASES = json.loads((Path(__file__).parent / "wire_cases.json").read_text(encoding="utf-8"))
CLIENT = [c for c in CASES if c["direction"] == "client"]
VALID = [c for c in CLIENT if not c.get("invalid")]
INVALID = [c for c in CLIENT if c.get("invalid")]
SERVER = [c for c in CASES if c["direction"] == "server" and not c.get("invalid")]


def named(cases: list[dict[str, Any]]) -> Any:
    return pytest.mark.parametrize("case", cases, ids=lambda c: c["name"])


@named(VALID)
def test_every_client_event_of_the_case_file_is_understood(case: dict[str, Any]) -> None:
    parsed = parse(json.dumps(case["event"]))
    kinds = {
        "session.update": SessionUpdate,
        "input_audio_buffer.append": Sound,
        "input_audio_buffer.commit": Sound,
        "duplex.audio.played": Played,
        "duplex.ack": Ack,
    }
    assert isinstance(parsed, kinds.get(case["event"]["type"], Typed))


@named(INVALID)
def test_every_invalid_client_event_is_refused_in_words(case: dict[str, Any]) -> None:
    with pytest.raises(BadInput) as caught:
        parse(json.dumps(case["event"]))
    assert "expected" in str(caught.value)
    assert "got" in str(caught.value) or repr(case["event"].get("type")) in str(caught.value)
    assert len(str(caught.value)) < 400


def test_an_edit_takes_back_first_and_then_types() -> None:
    event = {"type": "duplex.input.edit", "delete": 5, "insert": "😀 été"}
    assert parse(json.dumps(event)) == Typed((Edit(5), UserText("😀 été")))


def test_an_edit_that_changes_nothing_is_nothing() -> None:
    assert parse('{"type": "duplex.input.edit", "delete": 0, "insert": ""}') == Typed(())


def test_enter_is_a_key() -> None:
    assert parse('{"type": "duplex.input.enter"}') == Typed((Enter(),))


def test_a_realtime_client_may_send_a_whole_message() -> None:
    content = [{"type": "input_text", "text": "hello"}, {"type": "input_text", "text": "you."}]
    event = {"type": "conversation.item.create", "item": {"type": "message", "role": "user", "content": content}}
    assert parse(json.dumps(event)) == Typed((UserText("hello you."), Enter()))


@pytest.mark.parametrize(
    "item", [None, {}, [], {"content": []}, {"content": "hi"}, {"content": [{"type": "input_text", "text": 5}]}]
)
def test_a_message_without_text_is_refused(item: Any) -> None:
    with pytest.raises(BadInput, match="expected"):
        parse(json.dumps({"type": "conversation.item.create", "item": item}))


def test_a_session_is_adaptive_unless_it_says_otherwise() -> None:
    update = parse('{"type": "session.update", "session": {"modalities": ["text"]}}')
    assert isinstance(update, SessionUpdate)
    assert update.slicing is None  # as the server does by default


@pytest.mark.parametrize("seconds", [0.25, 1, 10])
def test_a_session_may_cut_time_evenly(seconds: float) -> None:
    update = parse(json.dumps({"type": "session.update", "session": {"slice_seconds": seconds}}))
    assert isinstance(update, SessionUpdate)
    assert update.slicing and not update.slicing.adaptive and update.slicing.period_seconds == seconds


@pytest.mark.parametrize(
    "seconds",
    ["NaN", "Infinity", "-Infinity", "1e999", "0.1", "11", "true", "null", "[]", "{}", '"2"', "1" + "0" * 400],
)
def test_slices_of_no_sensible_length_are_refused(seconds: str) -> None:
    with pytest.raises(BadInput, match="expected"):
        parse(f'{{"type": "session.update", "session": {{"slice_seconds": {seconds}}}}}')


@pytest.mark.parametrize("delete", ["NaN", "Infinity", "true", "1.0", '"1"', "[]"])
def test_an_edit_takes_back_whole_characters(delete: str) -> None:
    with pytest.raises(BadInput, match="expected"):
        parse(f'{{"type": "duplex.input.edit", "delete": {delete}, "insert": ""}}')


def test_taking_back_more_than_all_is_allowed() -> None:
    assert parse(f'{{"type": "duplex.input.edit", "delete": 1{"0" * 400}, "insert": ""}}') == Typed((Edit(10**400),))


@pytest.mark.parametrize(
    "text",
    ["", " ", "null", "[]", "5", '"hi"', "{", '{"type":', "\x00\x01\ufffd\ufffd", "[" * 60_000, '{"a":' * 10_000,
     '{"type": null}', '{"type": 7}', '{"type": ["duplex.input.enter"]}', "9" * 60_000, "\ud800",
     '{"type": "\\ud800"}'],
    ids=lambda t: ascii(t[:16]),
)  # fmt: skip
def test_junk_is_refused_in_words(text: str) -> None:
    with pytest.raises(BadInput, match="expected") as caught:
        parse(text)
    assert len(str(caught.value)) < 400
    json.dumps(error_event(caught.value), ensure_ascii=False)


@pytest.mark.parametrize("letter", ["a", "é", "😀"])
def test_a_message_of_a_megabyte_is_refused_with_its_size(letter: str) -> None:
    text = json.dumps({"type": "duplex.input.edit", "delete": 0, "insert": letter * 250_000}, ensure_ascii=False)
    with pytest.raises(TooLong, match=rf"at most {MAX_BYTES} bytes.* {len(text.encode())}"):
        parse(text)


def test_a_message_may_have_a_number_and_a_name() -> None:
    plain = opened('{"type": "duplex.input.enter"}')
    assert (plain.seq, plain.event_id) == (None, None)
    named = opened('{"type": "duplex.input.enter", "seq": 7, "event_id": "key\\ud800-7"}')
    assert (named.seq, named.event_id) == (7, "key-7")


@pytest.mark.parametrize("extra", ['"seq": 0', '"seq": -1', '"seq": true', '"seq": 1.0', f'"seq": {2**53}',
                                   '"seq": "1"', '"event_id": 5', f'"event_id": "{"x" * (MAX_NAME + 1)}"'])  # fmt: skip
def test_no_other_number_or_name_is_taken(extra: str) -> None:
    with pytest.raises(BadInput, match="expected"):
        opened(f'{{"type": "duplex.input.enter", {extra}}}')


def test_an_error_repeats_the_name_of_what_it_is_about() -> None:
    assert error_event(BadInput("no"), "key-7")["error"]["event_id"] == "key-7"
    assert "event_id" not in error_event(BadInput("no"))["error"]


def test_half_a_surrogate_pair_is_no_character() -> None:
    """What cannot be written to the recording must not reach the model either: the replay would differ."""
    parsed = parse('{"type": "duplex.input.edit", "delete": 0, "insert": "a\\ud800b"}')
    assert parsed == Typed((UserText("ab"),))


def test_the_names_of_unknown_events_are_cut_short() -> None:
    with pytest.raises(BadInput) as caught:
        parse(json.dumps({"type": "x" * 5000}))
    assert len(str(caught.value)) < 400
    assert all(name in str(caught.value) for name in CLIENT_EVENTS)


def test_an_error_is_an_event_with_code_and_message() -> None:
    event = error_event(BadInput("expected this, got that"))
    case = next(c["event"] for c in SERVER if c["name"] == "error")
    assert event["type"] == "error"
    assert shape(case["error"]).items() <= shape(event["error"]).items()
    assert event["error"]["code"] == "bad_input"


EVENTS: list[e.Event] = [
    e.Slice("duplex", 0, 0.4, 1.2, "can you tell", True, 0.97),
    e.Slice("turns", 0, 0.4, 1.2, "can you tell", False, None),
    e.ResponseCreated("duplex", "duplex-1", 2.2),
    e.Delta("duplex", "duplex-1", 1, " Volcanoes", 2.4),
    e.Cut("duplex", "duplex-1", 3, 4.5, " in the ground"),
    e.Yield("duplex", 4.5),
    e.ResponseDone("duplex", "duplex-1", "completed", 9.5),
    e.Reaction("duplex", 2.0, 2.24),
    e.Sealed("duplex", 32),
    e.Deaf("turns", 5.0, "no wait, cats"),
    e.Paced("duplex", 12.5, 1),
]


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.type)
def test_every_server_event_has_the_shape_of_the_case_file(event: e.Event) -> None:
    sent = shape(json.loads(json.dumps(event.to_json())))
    same_type = [shape(c["event"]) for c in SERVER if c["event"]["type"] == event.type]
    if event.type == "duplex.sealed":  # the page does not need the system, but gets it
        sent.pop("system")
    assert sent in same_type


def test_every_type_of_server_event_is_in_the_case_file() -> None:
    in_runtime = {event.type for event in EVENTS}
    others = {"session.created", "session.resumed", "error", "duplex.ping", *SOUND_EVENTS}
    assert {c["event"]["type"] for c in SERVER} == in_runtime | others


@pytest.mark.parametrize("done", [UserText("a"), Edit(2), Enter(), e.Cancel(), e.Cancel("duplex-2")])
def test_what_a_client_does_arrives_as_that(done: e.Input) -> None:
    assert parse(json.dumps(on_the_wire(done))) == Typed((done,))


def test_keys_travel_as_edits() -> None:
    assert on_the_wire(UserText("a")) == {"type": "duplex.input.edit", "delete": 0, "insert": "a"}
    with pytest.raises(BadInput, match="something typed, got SpeechStart"):
        on_the_wire(e.SpeechStart())
