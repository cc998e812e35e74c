"""The measurement of a spoken talk, on a talk whose every time is known."""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np
import pytest

from duplex_runtime.alignment.corpus import load
from duplex_runtime.errors import DuplexError
from duplex_runtime.speech.base import MOUTH_RATE
from webapp import bench_voice
from webapp.bench_voice import Results
from webapp.heard import Heard, Told
from webapp.person import RATE, Line, Recorded, recorded
from webapp.reactions import STAGES, examine

#: The browser's microphone began so much later than the recording.
SHIFT = 0.7
LINES = (
    Line("question", "what is the capital of france", 4.0),
    Line("explanation", "tell me about bees", 4.0),
    Line("stop", "stop", 3.0),
    Line("explanation", "tell me about wool", 4.0),
    Line("backchannel", "okay", 6.0),
)


def tones(text: str) -> np.ndarray:
    seed = sum(map(ord, text))
    return np.random.default_rng(seed).normal(0, 0.01, len(text.split()) * RATE // 5).astype(np.float32)


@pytest.fixture(scope="module")
def said() -> Recorded:
    return recorded(LINES, tones)


class Stage:
    """Makes up what a page would have recorded."""

    def __init__(self, said: Recorded) -> None:
        count = round((said.seconds + SHIFT + 1) * RATE)
        self.microphone = np.zeros(count, np.float32)
        self.microphone[round(SHIFT * RATE) :][: len(said.sound)] = said.sound
        self.voice = np.zeros(count, np.float32)
        self.gain = np.ones(count, np.float32)
        self.received: list[Told] = []
        self.reports: list[Told] = []
        self.lines = [(part.begin + SHIFT, part.end + SHIFT) for part in said.said]

    def tell(self, now: float, kind: str, **values: Any) -> None:
        # the clock of the session is 100 s ahead, and the way to the page takes 3 ms
        if "at" in values:
            values["at"] += 100
        self.received.append(Told(now + 0.003, {"type": kind, **values}))

    def words(self, line: int, text: str) -> float:
        """Told 0.4 s after the end of a line."""
        at = self.lines[line][1] + 0.4
        self.tell(at, "input_audio_buffer.speech_stopped", at=at - 0.4, noticed_at=at)
        self.tell(at, "conversation.item.input_audio_transcription.delta", at=at, delta=f"{text} ", words=[])
        return at

    def answer(self, name: str, at: float, seconds: float, until: float | None = None, gap: float = 0.0) -> None:
        """Sounds from `at` on, up to `until`, with a gap after a second."""
        self.tell(at - 0.3, "duplex.slice", at=at - 0.4, system="duplex", idle=False)
        self.tell(at - 0.3, "response.created", system="duplex", response={"id": name}, at=at - 0.3)
        self.tell(at - 0.28, "response.output_text.delta", system="duplex", response_id=name, at=at)
        sent = np.random.default_rng(len(name)).normal(0, 0.1, round(seconds * MOUTH_RATE))
        delta = base64.b64encode((sent * 32767).astype("<i2").tobytes()).decode()
        self.tell(at - 0.1, "response.output_audio.delta", system="duplex", response_id=name, start=0, delta=delta)
        self.reports.append(Told(at, {"response_id": name, "reason": "begun", "underruns": 0}))
        played = np.repeat(sent, RATE // MOUTH_RATE).astype(np.float32)
        whole = np.concatenate([played[:RATE], np.zeros(round(gap * RATE), np.float32), played[RATE:]])
        if until is not None:
            whole = whole[: round((until - at) * RATE)]
        begin = round(at * RATE)
        self.voice[begin : begin + len(whole)] = whole
        reason = "ended" if until is None else "flushed"
        self.reports.append(Told(at + len(whole) / RATE, {"response_id": name, "reason": reason, "underruns": 0}))
        status = "completed" if until is None else "cancelled"
        self.tell(at + len(whole) / RATE, "response.done", system="duplex", response_id=name, status=status, at=0.0)

    def lower(self, begin: float, end: float) -> None:
        self.gain[round(begin * RATE) : round(end * RATE)] = 0.15

    def heard(self) -> Heard:
        received = tuple(sorted(self.received, key=lambda told: told.at))
        speaker = self.voice * self.gain
        return Heard(RATE, self.microphone, self.voice, speaker, received, (), tuple(self.reports))


@pytest.fixture
def stage(said: Recorded) -> Stage:
    """A question answered after 0.9 s; an explanation stopped; another that goes on, but has a gap."""
    stage = Stage(said)
    (_, end), (_, second_end), (stop, _), (_, fourth_end), (okay, _) = stage.lines
    stage.words(0, "what is the capitol of france")
    stage.answer("one", end + 0.9, 1.5)
    stage.words(1, "tell me about bees")
    stage.answer("second", second_end + 1.1, 9.0, until=stop + 0.8)
    stage.lower(stop + 0.12, stop + 1.0)
    stage.words(2, "stop")
    stage.tell(stop + 0.75, "duplex.yield", system="duplex", at=stop + 0.75)
    stage.words(3, "tell me about wool")
    stage.answer("third!!", fourth_end + 1.3, 6.0, gap=0.25)
    stage.lower(okay + 0.06, okay + 0.5)
    stage.words(4, "okay")
    return stage


def test_the_latencies_are_those_of_the_sound(said: Recorded, stage: Stage) -> None:
    results = Results({"slt": examine(said, stage.heard())})
    figures = results.figures()
    assert figures["end_to_sound_ms_p50"] == pytest.approx(1100, abs=12)
    assert figures["end_to_sound_ms_p95"] == pytest.approx(1300, abs=12)
    assert figures["onset_to_lowered_ms_p50"] == pytest.approx(90, abs=12)
    assert figures["onset_to_stop_ms_p50"] == pytest.approx(800, abs=12)
    assert figures["backchannel_stops"] == 0
    assert figures["wer_in_the_talks"] == pytest.approx(1 / 15, abs=1e-4)
    assert figures["underruns"] == 1
    assert figures["vad_ms"] == pytest.approx(403, abs=12)
    assert results.notes()[0].startswith("3 of 3")
    assert "gaps in answers, ms: [250]" in results.notes()


def test_the_stages_add_up_to_the_whole(said: Recorded, stage: Stage) -> None:
    results = Results({"slt": examine(said, stage.heard())})
    first = results.answered[0]
    assert first.reached is not None
    steps = np.diff([first.end, *first.reached]) * 1000
    assert dict(zip(STAGES, steps, strict=True)) == pytest.approx(
        {
            "end of speech noticed": 403, "words certain": 0, "slice closed": 100, "model decided": 100,
            "first text at the page": 20, "first sound at the page": 180, "first sound heard": 97,
        },
        abs=13,
    )  # fmt: skip
    assert [stage.name for stage in results.stages()] == list(STAGES)
    assert sum(steps) == pytest.approx(900, abs=12)


def test_a_backchannel_after_which_the_answer_ends_stopped_it(said: Recorded) -> None:
    stage = Stage(said)
    stage.answer("one", stage.lines[3][1] + 1, 9.0, until=stage.lines[4][0] + 1)
    results = Results({"slt": examine(said, stage.heard())})
    assert results.figures()["backchannel_stops"] == 1
    assert results.figures()["onset_to_lowered_ms_p50"] is None


def test_an_answer_that_comes_too_early_is_no_latency(said: Recorded) -> None:
    stage = Stage(said)
    stage.answer("one", stage.lines[0][0] + 0.5, 2.0)  # nothing was said before
    results = Results({"slt": examine(said, stage.heard())})
    assert results.answered == []
    assert f"answered before it was over: {LINES[0].text!r}" in results.notes()


def test_an_answer_that_comes_only_while_the_person_goes_on_is_late_and_not_early(said: Recorded) -> None:
    stage = Stage(said)
    (_, end), (second, _) = stage.lines[:2]
    stage.answer("one", second + 0.2, 1.5)
    results = Results({"slt": examine(said, stage.heard())})
    assert results.figures()["end_to_sound_ms_p50"] == pytest.approx(1000 * (second + 0.2 - end), abs=12)
    assert [reaction.line for reaction in results.answered] == [LINES[0]]
    assert not any("before it was over" in note for note in results.notes())


def test_a_model_that_says_nothing_has_no_figures(said: Recorded, capsys: pytest.CaptureFixture[str]) -> None:
    stage = Stage(said)
    stage.tell(5.0, "duplex.audio.problem", where="ears", message="too slow")
    results = Results({"slt": examine(said, stage.heard())})
    results.print()
    assert "the server: too slow" in results.notes()
    figures = results.figures()
    missing = {key for key, value in figures.items() if value is None}
    assert missing == {
        "end_to_sound_ms_p50", "end_to_sound_ms_p95", "onset_to_lowered_ms_p50", "onset_to_stop_ms_p50",
        "backchannel_stops", "f0_jump_ratio", "vad_ms",
    }  # fmt: skip
    assert figures["wer_in_the_talks"] == 1.0
    assert results.stages() == []
    assert "NaN" not in json.dumps(figures)
    assert "what is the capital of france (nothing)" in capsys.readouterr().out


def test_a_silent_microphone_is_an_error(said: Recorded) -> None:
    stage = Stage(said)
    stage.microphone[:] = 0
    with pytest.raises(DuplexError, match="nothing of what the person said was found"):
        examine(said, stage.heard())


def test_one_line_that_is_lost_is_placed_by_the_others(said: Recorded, stage: Stage) -> None:
    begin, end = stage.lines[1]
    stage.microphone[round((begin - 0.1) * RATE) : round((end + 0.1) * RATE)] = 0
    results = Results({"slt": examine(said, stage.heard())})
    assert results.figures()["end_to_sound_ms_p50"] == pytest.approx(1100, abs=12)
    assert any(note.endswith("'tell me about bees'") for note in results.notes())


@pytest.mark.parametrize("number", [0, 1, 2])
def test_the_person_asks_what_training_never_saw(number: int) -> None:
    corpus = load()
    lines = bench_voice.script(corpus, number)
    assert [line.kind for line in lines].count("question") == 4
    assert sum(" | " in line.text for line in lines) == 1
    exchanges = (*corpus.facts, *corpus.topics)
    trained = {ask for e in exchanges for ask in e.asks(held_out=False)}
    known = {ask for e in exchanges for ask in e.asks(held_out=True)}
    asked = {line.words for line in lines if line.kind in ("question", "explanation")}
    assert asked <= known - trained
    assert len(asked) == 6
    others = {line.words for other in {0, 1, 2} - {number} for line in bench_voice.script(corpus, other)}
    assert not asked & others


def test_all_talks_together_last_less_than_four_minutes() -> None:
    corpus = load()
    lines = [line for number in range(3) for line in bench_voice.script(corpus, number)]
    assert sum(line.after + 0.3 * len(line.words.split()) for line in lines) < 240
