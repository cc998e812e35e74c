"""The format, its errors, and what the library holds."""

from collections import Counter
from pathlib import Path
from random import Random

import pytest

from duplex_runtime.alignment.corpus import load
from duplex_runtime.alignment.dialogues import Source
from duplex_runtime.alignment.noise import normal
from duplex_runtime.errors import BadInput
from duplex_runtime.evaluation.scenarios import FOLDER, Part, Scenario, Span, library, parse_scenario, read_scenario

GOOD = """# The person breaks in,
# and is heard.
situation  question
by         speech

0.5 s            turn          Tell me about {bees|volcanoes}.
answer 1.5-3 s   question      Wait, how (0.6-1.2 s) is [spain > italy]? Now *cough*
20 s             silence"""


def of(text: str) -> Scenario:
    return parse_scenario("some/name.txt", text.split("\n"))


def test_a_file_is_read() -> None:
    scenario = of(GOOD)
    assert (scenario.name, scenario.situation, scenario.ways, scenario.pace) == (
        "name",
        "question",
        ("speech",),
        "normal",
    )
    assert scenario.about == "The person breaks in, and is heard."
    first, second, third = scenario.steps
    assert (first.after, first.delay, first.kind, first.line) == ("step", Span(0.5, 0.5), "turn", 6)
    assert (second.after, second.delay, second.kind) == ("answer", Span(1.5, 3.0), "question")
    assert (third.kind, third.text, third.parts(Random(0))) == ("silence", "", ())


def test_marks_become_parts() -> None:
    how, is_, country, now, cough = of(GOOD).steps[1].parts(Random(0))
    assert (how, is_.text) == (Part("Wait, how"), "is")
    assert 0.6 <= is_.pause <= 1.2
    assert country == Part("italy?", taken_back="spain")
    assert (now, cough) == (Part("Now"), Part("", sound=True))


def test_a_seed_chooses_again_the_same() -> None:
    step = of(GOOD).steps[0]
    said = {step.parts(Random(seed))[0].text for seed in range(20)}
    assert said == {"Tell me about bees.", "Tell me about volcanoes."}
    assert step.parts(Random(3)) == step.parts(Random(3))


