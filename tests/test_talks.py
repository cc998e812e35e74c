"""From a recording to a talk, and what is wrong with recordings."""

import json
from typing import Any

import pytest

from duplex_runtime.errors import BadInput
from duplex_runtime.evaluation.talks import Talk, talk_of
from duplex_runtime.recording import parse_log

HEADER = {"kind": "header", "system": "duplex", "format": 1, "session": "abc"}


def log(*lines: dict[str, Any], **header: Any) -> bytes:
    rows = [HEADER | header, *({"system": HEADER["system"]} | line for line in lines)]
    return "\n".join(json.dumps(row) for row in rows).encode()


def read(*lines: dict[str, Any], **header: Any) -> Talk:
    return talk_of(parse_log(log(*lines, **header), "a.jsonl")["duplex"], "a.jsonl")


def event(kind: str, **values: Any) -> dict[str, Any]:
    return {"kind": "event", "event": {"type": kind, "system": "duplex", **values}}


def created(answer: str = "d-1") -> dict[str, Any]:
    return event("response.created", response={"id": answer}, at=1.0)


def delta(at: float, text: str = " word", answer: str = "d-1", index: int = 0) -> dict[str, Any]:
    return event("response.output_text.delta", response_id=answer, slice=index, delta=text, at=at)


def act(kind: str, begin: float, end: float) -> dict[str, Any]:
    return {"kind": "act", "act": kind, "begin": begin, "end": end, "text": "words"}


def test_pieces_last_as_long_as_they_are_shown() -> None:
    talk = read(
        created(), delta(1.0), delta(1.2), event("response.done", response_id="d-1", status="completed", at=1.4)
    )
    assert [(p.at, round(p.until, 3)) for p in talk.pieces] == [(1.0, 1.2), (1.2, 1.4)]
    assert talk.answers == {"d-1": "completed"}
    slow = read(created(), {"kind": "input", "at": 0.5, "pace": 2}, delta(1.0))
    assert slow.pieces[0].until == pytest.approx(1.4)  # half the speed


def test_spoken_pieces_last_as_long_as_their_letters() -> None:
    talk = read({"kind": "input", "at": 0.0, "voiced": True}, created(), delta(1.0, "ten chars."))
    assert talk.pieces[0].until == pytest.approx(1.6)


def test_what_was_really_heard_counts() -> None:
    heard = {"kind": "input", "at": 3.0, "heard": 5, "response_id": "d-1"}
    talk = read(
        {"kind": "input", "at": 0.0, "voiced": True}, created(), delta(1.0, "12345"), delta(1.3, "67890"), heard
    )
    first, second = talk.pieces
    assert (first.at, first.until) == (1.0, pytest.approx(1.3))
    assert (second.at, second.until) == (3.0, pytest.approx(3.3))  # it was late


def test_what_was_cut_was_not_seen() -> None:
    cut = event("duplex.cut", response_id="d-1", slice=0, at=1.25, unheard=" word word")
    talk = read(created(), delta(1.0), delta(1.2), delta(1.4), delta(3.0, index=1), cut)
    assert [round(p.until, 3) for p in talk.pieces] == [1.2, 1.25]
    assert talk.unheard == ((1.25, "d-1", " word word"),)


def test_words_are_joined_from_pieces() -> None:
    talk = read(created(), delta(1.0, "Bees fl"), delta(1.2, "y."), delta(1.4, " Yes"))
    assert [(w.text, w.at) for w in talk.words] == [("Bees", 1.0), ("fly.", 1.0), ("Yes", 1.4)]


def test_acts_are_those_that_were_meant() -> None:
    typed = {"kind": "input", "at": 1.0, "text": "hello"}
    talk = read(typed, act("tic", 0.5, 1.0), act("turn", 2.0, 3.0))
    assert [(a.kind, a.begin, a.guessed) for a in talk.acts] == [("tic", 0.5, False), ("turn", 2.0, False)]


def test_of_a_real_person_they_are_guessed() -> None:
    def typed(at: float, text: str) -> dict[str, Any]:
        return {"kind": "input", "at": at, "text": text}

    talk = read(
        typed(0.0, "tell"), typed(0.5, "x"), {"kind": "input", "at": 0.6, "delete": 1}, typed(1.0, " me."),
        created(), *(delta(1.5 + 0.2 * n) for n in range(40)),
        typed(4.0, "uh-huh"), typed(7.0, "stop"), typed(12.0, "more"), {"kind": "input", "at": 12.5, "enter": True},
    )  # fmt: skip
    assert [(a.kind, a.text, a.begin, a.end, a.guessed) for a in talk.acts] == [
        ("turn", "tell me.", 0.0, 1.0, True),
        ("backchannel", "uh-huh", 4.0, 4.0, True),
        ("stop", "stop", 7.0, 7.0, True),
        ("turn", "more", 12.0, 12.5, True),
    ]
    assert (talk.scenario, talk.way) == ("abc", "keys")


def test_speech_is_bounded_by_its_sound() -> None:
    talk = read(
        {"kind": "input", "at": 1.1, "speech": True},
        {"kind": "input", "at": 2.0, "text": "hello ", "spoken": True},
        {"kind": "input", "at": 2.6, "speech": False, "ended_at": 2.1},
    )
    assert [(a.begin, a.end) for a in talk.acts] == [(1.1, 2.1)]
    assert talk.way == "speech"


def test_the_baseline_gives_the_name() -> None:
    header = {"kind": "header", "system": "turns", "format": 1, "baseline": "barge-in"}
    found = parse_log(json.dumps(header).encode(), "a")["turns"]
    assert talk_of(found).system == "barge-in"


@pytest.mark.parametrize(
    ("lines", "number", "message"),
    [
        ([{"kind": "due", "at": 5.0}, {"kind": "due", "at": 4.0}], 3, "from 5 s on, got 4 s"),
        ([{"kind": "input", "at": "soon", "text": "a"}], 2, "expected a time in seconds, got 'soon'"),
        ([{"kind": "input", "at": -1, "text": "a"}], 2, "expected a time in seconds, got -1"),
        ([{"kind": "input", "text": "a"}], 2, "as the recorder writes it (KeyError('at'))"),
        ([{"kind": "input", "at": 1.0, "shout": "a"}], 2, '"text", "delete"'),
        ([delta(1.0)], 2, "expected an answer that was created before, got 'd-1'"),
        ([event("duplex.cut", response_id="d-9", slice=0, at=1.0, unheard="")], 2, "created before, got 'd-9'"),
        ([act("dance", 1.0, 2.0)], 2, "expected an act of turn, stop"),
        ([act("turn", 2.0, 1.0)], 2, "ends after it begins"),
        ([{"kind": "event", "event": {"system": "duplex"}}], 2, "KeyError('type')"),
        ([{"kind": "event", "event": 7}], 2, "as the recorder writes it"),
    ],
)  # fmt: skip
def test_a_broken_recording_is_named_with_its_line(lines: list[dict[str, Any]], number: int, message: str) -> None:
    with pytest.raises(BadInput) as caught:
        read(*lines)
    assert str(caught.value).startswith(f"a.jsonl line {number}: ")
    assert message in str(caught.value)


def test_a_talk_that_stops_in_the_middle_is_a_talk() -> None:
    talk = read(created(), delta(1.0))
    assert talk.answers == {}
    assert talk.ended_at == pytest.approx(1.2)


def test_an_empty_recording_is_an_empty_talk() -> None:
    talk = read()
    assert (talk.acts, talk.pieces, talk.ended_at) == ((), (), 0.0)
