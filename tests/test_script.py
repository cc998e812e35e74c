import json
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from fakes import FakeEngine, Reply, Words, answering, endless

from duplex_runtime.baseline import TurnConversation
from duplex_runtime.duplex import DuplexConversation
from duplex_runtime.engine.requests import Output, Sampling, SliceRequest
from duplex_runtime.errors import BadInput
from duplex_runtime.evaluation.script import SliceLines, load_script, play, read_script
from duplex_runtime.events import Cut, Delta, Edit, Enter, Reaction, ResponseDone, Sealed, Slice, UserText
from duplex_runtime.layout import EMBEDDED
from duplex_runtime.slices import Slicing

HELLO = '{"at": 0, "text": "hello "}'
REQUEST = SliceRequest(0, (1,), 10)


class FakeModel:
    """What `play` needs of a loaded model."""

    name = "fake"

    def __init__(self, reply: Callable[[Words], Reply]) -> None:
        self.vocabulary = Words()
        self._reply = reply(self.vocabulary)

    def engine(self, slots: int) -> FakeEngine:
        return FakeEngine(self._reply, slots=slots)

    def conversation(self, system: str, slicing: Slicing) -> Any:
        kinds = {"duplex": DuplexConversation, "turns": TurnConversation}
        return kinds[system](EMBEDDED, self.vocabulary, slicing)


def talker(**answers: str) -> FakeModel:
    """Answers words that end in a known one: `talker(volcanoes="Hot rock …")`."""
    return FakeModel(lambda words: answering(answers, words))


def played(model: FakeModel, *lines: dict[str, Any], system: str = "duplex", slicing: Slicing | None = None) -> Any:
    script = read_script(json.dumps(line) for line in lines)
    return play(model, system, script, slicing or Slicing(), Sampling())


