"""Keys and speech have human times, and say what was to be said."""

from random import Random

import pytest

from duplex_runtime.errors import BadInput
from duplex_runtime.evaluation.scenarios import Part
from duplex_runtime.evaluation.ways import CERTAIN_SECONDS, ENDED_SECONDS, NOTICED_SECONDS, Said, say, spoken, typed
from duplex_runtime.events import Edit, Enter, SpeechEnd, SpeechStart, UserText

PARTS = (Part("Tell me about"), Part("bees.", pause=1.5))


def written(said: Said) -> str:
    text = ""
    for _, event in said.inputs:
        match event:
            case UserText(words):
                text += words
            case Edit(delete):
                text = text[: len(text) - delete]
    return text


@pytest.mark.parametrize("seed", range(30))
def test_what_is_typed_is_what_was_meant(seed: int) -> None:
    said = typed(PARTS, 2.0, "normal", Random(seed))
    assert written(said) == "Tell me about bees."
    times = [at for at, _ in said.inputs]
    assert times == sorted(times)
    assert (said.begin, times[0], said.end) == (2.0, 2.0, times[-1])


def test_slips_happen_and_are_taken_back() -> None:
    long = (Part(" ".join(["something"] * 60)),)
    said = typed(long, 0.0, "normal", Random(1))
    assert any(isinstance(event, Edit) for _, event in said.inputs)
    assert written(said).strip() == long[0].text


def test_a_correction_is_typed_and_deleted() -> None:
    said = typed((Part("Is"), Part("Italy?", taken_back="Spain")), 0.0, "fast", Random(0))
    assert sum(e.delete for _, e in said.inputs if isinstance(e, Edit)) >= 5
    assert written(said) == "Is Italy?"


def test_enter_ends_it() -> None:
    said = typed(PARTS, 0.0, "normal", Random(0), enter=True)
    assert said.inputs[-1][1] == Enter()
    assert said.end == said.inputs[-1][0]


def test_paces_differ() -> None:
    seconds = {pace: typed(PARTS, 0.0, pace, Random(3)).end for pace in ("slow", "normal", "fast")}
    assert seconds["slow"] > seconds["normal"] > seconds["fast"]
    aloud = {pace: spoken(PARTS, 0.0, pace, Random(3)).end for pace in ("slow", "normal", "fast")}
    assert aloud["slow"] > aloud["normal"] > aloud["fast"]


def test_speech_is_heard_some_time_after_it_was_said() -> None:
    said = spoken((Part("Tell me about bees."),), 1.0, "normal", Random(0))
    assert said.inputs[0] == (1.0 + NOTICED_SECONDS, SpeechStart())
    last_at, last = said.inputs[-1]
    assert last == SpeechEnd(said.end)
    assert last_at == pytest.approx(said.end + ENDED_SECONDS)
    words = [(at, e) for at, e in said.inputs if isinstance(e, UserText)]
    assert "".join(e.text for _, e in words) == "tell me about bees "
    assert all(e.spoken for _, e in words)
    assert said.end + CERTAIN_SECONDS[0] <= words[-1][0] <= said.end + CERTAIN_SECONDS[1] + 1e-3


def test_a_long_pause_ends_speech_and_a_short_one_does_not() -> None:
    starts = [sum(isinstance(e, SpeechStart) for _, e in spoken((Part("one"), Part("two", pause=p)), 0.0, "normal", Random(0)).inputs) for p in (0.3, 1.5)]  # fmt: skip # noqa: E501
    assert starts == [1, 2]


def test_a_cough_has_no_words() -> None:
    said = spoken((Part("", sound=True),), 0.0, "normal", Random(0))
    assert [type(e) for _, e in said.inputs] == [SpeechStart, SpeechEnd]
    assert said.text == ""


def test_another_way_is_refused() -> None:
    with pytest.raises(BadInput, match="expected keys or speech, got 'telepathy'"):
        say(PARTS, "telepathy", 0.0, "normal", Random(0))
