import base64
import json
import wave
from pathlib import Path
from typing import Any

import pytest

from duplex_runtime.clock import SimulatedClock
from duplex_runtime.errors import DuplexError
from duplex_runtime.events import Cancel, Delta, UserText
from tests.study_fakes import quick_study
from tests.web_fakes import shape
from webapp.study.blind import ERRORS, PARTNER, SESSIONS, SHOWN, Cover, talk_event
from webapp.study.definition import SYSTEMS
from webapp.study.routes import STATUS
from webapp.study.service import Opened
from webapp.study.tally import Figures
from webapp.study.texts import texts_of
from webapp.wire import AudioUpdate, Played, SessionUpdate, Sound, Typed, parse

CASES = json.loads((Path(__file__).parent / "wire_cases.json").read_text(encoding="utf-8"))
#: What would tell which system it is, or what it runs on.
TELLING = (
    "turns", "strict", "barge", '"duplex"', "duplex-", "embedded", "chat-model", "5200000", "idle", "slice", "aligned",
    "completed", "cancelled", "status", "index", "level", "committed_at", "noticed_at",
)  # fmt: skip


def cover_of(folder: Path, system: str = "strict", audio: bool = False) -> Cover:
    study = quick_study(folder)
    opened = Opened(1, "talk-1-1", system, "0123abcd.jsonl", audio, Figures(), "en")
    return Cover(opened, study.recordings, texts_of(study, "en"))


@pytest.fixture
def cover(tmp_path: Path) -> Cover:
    return cover_of(tmp_path)


def server_events() -> list[Any]:
    events = [c["event"] for c in CASES if c["direction"] == "server" and not c.get("invalid")]
    return [pytest.param(e, id=e["type"]) for e in events if "audio" in e.get("session", {"audio": {}})]


@pytest.mark.parametrize("event", server_events())
@pytest.mark.parametrize("system", SYSTEMS)
def test_nothing_that_leaves_tells_the_system(tmp_path: Path, system: str, event: dict[str, Any]) -> None:
    shown = cover_of(tmp_path, system).outward(event)
    told = json.dumps(shown)
    assert not [word for word in TELLING if word in told], told
    if shown is not None and event["type"] != "error":
        assert shown["type"] == event["type"] in SHOWN


def test_all_systems_look_alike(tmp_path: Path) -> None:
    """An answer of each, told by its own server, is the same to the participant."""
    heard = {}
    for system in SYSTEMS:
        cover = cover_of(tmp_path / system, system)
        name = cover.system
        told = [
            cover.outward({"type": "response.created", "system": name, "response": {"id": f"{name}-1"}, "at": 1.0}),
            cover.outward(Delta(name, f"{name}-1", 3, " hi", 1.5).to_json()),
            cover.outward({"type": "duplex.yield", "system": name, "at": 2.0}),
            cover.outward(
                {"type": "response.done", "system": name, "response_id": f"{name}-1", "status": "x", "at": 2}
            ),
        ]
        heard[system] = json.dumps(told)
    assert len(set(heard.values())) == 1
    assert f'"{PARTNER}-1"' in heard["duplex"]


def test_what_is_needed_to_show_an_answer_is_left(cover: Cover) -> None:
    delta = cover.outward(Delta("turns", "turns-7", 3, " hi", 1.5).to_json())
    assert delta == {
        "type": "response.output_text.delta", "system": "partner", "response_id": "partner-7", "delta": " hi", "at": 1.5
    }  # fmt: skip
    cut = {"type": "duplex.cut", "system": "turns", "response_id": "turns-7", "slice": 4, "at": 2.0, "unheard": " you"}
    assert cover.outward(cut) == {
        "type": "duplex.cut", "system": "partner", "response_id": "partner-7", "at": 2.0, "unheard": " you"
    }  # fmt: skip


def test_ears_and_voices_are_named_without_their_notes(cover: Cover) -> None:
    case = next(c["event"] for c in CASES if c["name"] == "session_created_with_audio")
    shown = cover.outward(case)
    assert shown and set(shown) == {"type", "session", "at"}
    assert shape(shown["session"]) == shape(
        {"audio": {"ears": {"name": ""}, "voices": [{"id": "", "name": ""}], "voice": "", "rate": 1}}
    )


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("full", "busy"),
        ("busy", "busy"),
        ("bad_input", "bad_request"),
        ("recording_stopped", "database_away"),
        ("conversation_failed", "unexpected"),
        ("something new", "unexpected"),
    ],
)
def test_errors_are_told_in_the_studys_words(cover: Cover, tmp_path: Path, code: str, said: str) -> None:
    texts = texts_of(quick_study(tmp_path), "en")
    error = {"type": "error", "error": {"type": "x", "code": code, "message": "CUDA: the duplex model broke"}}
    shown = cover.outward(error)
    assert shown == {"type": "error", "error": {"code": said, "message": texts[f"error.{said}"]}}