TURN = "0.5 s  turn  Hello you."


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("", None, "expected a line such as “situation  stop”"),
        ("situation  stop", None, "expected at least one step"),
        (TURN, None, "expected a line such as “situation  stop”"),
        ("situation  stop\nmood  good\n" + TURN, 2, "one of situation, by, pace"),
        ("situation  stop\npace  quick\n" + TURN, 2, "expected pace slow, normal, fast, got 'quick'"),
        ("situation  stop\nby  telepathy\n" + TURN, 2, "expected by keys or speech or both"),
        ("situation  Stop it\n" + TURN, 1, "expected a situation of one word"),
        ("situation  stop\nsituation  stop\n" + TURN, 2, "stands there twice"),
        ("situation  stop\n" + TURN + "\npace  slow", 3, "before the first step"),
        ("situation  stop\n0.5  turn  Hello.", 2, "expected a time such as"),
        ("situation  stop\n-1 s  turn  Hello.", 2, "expected a time such as"),
        ("situation  stop\n3-1 s  turn  Hello.", 2, "write 1-3 s"),
        ("situation  stop\n4000 s  turn  Hello.", 2, "at most 3600 s"),
        ("situation  stop\n1 s  shout  Hello.", 2, "expected turn, stop, question"),
        ("situation  stop\n1 s turn Hello.", 2, "two spaces"),
        ("situation  stop\n1 s  turn", 2, "expected words for turn"),
        ("situation  stop\n1 s  silence  shh", 2, "silence has no words"),
        ("situation  stop\nanswer 1 s  turn  Hello.", 2, "nothing was asked yet"),
        ("situation  stop\ndone 1 s  aside  Hello.", 2, "nothing was asked yet"),
        ("situation  stop\n" + TURN + "\n1 s  backchannel  mm-hm", 3, "falls into an answer"),
        ("situation  stop\n1 s  stop  Stop.", 2, "begin with a turn"),
        ("situation  stop\n1 s  turn  *cough*", 2, "it cannot be typed"),
        ("situation  stop\n1 s  turn  Tell {me.", 2, "belongs to no mark"),
        ("situation  stop\n1 s  turn  Tell {me|} now.", 2, "expected choices such as"),
        ("situation  stop\n1 s  turn  Tell [me] now.", 2, "expected a correction such as"),
        ("situation  stop\n1 s  turn  (2 s)", 2, "expected words beside the pause"),
        ("situation  stop\n1 s  turn  Tell (3-1 s) me.", 2, "write 1-3 s"),
        ("situation  stop\n" + TURN + "\ndone 1 s  silence", 3, "expected a plain time for silence"),
        ("situation  stop\n1 s  turn  a\x07b", 2, "control character 0x07"),
        ("situation  stop\n1 s  turn  " + "a" * 2001, 2, "at most 2000 characters"),
        ("situation  stop\n" + "\n".join([TURN] * 101), 102, "at most 100 steps"),
    ],
)  # fmt: skip
def test_what_cannot_be_played_is_named_with_its_line(text: str, line: int | None, message: str) -> None:
    with pytest.raises(BadInput) as caught:
        of(text)
    place = f"some/name.txt line {line}: " if line else "some/name.txt: "
    assert str(caught.value).startswith(place)
    assert message in str(caught.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"situation  st\xffop")
    with pytest.raises(BadInput, match="expected UTF-8, got the byte 0xff"):
        read_scenario(tmp_path / "a.txt")
    with pytest.raises(BadInput, match="expected a readable scenario file"):
        read_scenario(tmp_path / "none.txt")
    with pytest.raises(BadInput, match="expected a folder of scenarios"):
        library(tmp_path / "none")


def test_a_broken_file_is_left_out_and_named(tmp_path: Path) -> None:
    (tmp_path / "bad.txt").write_text("situation  stop\n1 s  shout  Hello.")
    (tmp_path / "good.txt").write_text("situation  stop\n" + TURN)
    problems: list[str] = []
    assert [s.name for s in library(tmp_path, problems=problems)] == ["good"]
    assert len(problems) == 1
    assert "bad.txt line 2" in problems[0]
    with pytest.raises(BadInput, match=r"bad\.txt line 2"):
        library(tmp_path)


def test_only_some() -> None:
    assert {s.situation for s in library(only=["stop", "smooth-joke"])} == {"stop", "smooth"}
    with pytest.raises(BadInput, match=r"names or situations .*got 'nonsense'"):
        library(only=["nonsense"])


def test_the_library_covers_every_situation() -> None:
    scenarios = library()
    assert len(scenarios) >= 120
    situations = Counter(s.situation for s in scenarios)
    assert set(situations) == {
        "smooth", "pause", "backchannel", "tic", "aside", "stop", "correction", "question", "change", "silence", "long",
        "pace",
    }  # fmt: skip
    assert min(situations.values()) >= 10
    kinds = Counter(step.kind for s in scenarios for step in s.steps)
    assert all(kinds[kind] >= 20 for kind in ("turn", "stop", "question", "backchannel", "tic", "aside")), kinds
    assert kinds["resume"] >= 12
    assert all(s.about for s in scenarios)
    assert {s.pace for s in scenarios} == {"slow", "normal", "fast"}


def test_nothing_in_it_was_trained_word_for_word() -> None:
    trained = Source(load())._trained
    said = {
        normal(" ".join(part.text for part in step.parts(Random(seed))))
        for scenario in library(FOLDER)
        for step in scenario.steps
        for seed in range(10)
    }
    assert not {sentence for sentence in said if len(sentence.split()) >= 4} & trained
