"""From a recording to a talk, and what is wrong with recordings."""

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from fakes import Bytes, FakeEngine, keys, pairs_of

from duplex_runtime.baseline import TurnConversation
from duplex_runtime.clock import SimulatedClock
from duplex_runtime.duplex import DuplexConversation
from duplex_runtime.engine.requests import Sampling
from duplex_runtime.errors import BadInput
from duplex_runtime.evaluation.talks import Talk, talk_of
from duplex_runtime.events import Cut, Delta, Enter, Event, Heard, Input, Voiced
from duplex_runtime.layout import EMBEDDED
from duplex_runtime.loop import Loop, run_script
from duplex_runtime.recording import Recorder, header_of, parse_log

HEADER = {"kind": "header", "system": "duplex", "format": 1, "session": "abc"}


def log(*lines: dict[str, Any], **header: Any) -> bytes:
    rows = [HEADER | header, *({"system": HEADER["system"]} | line for line in lines)]
    return "\n".join(json.dumps(row) for row in rows).encode()


def read(*lines: dict[str, Any], **header: Any) -> Talk:
    return talk_of(parse_log(log(*lines, **header), "a.jsonl")["duplex"], "a.jsonl")


def event(kind: str, **values: Any) -> dict[str, Any]:
    return {"kind": "event", "event": {"type": kind, "system": "duplex", **values}}


def created(answer: str = "d-1", at: float = 1.0) -> dict[str, Any]:
    return event("response.created", response={"id": answer}, at=at)


def delta(at: float, text: Any = " word", answer: Any = "d-1", index: int = 0) -> dict[str, Any]:
    return event("response.output_text.delta", response_id=answer, slice=index, delta=text, at=at)


def act(kind: str, begin: float, end: float) -> dict[str, Any]:
    return {"kind": "act", "act": kind, "begin": begin, "end": end, "text": "words"}


# — what the real loop records —

TEXT = "Bees live together in hives, where they store honey for the winter, and fly out in spring."


@dataclass
class Seen:
    """An observer that knows times to all their digits; a recording rounds them."""

    deltas: list[Delta] = field(default_factory=list)
    unheard: list[str] = field(default_factory=list)

    def heard(self, event: Input, at: float) -> None: ...

    def asked(self, now: float, request: object) -> None: ...

    def answered(self, output: object, at: float) -> None: ...

    def happened(self, events: Sequence[Event]) -> None:
        for each in events:
            if isinstance(each, Delta):
                self.deltas.append(each)
            elif isinstance(each, Cut):
                self.unheard.append(each.unheard)
                self.deltas = [d for d in self.deltas if d.response_id != each.response_id or d.at <= each.at]

    @property
    def text(self) -> str:
        return "".join(delta.delta for delta in self.deltas)


def spells(stream: list[int]) -> Sequence[int]:
    """A model that says TEXT letter by letter, on from where it was, until it is told to stop."""
    pairs = pairs_of(stream, Bytes())
    if any("stop" in person for person, _ in pairs):
        return ()
    return Bytes().encode(TEXT)[sum(len(said or "") for _, said in pairs) :]


def recorded(system: str, script: Sequence[tuple[float, Input]], **options: Any) -> tuple[Talk, Seen]:
    file, seen, clock = io.StringIO(), Seen(), SimulatedClock()
    recorder = Recorder(file, system)
    baseline = "barge-in" if options.get("barge_in") else "strict"
    recorder.header(header_of("fake", Sampling(), {"slice_seconds": "adaptive", "baseline": baseline}))
    kind: Any = DuplexConversation if system == "duplex" else TurnConversation
    loop = Loop(FakeEngine(spells))
    session = loop.add(kind(EMBEDDED, Bytes(), **options), clock, Sampling(), [recorder, seen])
    run_script(loop, session, script, clock)
    return talk_of(parse_log(file.getvalue().encode(), "real")[system], "real"), seen


@pytest.mark.parametrize("at", [4.0 + n / 10 for n in range(8)])
def test_what_a_model_took_back_was_not_seen(at: float) -> None:
    talk, seen = recorded("duplex", [*keys("go. "), *keys("stop. ", at)])
    assert talk.yields and at < talk.yields[0] < at + 2
    assert "".join(piece.text for piece in talk.pieces) == seen.text  # half a word that was taken back is not in it
    assert TEXT.startswith(seen.text + "".join(seen.unheard))
    assert [text for _, _, text in talk.unheard] == seen.unheard
    assert talk.answers == {"duplex-1": "cancelled"}
    assert (talk.system, talk.way, [a.kind for a in talk.acts]) == ("duplex", "keys", ["turn", "stop"])


@pytest.mark.parametrize("at", [2.2, 3.33, 4.7])
def test_what_was_cut_and_said_again_was_said_once(at: float) -> None:
    talk, seen = recorded("duplex", [*keys("go. "), *keys("mm-hm ", at)])
    assert seen.unheard and "".join(piece.text for piece in talk.pieces) == seen.text == TEXT
    assert talk.answers == {"duplex-1": "completed"}
    assert [w.text for w in talk.words] == TEXT.split()


