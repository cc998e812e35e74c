"""`duplex bench voice`: a spoken talk in a real browser, measured by its sound. A table for people, and its figures.

A recorded person (`person.py`) speaks into the microphone of a Chromium that has the page open. What the microphone
gives, what the voice plays and what the loudspeaker gets is recorded on one clock (`heard.py`), and every latency is
taken from these recordings: what the application tells of itself only says which of its steps takes how long.

Three voices, each in a talk of its own: four questions, of which one has a pause in it, an explanation that is stopped,
and one during which the person says "mm-hm".
"""

from __future__ import annotations

import base64
import io
import json
import math
import random
import statistics
import tempfile
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from duplex_runtime.alignment.corpus import Corpus, load
from duplex_runtime.errors import DuplexError
from duplex_runtime.evaluation import sound
from duplex_runtime.speech.base import MOUTH_RATE
from webapp.heard import Heard, fetch, talking
from webapp.person import RATE, Line, Recorded, Speak, espeak, flite, has_flite, recorded, write_wav
from webapp.stages_picture import Stage, picture

PICTURE = Path(__file__).parents[1] / "docs" / "voice-latency.svg"
STOPS = ("Stop.", "That's enough.", "Please stop.")
BACKCHANNELS = ("uh-huh", "okay", "right", "mm-hm", "I see", "yeah")
#: Seconds left for an answer to a question, for an explanation before it is stopped, and for a whole one.
ANSWER_SECONDS, BEFORE_STOP_SECONDS, EXPLANATION_SECONDS = 6.0, 5.5, 15.0
BEFORE_BACKCHANNEL_SECONDS, AFTER_STOP_SECONDS = 5.0, 3.5
#: An answer that is silent for longer is over: its pauses between sentences are shorter.
PAUSE_SECONDS = 0.7
#: For a page to open, a server to answer: the machine may be busy.
PATIENCE_MS = 60_000
#: Sound is compared with sound at this rate.
_COARSE = 8000
#: Seconds in which a browser opens its microphone, and that pass between two lines at most more than in the WAV.
_OPENING_SECONDS, _DRIFT_SECONDS = 12.0, 0.5

STAGES = (
    "end of speech noticed",
    "words certain",
    "slice closed",
    "model decided",
    "first text at the page",
    "first sound at the page",
    "first sound heard",
)


def run(model: str, out: Path | None = None) -> dict[str, Any]:
    """Hold the talks and measure them. out: a folder for what was recorded."""
    from webapp.bench import _server

    notes: list[str] = []
    results = Results()
    with _server(model) as port:
        for name, speak, lines in _talks(load(), notes):
            said = recorded(lines, speak)
            heard = hold(port, said)
            if out is not None:
                keep(out, name, said, heard)
            results.add(name, examine(said, heard))
    results.print()
    figures, stages = results.figures(), results.stages()
    if stages and PICTURE.parent.is_dir():
        title = "From the end of a question to the first sound of the answer, milliseconds"
        totals = {kind: figures[f"end_to_sound_ms_{kind}"] for kind in ("p50", "p95")}
        PICTURE.write_text(picture(title, stages, totals), encoding="utf-8")
    figures["f0_jump_ratio"] = _f0_jump_ratio(notes)
    return {**figures, "notes": notes + results.notes()}


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


# — what the recording says —


@dataclass(frozen=True)
class Reaction:
    """What followed a line: seconds in the recording, None for what did not happen.

    begin, end: of its speech. understood: its words as they were recognised. answer_at: the first sound after it.
    lowered_at, silent_at: of an answer that it fell into (`fell_in`). yielded: the model stopped for it. went_on: that
    answer was said to its end. reached: when each of STAGES was.
    """

    line: Line
    begin: float
    end: float
    understood: str
    fell_in: bool
    answer_at: float | None
    lowered_at: float | None
    silent_at: float | None
    yielded: bool
    went_on: bool | None
    reached: tuple[float, ...] | None

    @property
    def waits(self) -> bool:
        """It asked for an answer and got none yet."""
        return self.line.kind in ("question", "explanation") and not self.fell_in and self.answer_at is None