def test_every_error_has_its_words_in_every_language(tmp_path: Path) -> None:
    study = quick_study(tmp_path)
    for language in study.languages:
        texts = texts_of(study, language)
        assert {f"error.{code}" for code in (*ERRORS.values(), *STATUS, "talk_open", "busy")} <= set(texts)


def test_how_much_was_talked_may_be_told(cover: Cover, tmp_path: Path) -> None:
    event = talk_event(quick_study(tmp_path), Figures(12.7, 3, 1))
    assert cover.outward(event) == {
        "type": "study.talk", "seconds": 12, "turns": 3, "needed_seconds": 20, "needed_turns": 2
    }  # fmt: skip


def test_each_system_of_a_study_is_a_session(tmp_path: Path) -> None:
    covers = {system: cover_of(tmp_path / system, system) for system in SYSTEMS}
    assert {s: (c.system, c.baseline) for s, c in covers.items()} == SESSIONS
    assert set(SESSIONS) == set(SYSTEMS)


# — what they may decide —


def test_slices_baseline_and_system_are_not_the_participants_to_choose(cover: Cover) -> None:
    source, output = {"format": {"type": "audio/pcm", "rate": 24000}}, {"voice": "v", "system": "duplex"}
    session = {"slice_seconds": 4, "baseline": "barge-in", "audio": {"input": source, "output": output}}
    taken = cover.inward(parse(json.dumps({"type": "session.update", "session": session})))
    assert taken == SessionUpdate(None, None, None, AudioUpdate(24_000, "v", True, None))


def test_what_was_played_belongs_to_the_real_answer(cover: Cover) -> None:
    assert cover.inward(Played("partner-7", 100, True)) == Played("turns-7", 100, True)


def test_what_is_typed_goes_through(cover: Cover) -> None:
    typed = Typed((UserText("hi"),))
    assert cover.inward(typed) == typed


def test_which_answers_end_early_is_not_the_participants_to_choose(cover: Cover) -> None:
    assert cover.inward(Typed((Cancel(),))) == Typed(())


# — recordings —


def test_the_log_is_where_the_talks_row_says(cover: Cover, tmp_path: Path) -> None:
    recording = cover.recording(lambda error: pytest.fail(str(error)))
    assert recording
    recording.write("line\n")
    recording.close()
    assert (tmp_path / "recordings" / "0123abcd.jsonl").read_text() == "line\n"
    assert (tmp_path / "recordings").stat().st_mode & 0o077 == 0
    assert cover.id == "0123abcd"


def test_a_folder_that_cannot_be_written_is_told(cover: Cover, tmp_path: Path) -> None:
    (tmp_path / "recordings").touch()
    told: list[DuplexError] = []
    assert cover.recording(told.append) is None
    assert [error.code for error in told] == ["recording_stopped"]


def speak(cover: Cover, clock: SimulatedClock) -> None:
    cover.observers(clock)
    for n in range(5):
        clock.move_to(0.02 * (n + 1))
        cover.inward(Sound(base64.b64decode("AQI=") * 320))
    cover.inward(Sound(None))
    cover.close()


def test_the_voice_is_kept_only_if_it_is_allowed(tmp_path: Path) -> None:
    for audio in (False, True):
        cover = cover_of(tmp_path / str(audio), audio=audio)
        log = cover.recording(lambda error: None)
        assert log
        log.close()
        speak(cover, SimulatedClock())
        file = tmp_path / str(audio) / "recordings" / "0123abcd.wav"
        assert file.exists() == audio
    with wave.open(str(file)) as voice:
        assert (voice.getframerate(), voice.getnframes()) == (16_000, 1600)


def test_a_voice_that_cannot_be_written_ends_no_talk(tmp_path: Path) -> None:
    cover = cover_of(tmp_path, audio=True)
    told: list[DuplexError] = []
    log = cover.recording(told.append)
    assert log
    log.close()
    cover.discard()
    (tmp_path / "recordings").rmdir()
    speak(cover, SimulatedClock())
    assert [error.code for error in told] == ["recording_stopped"]


def test_what_was_recorded_can_be_discarded(tmp_path: Path) -> None:
    cover = cover_of(tmp_path, audio=True)
    log = cover.recording(lambda error: None)
    assert log
    speak(cover, SimulatedClock())
    log.close()
    other = tmp_path / "recordings" / "0123abcde.jsonl"
    other.touch()
    cover.discard()
    assert list((tmp_path / "recordings").iterdir()) == [other]