def test_a_baseline_that_is_broken_into_showed_what_it_showed() -> None:
    script = [*keys("go."), (0.5, Enter()), *keys("stop", 4.0)]
    talk, seen = recorded("turns", script, barge_in=True)
    assert talk.system == "barge-in"
    assert "".join(piece.text for piece in talk.pieces) == seen.text
    last = [piece for piece in talk.pieces if piece.response_id == "turns-1"][-1]
    assert last.until == talk.yields[0] == 4.0
    strict, _ = recorded("turns", script)
    assert (strict.system, strict.yields) == ("strict", ())
    assert "".join(piece.text for piece in strict.pieces) == TEXT
    assert "".join(text for _, text in strict.deaf) == "stop"


@pytest.mark.parametrize("at", [2.4, 3.05, 3.5])
def test_of_an_answer_that_is_spoken_aloud_counts_what_was_heard(at: float) -> None:
    # the sound begins at 1.2 s, 0.4 s later than was thought; the page reports it every 0.2 s
    letters = [(1.2 + n / 5, n / 5 / 0.06) for n in range(20) if 1.2 + n / 5 < at]
    script = [(0.0, Voiced(True)), *keys("go. "), *((when, Heard("duplex-1", int(n))) for when, n in letters)]
    talk, _ = recorded("duplex", [*script, *keys("stop. ", at)])
    heard = "".join(piece.text for piece in talk.pieces)
    cut_at, answer, unheard = talk.unheard[-1]
    assert TEXT.startswith(heard + unheard) and answer == "duplex-1"
    assert heard[-1:] == " " or unheard[:1] == " "  # to the word
    assert heard.split() == TEXT[: round((cut_at - 1.2) / 0.06)].split()[: len(heard.split())]
    assert 0 <= (cut_at - 1.2) / 0.06 - len(heard) < 10  # and as far as the sound was
    assert max(piece.until for piece in talk.pieces) <= cut_at


# — lines written by hand —


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


def test_a_report_of_sound_moves_nothing_that_is_only_shown() -> None:
    talk = read(created(), delta(1.0), {"kind": "input", "at": 3.0, "heard": 0, "response_id": "d-1"})
    assert talk.pieces[0].at == 1.0


def test_sounds_come_one_after_the_other() -> None:
    voiced = {"kind": "input", "at": 0.0, "voiced": True}
    late = {"kind": "input", "at": 2.0, "heard": 0, "response_id": "d-1"}  # 12345 is heard from 2.0 to 2.3
    talk = read(voiced, created(), delta(1.0, "12345"), late, delta(1.3, "67890"))
    assert [(p.text, round(p.at, 3), round(p.until, 3)) for p in talk.pieces] == [
        ("12345", 2.0, 2.3),
        ("67890", 2.3, 2.6),
    ]


def test_what_was_heard_early_or_not_yet_is_told_by_the_reports() -> None:
    voiced = {"kind": "input", "at": 0.0, "voiced": True}

    def report(at: float, letters: int) -> dict[str, Any]:
        return {"kind": "input", "at": at, "heard": letters, "response_id": "d-1"}

    early = read(voiced, created(), delta(1.0, "12345"), delta(1.3, "67890"), report(1.2, 5))
    assert [(round(p.at, 3), round(p.until, 3)) for p in early.pieces] == [(1.0, 1.2), (1.2, 1.5)]
    sooner = read(voiced, created(), delta(1.0, "12345"), delta(1.3, "67890"), report(1.2, 10))
    assert [(p.at, p.until) for p in sooner.pieces] == [(1.0, 1.2), (1.2, 1.2)]
    # the conversation thought that 12345 was heard by 1.6 s; the page had not played it
    cut = event("duplex.cut", response_id="d-1", slice=0, at=1.6, unheard="67890")
    late = read(voiced, created(), delta(1.0, "12345"), report(1.5, 0), report(1.7, 0), delta(1.7, "67890"), cut)
    assert late.pieces == ()


def test_when_the_voice_is_off_words_are_shown_again() -> None:
    off = {"kind": "input", "at": 0.5, "voiced": False}
    talk = read({"kind": "input", "at": 0.0, "voiced": True}, off, created(), delta(1.0, "ten chars."))
    assert talk.pieces[0].until == pytest.approx(1.2)


def test_half_a_word_that_was_shown_was_seen_and_one_that_was_heard_was_not() -> None:
    cut = event("duplex.cut", response_id="d-1", slice=0, at=1.3, unheard=" honey")
    told = (created(), delta(1.0, " make"), delta(1.2, " hon"), delta(1.4, "ey"), cut)
    assert [p.text for p in read(*told).pieces] == [" make", " hon"]
    aloud = read({"kind": "input", "at": 0.0, "voiced": True}, *told)
    assert [p.text for p in aloud.pieces] == [" make"]