@dataclass(frozen=True)
class Talk:
    """One talk: how its lines were answered, gaps in seconds, what the worklet counted, lines not found, and what the
    server said was wrong."""

    reactions: tuple[Reaction, ...]
    gaps: tuple[float, ...]
    counted: int
    lost: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


def examine(said: Recorded, heard: Heard) -> Talk:
    """Compare what was said with what was recorded."""
    placed, lost = _places(said, heard)
    reactions: list[Reaction] = []
    begins = [begin for _, begin, _ in placed]
    for number, (line, begin, end) in enumerate(placed):
        until = begins[number + 1] if number + 1 < len(begins) else len(heard.loudspeaker) / heard.rate
        reaction = _react(line, begin, end, until, heard)
        if reactions and reaction.answer_at is not None and reaction.answer_at < end and reactions[-1].waits:
            # nobody answers what was not said yet: this is what the line before was waiting for
            before, late = reactions[-1], reaction.answer_at
            reached = _reached(heard, before.begin, before.end, late)
            reactions[-1] = replace(before, answer_at=late, reached=reached)
            reaction = replace(reaction, fell_in=True, answer_at=None, reached=None)
        reactions.append(reaction)
    counted = max((int(told.event.get("underruns", 0)) for told in heard.reports), default=0)
    wrong = [str(told.event.get("message")) for told in heard.of("duplex.audio.problem")]
    wrong += [str(told.event.get("error", {}).get("message")) for told in heard.of("error")]
    return Talk(tuple(reactions), tuple(_gaps(heard)), counted, tuple(lost), tuple(wrong))


def _places(said: Recorded, heard: Heard) -> tuple[list[tuple[Line, float, float]], list[str]]:
    """Each line with the seconds at which its speech begins and ends in the recording; and those not found."""
    microphone = sound.resampled(heard.microphone, heard.rate, _COARSE)
    shift, within = 0.0, _OPENING_SECONDS
    placed, lost = [], []
    for part in said.said:
        known = sound.resampled(part.sound, RATE, _COARSE)
        place, alike = sound.locate(known, microphone, _COARSE, part.place + shift, within)
        if alike < sound.ALIKE:
            lost.append(part.line.words)
        else:
            shift, within = place - part.place, _DRIFT_SECONDS
        placed.append((part.line, part.begin + shift, part.end + shift))
    if len(lost) == len(placed):
        raise DuplexError("no_sound", "nothing of what the person said was found in the sound of the microphone")
    return placed, lost


def _react(line: Line, begin: float, end: float, until: float, heard: Heard) -> Reaction:
    loudspeaker, rate = heard.loudspeaker, heard.rate
    fell_in = sound.is_sounding(loudspeaker, rate, begin, PAUSE_SECONDS)
    kind = "conversation.item.input_audio_transcription.delta"
    understood = " ".join(str(told.event.get("delta", "")).strip() for told in heard.of(kind, begin, until))
    answer_at = lowered_at = silent_at = went_on = None
    yielded = bool(heard.of("duplex.yield", begin, until, system="duplex"))
    if fell_in:
        lowered_at = sound.lowered_at(heard.voice, loudspeaker, rate, begin, begin + 1.5)
        silent_at = sound.next_silence(loudspeaker, rate, begin, PAUSE_SECONDS)
        went_on = _went_on(heard, begin)
    else:
        answer_at = sound.next_sound(loudspeaker, rate, begin, until)
    reached = _reached(heard, begin, end, answer_at) if answer_at else None
    return Reaction(line, begin, end, understood, fell_in, answer_at, lowered_at, silent_at, yielded, went_on, reached)


def _went_on(heard: Heard, at: float) -> bool | None:
    """Was the answer that sounds at `at` said to its end? None if that is not known."""
    begun = [t for t in heard.of("response.output_audio.delta", until=at)]
    if not begun:
        return None
    answer = begun[-1].event["response_id"]
    done = [t for t in heard.of("response.done") if answer in (t.event.get("response_id"), _id(t.event))]
    if not done:
        return None
    sounded = [t for t in heard.reports if t.event["response_id"] == answer]
    to_its_end = bool(sounded) and sounded[-1].event.get("reason") == "ended"
    return done[-1].event.get("status") == "completed" and to_its_end


