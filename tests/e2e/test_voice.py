"""A person speaks to the page: a recorded voice is the browser's microphone, and the loudspeaker is recorded."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, expect
from playwright.sync_api import TimeoutError as PlaywrightTimeout

from duplex_runtime.evaluation import sound
from duplex_runtime.recording import read_log
from duplex_runtime.speech.base import MOUTH_RATE
from tests.web_fakes import Served
from webapp.heard import Heard, fetch, talking
from webapp.person import RATE, Line, espeak, recorded, write_wav

pytestmark = pytest.mark.e2e

#: What espeak says so that PocketSphinx understands it; it speaks the same every time.
REQUESTS = ("Can you tell me about volcanoes?", "What do you know about volcanoes?", "I want to hear about volcanoes.")
STOP = "Stop."
VOICE = "en-us+f2"
#: Seconds of the answer before the person stops it: the machine may be busy, and the answer is longer.
BEFORE_STOP = 9.0
#: For an event: the machine may be busy.
PATIENCE_MS = 60_000
#: What a word takes to be said, in the mean of at least six.
WORD_SECONDS = (0.18, 0.8)


@pytest.fixture
def spoken(browser: Browser, served: Served, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Opens the page in a browser with a microphone that plays what a person says."""
    with ExitStack() as open_browsers:

        def opened(lines: list[Line], *, allowed: bool = True) -> Any:
            wav = tmp_path / "person.wav"
            write_wav(wav, recorded(lines, espeak(VOICE)).sound, RATE)
            page = open_browsers.enter_context(talking(browser.browser_type, wav, allowed=allowed))
            page.goto(served.url)
            return page

        yield opened


def part(page: Any, name: str) -> Any:
    return page.locator(f'#duplex-arena [data-part="{name}"]')


def heard_until(page: Any, kind: str, more_seconds: float) -> Heard:
    """The recording up to so many seconds after the first event of a kind."""
    try:
        there = "heard.events.some(([, text]) => JSON.parse(text).type === kind)"
        page.wait_for_function(f"(kind) => {there}", arg=kind, timeout=PATIENCE_MS)
        page.wait_for_function("(end) => heard.seconds > end", arg=page.evaluate("heard.seconds") + more_seconds)
    except PlaywrightTimeout:
        told = [t.event for t in fetch(page).received]
        seen = [f"{e['type']} {e.get('delta', e.get('message', ''))[:60]}".strip() for e in told]
        seen = [text for text in seen if "hypothesis" not in text and text != "duplex.slice"]
        pytest.fail(f"no {kind} within {PATIENCE_MS / 1000:.0f} s, but {seen}")
    return fetch(page)


@dataclass
class Memory:
    """An answer as the recording of the session has it: all that was written of it, what the model remembers, and how
    many characters it knew to be heard when it was last cut."""

    written: str = ""
    kept: str = ""
    known_heard: int = 0


def memory(log: Path, answer: str) -> Memory:
    """What became of an answer."""
    found, heard = Memory(), 0
    for line in read_log(log)["duplex"].lines:
        event = line.get("event", line)
        if event.get("response_id") != answer:
            continue
        heard = int(event.get("heard", heard))
        if event.get("type") == "response.output_text.delta":
            found.kept += event["delta"]
            found.written = max(found.written, found.kept, key=len)
        elif event.get("type") == "duplex.cut":
            assert found.kept.endswith(event["unheard"])
            found.kept = found.kept.removesuffix(event["unheard"])
            found.known_heard = heard
    return found


def characters_heard(heard: Heard, answer: str, samples: int) -> int:
    """Up to which character an answer was heard when so many of its samples were played."""
    spans = [t.event for t in heard.of("response.output_audio.delta", response_id=answer)]
    span = [s for s in spans if s["start"] <= samples][-1]
    begin, end = span["characters"]
    length = len(span["delta"]) * 3 // 4 // 2
    return int(begin + min(1.0, (samples - span["start"]) / length) * (end - begin))


def test_a_spoken_answer_is_stopped_and_remembered_as_far_as_it_was_heard(
    spoken: Callable[..., Any], data: Path
) -> None:
    for request in REQUESTS:  # the recogniser may mishear one, which is not what is tested here
        page = spoken([Line("explanation", request, BEFORE_STOP), Line("stop", STOP, 3.0)])
        part(page, "microphone").click()
        expect(part(page, "microphone")).to_have_attribute("aria-pressed", "true")
        try:
            heard = heard_until(page, "duplex.yield", 2.0)
            break
        except pytest.fail.Exception:
            if request == REQUESTS[-1]:
                raise

    # it was understood, and answered aloud
    words = " ".join(t.event["delta"] for t in heard.of("conversation.item.input_audio_transcription.delta"))
    assert "volcano" in words
    answer = heard.of("response.created", system="duplex")[0].event["response"]["id"]
    done = next(t for t in heard.of("response.done", system="duplex") if t.event["response_id"] == answer)
    assert done.event["status"] == "cancelled"
    begun = next(t.at for t in heard.reports if t.event.get("reason") == "begun")
    silent_at = sound.next_silence(heard.loudspeaker, heard.rate, begun + 1.0, 0.7)
    assert silent_at is not None

    # the model remembers what was heard, to the word
    session = heard.of("session.created")[-1].event["session"]["id"]
    found = memory(data / "recordings" / f"{session}.jsonl", answer)
    written, kept = found.written, found.kept
    assert len(kept) < len(written)
    assert written[len(kept)] in " .,?!", f"cut inside a word: {kept!r} of {written!r}"
    reports = [t.event for t in heard.sent if t.type == "duplex.audio.played" and t.event["response_id"] == answer]
    played = reports[-1]["samples"]
    assert not reports[-1]["playing"]
    by_sound = written[: characters_heard(heard, answer, played)]
    # it knows of no word that nobody heard, and has forgotten none of which it knew that it was heard; on a busy
    # machine some more words sound until it has stopped
    assert len(kept.split()) <= len(by_sound.split()) + 1, (by_sound, kept)
    assert len(kept.split()) >= len(written[: found.known_heard].split()), (written[: found.known_heard], kept)
    assert found.known_heard > 0

    # the sound is that of these words, and as long as they need
    assert silent_at - begun > played / MOUTH_RATE - 0.5
    loud = sound.levels(heard.voice, heard.rate) > 0.01
    assert np.sum(loud) * sound.FRAME_SECONDS > 0.4 * played / MOUTH_RATE
    assert WORD_SECONDS[0] < played / MOUTH_RATE / len(by_sound.split()) < WORD_SECONDS[1]


def test_a_microphone_that_is_refused_is_told_in_plain_words_and_typing_goes_on(spoken: Callable[..., Any]) -> None:
    page = spoken([Line("question", STOP, 1.0)], allowed=False)
    part(page, "microphone").click()
    expect(part(page, "note-text")).to_contain_text("microphone")
    expect(part(page, "note-text")).to_contain_text("type")
    expect(part(page, "microphone")).to_have_attribute("aria-pressed", "false")
    part(page, "box").press_sequentially("What is the capital of France?", delay=40)
    expect(page.locator('[data-part="panel-duplex"] .da-answer-line').last).to_contain_text("Paris")
    sent = page.evaluate("heard.sent.map(([, text]) => text)")
    assert not any(json.loads(text)["type"].startswith("input_audio") for text in sent)