def test_rounding_does_not_bring_back_what_was_cut() -> None:
    # 1.2 s less a millionth is 1.2 s in a recording
    cut = event("duplex.cut", response_id="d-1", slice=0, at=1.2, unheard=" honey")
    assert [p.text for p in read(created(), delta(1.0, " make"), delta(1.2, " hon"), delta(1.4, "ey"), cut).pieces] == [
        " make"
    ]
    kept = event("duplex.cut", response_id="d-1", slice=0, at=1.2, unheard=" honey")
    assert len(read(created(), delta(1.0), delta(1.2), delta(1.4, " honey"), kept).pieces) == 2


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
    talk = read(typed, act("turn", 2.0, 3.0), act("tic", 0.5, 1.0))
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
        ([{"kind": "act", "act": "turn", "begin": 1.0, "end": 2.0}], 2, "KeyError('text')"),
        ([{"kind": "act", "act": ["turn"], "begin": 1.0, "end": 2.0, "text": ""}], 2, "expected an act of turn, stop"),
        ([act("turn", float("nan"), 1.0)], 2, "expected a time in seconds, got nan"),
        ([{"kind": "due", "at": 1.7e9}], 2, "a talk lasts at most a day"),
        ([created(), delta(1.0, 7)], 3, "expected a text, got 7"),
        ([created(), delta(1.0, answer=["d-1"])], 3, "as the recorder writes it"),
        ([event("response.created", response={"id": 3}, at=1.0)], 2, "expected a text, got 3"),
        ([event("response.created", response="d-1", at=1.0)], 2, "as the recorder writes it"),
        ([created(), delta(2.0), delta(1.0)], 4, "expected words of d-1 from 2 s on, got 1 s"),
        ([created("d-1", 9.0), created("d-2", 3.0)], 3, "expected an answer from 9 s on, got 3 s"),
        ([{"kind": "due", "at": 9.0}, event("duplex.yield", at=3.9)], 3, "expected a time from 4 s on, got 3.9 s"),
        ([{"kind": "input", "at": 2.0, "speech": False, "ended_at": float("inf")}], 2, "a time in seconds, got inf"),
        ([{"kind": "input", "at": 2.0, "speech": False, "ended_at": 9.0}], 2, "by 2 s, when it was noticed"),
        ([event("response.done", response_id="d-7", status="completed", at=1.0)], 2, "created before, got 'd-7'"),
        ([event("duplex.slice", at=1.0, user=None)], 2, "expected a text, got None"),
    ],
)  # fmt: skip
def test_a_broken_recording_is_named_with_its_line(lines: list[dict[str, Any]], number: int, message: str) -> None:
    with pytest.raises(BadInput) as caught:
        read(*lines)
    assert str(caught.value).startswith(f"a.jsonl line {number}: ")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({"slice_seconds": 99}, "slice seconds: expected 'adaptive' or a number"),
        ({"seed": "seven"}, "expected a seed that is a whole number, got 'seven'"),
        ({"way": "shouted"}, "expected way keys or speech, got 'shouted'"),
        ({"baseline": "polite"}, "expected baseline strict or barge-in, got 'polite'"),
        ({"scenario": 3}, "expected scenario as text, got 3"),
    ],
)
def test_a_broken_header_is_named(header: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput) as caught:
        read(**header)
    assert str(caught.value).startswith("a.jsonl header: ")
    assert message in str(caught.value)


def test_a_simulated_talk_says_what_it_is() -> None:
    talk = read(scenario="stop-late", situation="stop", seed=3, way="speech")
    assert (talk.scenario, talk.situation, talk.seed, talk.way) == ("stop-late", "stop", 3, "speech")


def test_events_may_lie_ahead_and_a_slice_and_a_word_behind() -> None:
    due = {"kind": "due", "at": 9.0}
    ahead = event("duplex.slice", at=30.0, user="")  # an answer of many slices is told at once
    talk = read(created("d-1", 8.0), delta(29.0), ahead, due, event("duplex.yield", at=4.0))
    assert (talk.yields, talk.slices) == ((4.0,), ((30.0, ""),))
    slower = read({"kind": "input", "at": 0.0, "pace": 1}, due, event("duplex.yield", at=2.1))  # slices of 4 s
    assert slower.yields == (2.1,)


def test_the_end_is_the_last_time_told() -> None:
    assert read(event("duplex.yield", at=7.0)).ended_at == 7.0
    assert read(created(), delta(1.0), act("turn", 2.0, 8.5)).ended_at == 8.5
    ended = event("response.done", response_id="d-1", status="completed", at=4.0)
    assert read(created(), delta(1.0), ended, {"kind": "input", "at": 3.0, "text": "a"}).ended_at == 4.0


def test_a_talk_that_stops_in_the_middle_is_a_talk() -> None:
    talk = read(created(), delta(1.0))
    assert talk.answers == {}
    assert talk.ended_at == pytest.approx(1.2)


def test_an_empty_recording_is_an_empty_talk() -> None:
    talk = read()
    assert (talk.acts, talk.pieces, talk.ended_at) == ((), (), 0.0)
