"""`duplex bench voice`: a spoken talk in a real browser, measured by its sound. A table for people, and its figures.

A recorded person (`person.py`) speaks into the microphone of a Chromium that has the page open. What the microphone
gives, what the voice plays and what the loudspeaker gets is recorded on one clock (`heard.py`), and every latency is
taken from these recordings (`reactions.py`): what the application tells of itself only says which of its steps takes
how long.

Three voices, each in a talk of its own: four questions, of which one has a pause in it, an explanation that is stopped,
and one during which the person says "mm-hm".
"""

from __future__ import annotations

import io
import json
import math
import random
import statistics
import tempfile
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from duplex_runtime.alignment.corpus import Corpus, load
from duplex_runtime.errors import DuplexError
from duplex_runtime.evaluation import pictures, sound
from duplex_runtime.evaluation.pictures import Stage
from duplex_runtime.speech.base import EAR_RATE, Hypothesis
from duplex_runtime.speech.kit import Kit
from webapp.heard import Heard, fetch, talking
from webapp.person import RATE, Line, Recorded, Speak, espeak, flite, has_flite, recorded, write_wav
from webapp.reactions import STAGES, Reaction, Talk, examine

PICTURE = Path(__file__).parents[1] / "docs" / "voice-latency.svg"
STOPS = ("Stop.", "That's enough.", "Please stop.")
BACKCHANNELS = ("uh-huh", "okay", "right", "mm-hm", "I see", "yeah")
#: Seconds left for an answer to a question, for an explanation before it is stopped, and for a whole one.
ANSWER_SECONDS, BEFORE_STOP_SECONDS, EXPLANATION_SECONDS = 6.0, 5.5, 15.0
BEFORE_BACKCHANNEL_SECONDS, AFTER_STOP_SECONDS = 5.0, 3.5
#: For a page to open, a server to answer: the machine may be busy.
PATIENCE_MS = 60_000


def run(model: str, out: Path | None = None) -> dict[str, Any]:
    """Hold the talks and measure them. out: a folder for what was recorded."""
    notes: list[str] = []
    results = hold_all(model, out, notes)
    results.print()
    figures, stages = results.figures(), results.stages()
    if stages and (PICTURE.parents[1] / "pyproject.toml").is_file():  # in a checkout
        title = "From the end of a question to the first sound of the answer"
        totals = {kind: figures[f"end_to_sound_ms_{kind}"] for kind in ("p50", "p95")}
        try:
            PICTURE.write_text(pictures.stages(title, stages, totals), encoding="utf-8")
        except DuplexError as error:  # the figures are worth more than their picture
            notes.append(f"{PICTURE.name} is not new: {error}")
    figures["wer_offline"] = word_error_rate(load(), {name: speak for name, speak, _ in _talks(load(), [])})
    figures["f0_jump_ratio"] = _f0_jump_ratio(notes)
    return {**figures, "notes": notes + results.notes()}


def hold_all(model: str, out: Path | None, notes: list[str]) -> Results:
    """The talks in a browser; notes: gets what is to be known of them."""
    from webapp.bench import server_of

    results = Results()
    with server_of(model) as port:
        for name, speak, lines in _talks(load(), notes):
            said = recorded(lines, speak)
            heard = hold(port, said)
            if out is not None:
                keep(out, name, said, heard)
            results.add(name, examine(said, heard))
    return results