def slices(lines: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [line for line in lines if line["type"] == "slice"]


# — reading —


def test_text_and_keys_become_input(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(
        '{"about": {"kind": "any", "note": [1]}}\n'
        '{"at": 0, "text": "hé "}\n\n'
        '{"at": 0.5, "key": "Backspace"}\r\n'
        '{"at": 0.5, "key": "Enter"}',
        encoding="utf-8",
    )
    script = load_script(path)
    assert script.about == {"kind": "any", "note": [1]}
    assert script.inputs == [(0.0, UserText("hé ")), (0.5, Edit(1)), (0.5, Enter())]
    assert read_script(str(path)) == script.inputs


@pytest.mark.parametrize("lines", [[HELLO], [HELLO.encode()], [f"{HELLO}\n", "\n"], iter([HELLO]), ["\ufeff" + HELLO]])
def test_lines_are_read_like_a_file(lines: Any) -> None:
    assert read_script(lines) == [(0.0, UserText("hello "))]


def test_a_byte_order_mark_and_line_separators_in_text_do_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('\ufeff{"at": 0, "text": "a\u2028b"}\n', encoding="utf-8")
    assert read_script(path) == [(0.0, UserText("a\u2028b"))]


WRONG = {
    "hello": "expected a JSON object, got 'hello'",
    '{"at": 0, "text": "hello"': "expected a JSON object",
    "[" * 100_000: "expected a JSON object",
    "[1]": r"expected a JSON object, got \[1\]",
    "3": "expected a JSON object, got 3",
    '{"text": "a"}': 'expected "at", found none',
    '{"at": -0.1, "text": "a"}': 'expected "at" in seconds from 0 to 86400, got -0.1',
    '{"at": NaN, "text": "a"}': "seconds from 0 to 86400, got nan",
    '{"at": Infinity, "text": "a"}': "seconds from 0 to 86400, got inf",
    '{"at": 1e400, "text": "a"}': "seconds from 0 to 86400, got inf",
    f'{{"at": {"9" * 400}, "text": "a"}}': "seconds from 0 to 86400, got 999",
    f'{{"at": {"9" * 9999}, "text": "a"}}': "expected a JSON object",
    '{"at": "1", "text": "a"}': "seconds from 0 to 86400, got '1'",
    '{"at": true, "text": "a"}': "seconds from 0 to 86400, got True",
    '{"at": null, "text": "a"}': "seconds from 0 to 86400, got None",
    '{"at": 0.5, "text": "a"}': 'expected "at" from 1 on, got 0.5; times must not go backwards',
    '{"at": 2, "text": "a", "key": "Enter"}': 'expected either "text" or "key", got both',
    '{"at": 2}': 'expected either "text" or "key", got neither',
    '{"at": 2, "key": "Tab"}': """expected the key "Backspace" or "Enter", got 'Tab'""",
    '{"at": 2, "key": ["Enter"]}': 'expected the key "Backspace" or "Enter", got',
    '{"at": 2, "text": "a", "who": 1}': r"""expected "at" and "text" or "key", got \['who'\]; leave them out""",
    '{"about": {}}': 'got .*; put "about" in the first line, alone',
    '{"at": 2, "text": ""}': "expected \"text\" of one character or more, got ''",
    '{"at": 2, "text": 5}': 'expected "text" of one character or more, got 5',
    '{"at": 2, "text": null}': 'expected "text" of one character or more, got None',
    json.dumps({"at": 2, "text": "a" * 20_001}): 'expected "text" of at most 20000 characters, got 20001; spread',
}


@pytest.mark.parametrize("line", WRONG, ids=lambda line: line[:30])
def test_a_wrong_line_is_refused_with_file_and_line(line: str, tmp_path: Path) -> None:
    path = tmp_path / "talk.jsonl"
    path.write_text(f'{{"at": 1, "text": "hello "}}\n\n{line}\n', encoding="utf-8")
    with pytest.raises(BadInput, match=rf"talk\.jsonl line 3: .*{WRONG[line]}") as caught:
        read_script(path)
    assert len(str(caught.value)) < 400 + len(str(path))


@pytest.mark.parametrize("about", ["[]", "null", '"stop"'])
def test_remarks_are_an_object(about: str) -> None:
    with pytest.raises(BadInput, match='script line 1: expected an object as "about"'):
        read_script([f'{{"about": {about}}}', HELLO])


def test_remarks_beside_other_fields_are_refused() -> None:
    with pytest.raises(BadInput, match="alone"):
        read_script(['{"about": {}, "at": 0, "text": "a"}'])


def test_the_longest_text_is_allowed() -> None:
    assert read_script([json.dumps({"at": 86_400, "text": "a" * 20_000})]) == [(86_400.0, UserText("a" * 20_000))]


def test_bytes_that_are_not_utf8_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "latin.jsonl"
    path.write_bytes(HELLO.encode() + b'\n{"at": 1, "text": "\xe9"}\n')
    with pytest.raises(BadInput, match=r"latin.jsonl line 2: expected UTF-8, got the byte 0xe9; save"):
        read_script(path)


@pytest.mark.parametrize("text", ["", "\n \n", '{"about": {"kind": "stop"}}\n'])
def test_a_script_without_input_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(text)
    with pytest.raises(BadInput, match=r"a.jsonl: expected at least one line such as .*, found none"):
        read_script(path)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"nowhere\.jsonl: no such script file; give"):
        read_script(tmp_path / "nowhere.jsonl")
    with pytest.raises(BadInput, match=r"expected a readable script file \(Is a directory\)"):
        read_script(tmp_path)
    with pytest.raises(BadInput, match="expected a readable script file"):
        read_script("a\0b")


# — playing —


def test_a_slice_is_one_line_with_what_both_said() -> None:
    lines = played(talker(hello="hi you there"), {"at": 1, "text": "well "}, {"at": 2, "text": "hello."})
    first, decides, second = slices(lines)
    assert first == {
        "type": "slice",
        "system": "duplex",
        "index": 0,
        "opened_at": 1.0,
        "at": 1.3,
        "until": 1.8,
        "user": "well",
        "model": "",
        "unheard": "",
        "idle": True,
        "p_idle": 0.9,
    }
    assert (decides["user"], decides["idle"], decides["at"], decides["until"]) == ("", True, 1.8, 2.3)
    assert (second["user"], second["model"], second["idle"], second["p_idle"]) == ("hello.", "hi you there", False, 0.1)
    assert second["at"] == 2.3
    assert second["until"] == pytest.approx(2.9)  # three words, 0.2 s each


def test_what_nobody_saw_stands_apart() -> None:
    model = talker(go=" ".join("abcdefghij" * 3))
    lines = played(model, {"at": 0, "text": "go."}, {"at": 3.1, "text": "stop."})
    one, two, three = slices(lines)[:3]
    assert (one["model"], one["unheard"]) == ("a b c d e f g h i j", "")
    assert (two["user"], two["model"], two["unheard"]) == ("", " a b c d e f", " g h i j")
    assert (three["user"], three["idle"]) == ("stop.", True)
    kinds = [line["type"] for line in lines]
    assert kinds.index("duplex.cut") < kinds.index("duplex.yield")
    assert "response.output_text.delta" not in kinds
    assert "duplex.slice" not in kinds


def times(lines: Sequence[dict[str, Any]]) -> list[float]:
    return [line.get("until", line.get("to", line.get("at"))) for line in lines if line["type"] != "duplex.sealed"]


@pytest.mark.parametrize("system", ["duplex", "turns"])
@pytest.mark.parametrize("slicing", [Slicing(), Slicing.parse(1), Slicing.parse(2)], ids=["adaptive", "1 s", "2 s"])
def test_lines_stand_in_time_order(system: str, slicing: Slicing) -> None:
    lines = played(
        talker(go=" ".join("word" for _ in range(60)), hello="hi"),
        {"at": 0.5, "text": "please "},
        {"at": 1.4, "text": "go."},
        {"at": 1.5, "key": "Enter"},
        {"at": 6.2, "text": "enough!"},
        {"at": 6.4, "key": "Enter"},
        {"at": 20, "text": "hello?"},
        {"at": 20, "key": "Enter"},
        system=system,
        slicing=slicing,
    )
    assert times(lines) == sorted(times(lines))
    shown = slices(lines)
    assert all(a["until"] <= b["at"] + 1e-6 for a, b in pairwise(shown))
    assert all(line["opened_at"] <= line["at"] <= line["until"] for line in shown)
    assert {line["system"] for line in lines} == {system}
    answers = [line["status"] for line in lines if line["type"] == "response.done"]
    assert answers == (["cancelled", "completed"] if system == "duplex" else ["completed"] * 2)
    assert any(line["type"] == "duplex.deaf" for line in lines) == (system == "turns")
    words = "".join(line["model"] for line in shown).count("word")
    assert words == 60 if system == "turns" else 20 < words <= 30


def test_the_same_play_gives_the_same_lines() -> None:
    line = {"at": 0, "text": "hello."}
    assert played(talker(hello="hi"), line) == played(talker(hello="hi"), line)


def test_a_play_ends_even_if_the_model_does_not() -> None:
    lines = played(FakeModel(endless), {"at": 0, "text": "go."})
    assert 58 <= slices(lines)[-1]["until"] <= 60
    spoken = "".join(line["model"] for line in slices(lines)).split()
    assert spoken == [str(n) for n in range(1, len(spoken) + 1)]


# — slice by slice —


class Stream:
    """A `SliceLines` and what came out of it since the last look."""

    def __init__(self) -> None:
        self._out: list[dict[str, Any]] = []
        self.lines = SliceLines(self._out.append)

    def at(self, now: float, *events: Any, more: bool = False) -> list[dict[str, Any]]:
        """A slice closes at `now`; with `more` the engine has something to do."""
        self.lines.asked(now, REQUEST if more else None)
        self.lines.happened(events)
        return self.take()

    def take(self) -> list[dict[str, Any]]:
        out, self._out[:] = list(self._out), []
        return out


def slice_event(index: int, at: float, idle: bool = False) -> Slice:
    return Slice("duplex", index, at - 1, at, "", idle, 0.5)


def delta(index: int, text: str, at: float) -> Delta:
    return Delta("duplex", "duplex-1", index, text, at)


def test_a_slice_is_told_as_soon_as_the_next_one_closes() -> None:
    stream = Stream()
    assert stream.at(1.0, slice_event(0, 1.0), delta(0, "a", 1.0), delta(0, " b", 1.2)) == []
    stream.lines.answered(Output(0, None, True, 9), 1.1)
    assert stream.take() == []
    (line,) = stream.at(3.0, slice_event(1, 3.0))
    assert (line["index"], line["model"], line["until"]) == (0, "a b", 3.0)


def test_a_slice_is_told_as_its_answer_ends() -> None:
    stream = Stream()
    stream.at(1.0, slice_event(0, 1.0), delta(0, "a", 1.0))
    done, line = stream.at(1.2, ResponseDone("duplex", "duplex-1", "completed", 1.2))
    assert (done["type"], line["type"], line["until"]) == ("response.done", "slice", 1.2)
    stream.lines.finish(9.0)
    assert stream.take() == []


def test_where_an_answer_ends_and_a_slice_follows_they_touch() -> None:
    stream = Stream()
    stream.at(1.0, slice_event(0, 1.0), delta(0, "a", 1.0))
    (done,) = stream.at(1.4, ResponseDone("duplex", "duplex-1", "completed", 1.2), more=True)
    stream.lines.answered(Output(0, None, True, 9), 1.5)
    stream.lines.happened([slice_event(1, 1.4)])
    (line,) = stream.take()
    assert (done["at"], line["until"]) == (1.2, 1.4)


def test_the_end_of_an_older_answer_does_not_end_a_listening_slice() -> None:
    stream = Stream()
    stream.at(1.0, slice_event(0, 1.0), delta(0, "a", 1.0))
    stream.at(2.0, slice_event(1, 2.0, idle=True), ResponseDone("duplex", "duplex-1", "cancelled", 2.0))
    stream.lines.finish(5.0)
    (line,) = stream.take()
    assert (line["index"], line["until"]) == (1, 5.0)


def test_nothing_is_told_before_its_time() -> None:
    stream = Stream()
    stream.at(0.0, slice_event(0, 0.0), delta(0, "a", 0.0), slice_event(1, 2.0), delta(1, "b", 2.0))
    assert stream.take() == []
    stream.lines.heard(UserText("x"), 1.9)
    assert stream.take() == []
    stream.lines.move_to(2.0)
    assert [line["index"] for line in stream.take()] == [0]


def test_events_without_a_time_of_their_own_keep_their_place() -> None:
    stream = Stream()
    lines = stream.at(1.0, slice_event(0, 1.0), Reaction("duplex", 0.5, 1.0), Sealed("duplex", 4))
    assert [line["type"] for line in lines] == ["duplex.reaction", "duplex.sealed"]


def test_only_text_of_the_cut_slice_is_cut() -> None:
    stream = Stream()
    stream.at(1.0, slice_event(0, 1.0), delta(0, "a", 1.0), delta(0, " b", 1.2), delta(0, " c", 1.4))
    stream.at(1.2, Cut("duplex", "duplex-1", 0, 1.2, " c"), more=True)
    stream.lines.happened([slice_event(1, 1.2), delta(1, "d", 1.2)])
    (line,) = stream.take()
    assert (line["model"], line["unheard"]) == ("a b", " c")


def test_at_the_end_what_was_to_come_is_unheard() -> None:
    stream = Stream()
    stream.at(1.0, slice_event(0, 1.0), delta(0, "a", 1.0), delta(0, " b", 1.2))
    stream.lines.finish(1.1)
    (line,) = stream.take()
    assert (line["model"], line["unheard"], line["until"]) == ("a", " b", 1.1)