def _id(event: dict[str, Any]) -> str | None:
    response = event.get("response")
    return response.get("id") if isinstance(response, dict) else None


def _reached(heard: Heard, begin: float, end: float, answer_at: float) -> tuple[float, ...] | None:
    """When each stage of an answer was reached, never before the one before it; None if it cannot be told."""
    late = answer_at + 0.05  # what is told and what is heard come by different ways
    created = heard.of("response.created", begin, late, system="duplex")
    if not created:
        return None
    answer = _id(created[-1].event)
    decided = created[-1].at

    def last(kind: str, until: float) -> float:
        return max((t.at for t in heard.of(kind, begin, until)), default=end)

    def first(kind: str) -> float:
        return min((t.at for t in heard.of(kind, begin, late, response_id=answer)), default=decided)

    difference = _session_clock(heard)
    closed = [t.event["at"] + difference for t in heard.of("duplex.slice", begin, late, system="duplex", idle=False)]
    moments = (
        last("input_audio_buffer.speech_stopped", decided),
        last("conversation.item.input_audio_transcription.delta", decided),
        max(closed, default=decided),
        decided,
        first("response.output_text.delta"),
        first("response.output_audio.delta"),
        answer_at,
    )
    return tuple(float(m) for m in np.maximum.accumulate([end, *moments])[1:])


def _session_clock(heard: Heard) -> float:
    """What is to be added to a time of the session: what is told at once arrives at the least difference."""
    at_once = ("conversation.item.input_audio_transcription.delta", "duplex.hypothesis")
    return min((t.at - t.event["at"] for t in heard.received if t.type in at_once), default=0.0)


def _gaps(heard: Heard) -> list[float]:
    """Gaps that answers have in the sound of the voice and not in what was sent, seconds."""
    voice = sound.resampled(heard.voice, heard.rate, _COARSE)
    gaps: list[float] = []
    for answer, sent in _sent(heard).items():
        begun = [t.at for t in heard.reports if t.event["response_id"] == answer and t.event.get("reason") == "begun"]
        if begun:
            gaps += sound.stalls(sound.resampled(sent, MOUTH_RATE, _COARSE), voice, _COARSE, begun[0])
    return gaps


def _sent(heard: Heard) -> dict[str, np.ndarray]:
    """The sound of each answer as the page was told to play it, float32[n] at MOUTH_RATE."""
    answers: dict[str, np.ndarray] = {}
    for told in heard.received:
        event = told.event
        if told.type == "response.output_audio.delta":
            before = answers.get(event["response_id"], np.zeros(0, np.float32))[: event["start"]]
            samples = np.frombuffer(base64.b64decode(event["delta"]), "<i2").astype(np.float32) / 32768
            gap = np.zeros(max(0, event["start"] - len(before)), np.float32)
            answers[event["response_id"]] = np.concatenate([before, gap, samples])
        elif told.type == "duplex.audio.flush" and event["response_id"] in answers:
            answers[event["response_id"]] = answers[event["response_id"]][: event["samples"]]
    return answers


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
        noticed = [1000 * (r.reached[0] - r.end) for r in self.answered if r.reached]
        gaps = [gap for talk in self.talks.values() for gap in talk.gaps]
        return {
            "end_to_sound_ms_p50": _quantile(answers, 0.5),
            "end_to_sound_ms_p95": _quantile(answers, 0.95),
            "onset_to_lowered_ms_p50": _quantile(lowered, 0.5),
            "onset_to_stop_ms_p50": _quantile(stopped, 0.5),
            "backchannel_stops": round(sum(not r.went_on for r in judged) / len(judged), 3) if judged else None,
            "wer_offline": round(wer.total((r.line.words, r.understood) for r in self.reactions).rate, 4),
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