def word_error_rate(corpus: Corpus, voices: dict[str, Speak], number: int = 40) -> float:
    """Of the offline recogniser, alone: `number` sentences in each voice, in wordings that training never saw."""
    from duplex_runtime.speech import wer

    rng = random.Random(0)
    known = [*corpus.facts, *corpus.topics, *corpus.howtos, *corpus.lists, *(q for t in corpus.topics for q in t.inner)]
    sentences = [rng.choice(entry.asks(held_out=True)) for entry in rng.sample(known, number)]
    pairs = []
    for speak in voices.values():
        ears = Kit("sphinx").ears()
        at = 0.0
        for sentence in sentences:
            said = sound.resampled(speak(sentence), RATE, EAR_RATE)
            silence = np.zeros(EAR_RATE // 2, np.float32)
            samples = (16_000 * np.concatenate([silence, said, silence])).astype(np.int16)
            heard: list[str] = []
            for begin in range(0, len(samples), EAR_RATE // 50):
                frame = samples[begin : begin + EAR_RATE // 50]
                events = ears.hear(frame, at, at)
                heard += [w.text for event in events if isinstance(event, Hypothesis) for w in event.words]
                at += len(frame) / EAR_RATE
            pairs.append((sentence, " ".join(heard)))
    return round(wer.total(pairs).rate, 4)


def _f0_jump_ratio(notes: list[str]) -> float | None:
    from duplex_runtime.evaluation import prosody
    from duplex_runtime.speech.espeak import Espeak

    try:
        with redirect_stdout(io.StringIO()):  # its table belongs to `duplex bench prosody`
            return prosody.run(Espeak(), None)["f0_jump_ratio"]
    except DuplexError as error:
        notes.append(f"f0_jump_ratio: {error}")
        return None


# — what the person says —


def _talks(corpus: Corpus, notes: list[str]) -> list[tuple[str, Speak, list[Line]]]:
    if has_flite():
        voices = {name: flite(name) for name in ("slt", "rms", "awb")}
    else:
        voices = {f"espeak {name}": espeak(name) for name in ("en-us", "en-us+m3", "en-us+f3")}
        notes.append("flite was not found: the person spoke with espeak, which recognisers understand less well")
    return [(name, speak, script(corpus, number)) for number, (name, speak) in enumerate(voices.items())]


def script(corpus: Corpus, number: int) -> list[Line]:
    """What the person says in talk `number`, in wordings that training never saw."""
    rng = random.Random(0)
    short = [f for f in corpus.facts if len(f.answer.split()) <= 8]
    asks = [
        a for f in short for a in f.asks(held_out=True) if a.endswith("?") and "," not in a and 4 <= len(a.split()) <= 8
    ]
    rng.shuffle(asks)
    explanations = sorted(corpus.topics, key=lambda topic: len(topic.answer))[:12]
    requests = [topic.asks(held_out=True)[0] for topic in explanations]
    rng.shuffle(requests)
    questions = asks[4 * number : 4 * number + 4]
    questions[1] = _with_pause(questions[1])
    first, second = requests[2 * number : 2 * number + 2]
    backchannels = BACKCHANNELS[2 * number : 2 * number + 2]
    return [
        *(Line("question", text, ANSWER_SECONDS) for text in questions[:2]),
        Line("explanation", first, BEFORE_STOP_SECONDS),
        Line("stop", STOPS[number], AFTER_STOP_SECONDS),
        *(Line("question", text, ANSWER_SECONDS) for text in questions[2:]),
        Line("explanation", second, BEFORE_BACKCHANNEL_SECONDS),
        Line("backchannel", backchannels[0], BEFORE_BACKCHANNEL_SECONDS),
        Line("backchannel", backchannels[1], EXPLANATION_SECONDS),
    ]


def _with_pause(text: str) -> str:
    """A person who thinks in the middle of the sentence."""
    words = text.split()
    middle = len(words) // 2
    return f"{' '.join(words[:middle])} | {' '.join(words[middle:])}"


# — the talk —


def hold(port: int, said: Recorded) -> Heard:
    """One talk with the page of a server on this machine, in a real browser."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        raise DuplexError("no_browser", 'needs the dev extra: pip install -e ".[dev]"') from None
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        wav = Path(folder) / "person.wav"
        write_wav(wav, said.sound, RATE)
        with talking(playwright.chromium, wav) as page:
            page.goto(f"http://127.0.0.1:{port}/", timeout=PATIENCE_MS)
            speak_up(page)
            page.wait_for_function(f"heard.seconds > {said.seconds + 1.0}", timeout=1000 * (said.seconds + 60))
            return fetch(page)


def speak_up(page: Any) -> None:
    """Switch the microphone on; raises DuplexError if this server or this page cannot listen."""
    button = page.locator('#duplex-arena [data-part="microphone"]')
    button.wait_for(timeout=PATIENCE_MS)  # it is hidden until the server has said what it can hear
    button.click()
    page.wait_for_function(
        """() => document.querySelector('#duplex-arena [data-part="microphone"][aria-pressed="true"]')
          || heard.events.some(([, text]) => text.includes('"duplex.audio.problem"'))""",
        timeout=PATIENCE_MS,
    )
    if button.get_attribute("aria-pressed") != "true":
        raise DuplexError("ears_missing", f"the page cannot listen: {button.get_attribute('title')}")


def keep(folder: Path, name: str, said: Recorded, heard: Heard) -> None:
    """Everything that was recorded, for whoever wants to listen."""
    folder.mkdir(parents=True, exist_ok=True)
    for track in ("microphone", "voice", "loudspeaker"):
        write_wav(folder / f"{name}-{track}.wav", getattr(heard, track), heard.rate)
    write_wav(folder / f"{name}-person.wav", said.sound, RATE)
    told = {"received": heard.received, "sent": heard.sent, "reports": heard.reports}
    lines = {kind: [[round(t.at, 4), t.event] for t in all_of] for kind, all_of in told.items()}
    (folder / f"{name}.json").write_text(json.dumps(lines), encoding="utf-8")


# — figures —


@dataclass
class Results:
    """All talks."""

    talks: dict[str, Talk] = field(default_factory=dict)

    def add(self, name: str, talk: Talk) -> None:
        """One more."""
        self.talks[name] = talk

    @property
    def reactions(self) -> list[Reaction]:
        return [reaction for talk in self.talks.values() for reaction in talk.reactions]

    def of(self, *kinds: str) -> list[Reaction]:
        """Those to lines of these kinds."""
        return [r for r in self.reactions if r.line.kind in kinds]

    @property
    def asked(self) -> list[Reaction]:
        """Questions and requests that fell into silence."""
        return [r for r in self.of("question", "explanation") if not r.fell_in]

    @property
    def sentences(self) -> list[Reaction]:
        """All but the backchannels, which are sounds rather than words."""
        return [r for r in self.reactions if r.line.kind != "backchannel"]

    @property
    def answered(self) -> list[Reaction]:
        """Those with an answer that did not begin before they were over."""
        return [r for r in self.asked if r.answer_at is not None and r.answer_at >= r.end]

    def figures(self) -> dict[str, Any]:
        """Milliseconds, shares and counts; None for what could not be measured."""
        from duplex_runtime.speech import wer

        answers = [1000 * (r.answer_at - r.end) for r in self.answered if r.answer_at is not None]
        lowered = [1000 * (r.lowered_at - r.begin) for r in self.reactions if r.lowered_at is not None]
        stops = [r for r in self.of("stop") if r.fell_in and r.yielded]
        stopped = [1000 * (r.silent_at - r.begin) for r in stops if r.silent_at is not None]
        judged = [r for r in self.of("backchannel") if r.went_on is not None]
        gaps = [gap for talk in self.talks.values() for gap in talk.gaps]
        noticed = [1000 * (r.reached[0] - r.end) for r in self.answered if r.reached]
        return {
            "end_to_sound_ms_p50": _quantile(answers, 0.5),
            "end_to_sound_ms_p95": _quantile(answers, 0.95),
            "onset_to_lowered_ms_p50": _quantile(lowered, 0.5),
            "onset_to_stop_ms_p50": _quantile(stopped, 0.5),
            "backchannel_stops": round(sum(not r.went_on for r in judged) / len(judged), 3) if judged else None,
            "wer_in_the_talks": round(wer.total((r.line.words, r.understood) for r in self.sentences).rate, 4),
            "underruns": max(len(gaps), sum(talk.counted for talk in self.talks.values())),
            "f0_jump_ratio": None,
            "vad_ms": _quantile(noticed, 0.5),
        }

    def stages(self) -> list[Stage]:
        """How long each stage took, in milliseconds; empty if no answer could be followed."""
        rows = [np.diff([r.end, *r.reached]) * 1000 for r in self.answered if r.reached]
        if not rows:
            return []
        return [
            Stage(name, _number(_quantile(list(column), 0.5)), _number(_quantile(list(column), 0.95)))
            for name, column in zip(STAGES, np.array(rows).T, strict=True)
        ]

    def notes(self) -> list[str]:
        """What a reader has to know of the figures."""
        asked, answered = self.asked, self.answered
        stops, backchannels = self.of("stop"), self.of("backchannel")
        early = [r.line.words for r in asked if r.answer_at is not None and r.answer_at < r.end]
        gaps = [round(1000 * gap) for talk in self.talks.values() for gap in talk.gaps]
        lost = [line for talk in self.talks.values() for line in talk.lost]
        notes = [
            f"{len(answered)} of {len(asked)} questions and requests were answered once they were over",
            f"{sum(r.fell_in and r.yielded for r in stops)} of {len(stops)} stops stopped an answer; "
            f"{sum(r.went_on is not None for r in backchannels)} of {len(backchannels)} backchannels fell into one",
            "latencies are those of the browser's sound: a real microphone and loudspeaker add their own",
        ]
        notes += [f"answered before it was over: {text!r}" for text in early]
        notes += [f"gaps in answers, ms: {gaps}"] if gaps else []
        notes += [f"not found in the sound of the microphone, its times are guessed: {text!r}" for text in lost]
        notes += [f"the server: {problem}" for talk in self.talks.values() for problem in talk.problems]
        return notes

    def print(self) -> None:
        """Line by line, then stage by stage."""
        print("a spoken talk: what was said and understood, ms from its end to the answer's sound, from its begin to")
        print("the voice lowered and silent")
        print(f"{'':52} {'answer':>7} {'lowered':>8} {'silent':>7}")
        for name, talk in self.talks.items():
            print(f"voice {name}")
            for r in talk.reactions:
                heard = "" if _same(r.line.words, r.understood) else f" ({r.understood or 'nothing'})"
                text = f"{r.line.words}{heard}"
                stopped = r.silent_at if r.yielded else None
                cells = _cell(r.answer_at, r.end, 7), _cell(r.lowered_at, r.begin, 8), _cell(stopped, r.begin, 7)
                went_on = (
                    {True: "went on", False: "stopped", None: ""}[r.went_on] if r.line.kind == "backchannel" else ""
                )
                print(f"  {text[:50]:50} {' '.join(cells)} {went_on}")
        stages = self.stages()
        if stages:
            print(f"{'from the end of speech to the first sound, ms':44} {'p50':>7} {'p95':>7}")
            for stage in stages:
                print(f"  {stage.name:42} {stage.p50:7.0f} {stage.p95:7.0f}")
        for key, value in self.figures().items():
            if key != "f0_jump_ratio":
                print(f"  {key:42} {'–' if value is None else value:>7}")


def _cell(at: float | None, since: float, width: int) -> str:
    return f"{'–' if at is None else round(1000 * (at - since)):>{width}}"


def _same(said: str, understood: str) -> bool:
    from duplex_runtime.speech.words import spoken

    return spoken(said) == spoken(understood)


def _quantile(values: Sequence[float], q: float) -> float | None:
    if not values:
        return None
    if q == 0.5:
        return round(float(statistics.median(values)), 1)
    return round(float(sorted(values)[min(len(values) - 1, math.ceil(q * len(values)) - 1)]), 1)


def _number(value: float | None) -> float:
    return 0.0 if value is None else value
