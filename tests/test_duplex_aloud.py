"""A talk that is spoken aloud, by the person, by the model, or by both."""

import pytest
from fakes import Talk, Words, answering, duplex_talk, keys

from duplex_runtime.events import (
    Cut,
    Delta,
    Edit,
    Heard,
    Input,
    Reaction,
    ResponseDone,
    Sealed,
    Slice,
    SpeechEnd,
    SpeechStart,
    UserText,
    Voiced,
    Yield,
)
from duplex_runtime.layout import EMBEDDED
from duplex_runtime.slices import Slicing

LONG = " ".join(f"w{i}" for i in range(40))
SLICING = Slicing()


def aloud(reply: dict[str, str] | None = None) -> Talk:
    """A talk whose answers are spoken aloud."""
    words = Words()
    talk = duplex_talk(answering(reply or {"tell me": LONG, "mm-hm": LONG, "hello": "hi you"}, words), words)
    return talk.hear(Voiced(True))


def spoken(text: str, start: float, end: float) -> list[tuple[float, Input]]:
    """A person's words, certain 0.1 s after they stopped, which is noticed 0.3 s after."""
    return [(start, SpeechStart()), (end + 0.1, UserText(f"{text} ", spoken=True)), (end + 0.3, SpeechEnd(end))]


def hearing(talk: Talk, count: int, until: float) -> Talk:
    """The loudspeaker has said so many words and says no more, of which it tells ten times a second."""
    while talk.clock.now() < until - 1e-6:
        talk.hear(Heard("duplex-1", len(" ".join(LONG.split()[:count])))).until(talk.clock.now() + 0.1)
    return talk


def test_silence_is_counted_from_the_end_of_speech() -> None:
    talk = aloud().play(spoken("hello", 1.0, 2.0))
    reaction = talk.of(Reaction)[0]
    assert reaction.from_ == 2.0
    assert reaction.to == pytest.approx(2.0 + SLICING.decide_seconds)


def test_only_what_was_typed_since_can_be_taken_back() -> None:
    words = Words()
    talk = duplex_talk(answering({}, words), words)
    talk.hear(UserText("one ")).hear(UserText("two ", spoken=True))
    assert [s.characters for s in talk.of(Sealed)] == [len("one ")]
    talk.hear(UserText("three")).hear(Edit(9)).hear(UserText("four ")).until(1.0)
    assert [s.user for s in talk.of(Slice) if s.user] == ["one two four"]
    talk.hear(Edit(99)).until(9.0)
    assert talk.pairs == [("one two", "")]


def test_spoken_words_are_no_characters_of_the_text_box() -> None:
    talk = (
        aloud({"hello": "hi you"})
        .hear(UserText("well, "))
        .hear(UserText("hello ", spoken=True))
        .hear(UserText("hello. "))
    )
    talk.until(2.0)
    assert [s.characters for s in talk.of(Sealed)] == [len("well, "), len("hello. ")]


def test_nothing_is_decided_while_somebody_speaks() -> None:
    talk = aloud().play([(0.0, SpeechStart()), (0.5, UserText("hello ", spoken=True))], patience=0.0).until(1.9)
    assert talk.of(Slice) == []
    talk.hear(SpeechEnd(1.8)).until(3.0)
    assert [r.to for r in talk.of(Reaction)] == [pytest.approx(1.8 + SLICING.decide_seconds)]


def test_noise_that_does_not_end_delays_an_answer_and_prevents_none() -> None:
    talk = aloud().play([(0.0, SpeechStart()), (0.5, UserText("hello ", spoken=True))], patience=0.0).until(9.0)
    assert [r.to for r in talk.of(Reaction)] == [pytest.approx(0.5 + SLICING.period_seconds)]


def test_who_types_waits_for_no_end_of_speech() -> None:
    talk = aloud().play([(0.0, SpeechStart()), (1.0, UserText("hello. "))], patience=0.0).until(2.0)
    assert [r.to for r in talk.of(Reaction)] == [pytest.approx(1.0 + SLICING.pause_seconds)]
    talk.hear(SpeechEnd(0.1))
    assert talk.conversation._last_key_at == 1.0


def test_asked_to_speak_into_a_silence_it_sleeps_while_somebody_makes_sounds() -> None:
    words = Words()
    talk = duplex_talk(answering({}, words), words, wakes=True)
    talk.play([(0.0, SpeechStart()), (0.5, UserText("hello ", spoken=True))], patience=0.0).until(40.0)
    assert len(talk.requests) < 6


def test_a_word_that_is_certain_closes_the_slice_at_once_while_the_model_speaks() -> None:
    talk = aloud().play(keys("tell me. "), patience=0.0).until(3.0)
    assert talk.of(Delta)
    talk.hear(SpeechStart()).until(3.4).hear(UserText("stop ", spoken=True)).until(3.6)
    assert [y.at for y in talk.of(Yield)] == [3.4 + SLICING.voice_barge_in_seconds]


def test_a_typed_answer_is_as_it_was() -> None:
    words = Words()
    talks = [duplex_talk(answering({"hello": "hi you"}, words), words).play(keys("hello. ")) for _ in range(2)]
    assert talks[0].events == talks[1].hear(Heard("duplex-1", 3)).events


def test_what_was_not_played_is_cut_though_it_was_due() -> None:
    talk = hearing(aloud().play(keys("tell me. "), patience=0.0).until(2.0), 3, 4.0)
    hearing(talk.hear(UserText("stop. ")), 3, 4.6)
    cut = talk.of(Cut)[0]
    assert cut.unheard.split()[0] == "w3"
    assert talk.pairs[0] == ("tell me.", "w0 w1 w2")
    assert talk.of(ResponseDone)[0].status == "cancelled"


def test_a_cut_reaches_back_over_slices_that_were_made_ahead() -> None:
    talk = hearing(aloud().play(keys("tell me. "), patience=0.0).until(2.0), 8, 3.0)
    assert len(talk.of(Delta)) == 20  # the next slice was made before the first has been heard
    assert len(talk.conversation.units) == 2
    hearing(talk.hear(UserText("stop. ")), 8, 4.0)
    assert talk.pairs[0] == ("tell me.", "w0 w1 w2 w3 w4 w5 w6 w7")
    assert talk.of(Cut)[0].unheard.split() == talk.shown.split()[8:]


def test_after_a_backchannel_it_goes_on_from_what_was_heard() -> None:
    talk = hearing(aloud().play(keys("tell me. "), patience=0.0).until(2.0), 5, 2.5)
    hearing(talk.hear(UserText("mm-hm. ")), 5, 3.0)
    assert not talk.of(Yield)
    assert talk.pairs[:2] == [("tell me.", "w0 w1 w2 w3 w4"), ("mm-hm.", talk.pairs[1][1])]
    assert talk.pairs[1][1]


def test_the_next_slice_is_asked_for_before_the_sound_ends() -> None:
    talk = aloud().play(keys("tell me. "), patience=0.0).until(30.0)
    slices = [at for at, _ in talk.requests]
    first_words = [d.at for d in talk.of(Delta)][::10]
    assert len(first_words) == 4
    for asked, begins in zip(slices[1:4], first_words[1:], strict=True):
        assert abs(begins - asked - SLICING.voice_lead_seconds) < 0.01


def test_an_answer_is_done_only_when_it_was_heard() -> None:
    talk = aloud().play(keys("hello. "), patience=0.0).until(0.8)
    for _ in range(30):
        talk.hear(Heard("duplex-1", 2)).until(talk.clock.now() + 0.1)
    assert not talk.of(ResponseDone)
    talk.hear(Heard("duplex-1", 6)).until(talk.clock.now() + 0.1)
    assert [d.status for d in talk.of(ResponseDone)] == ["completed"]


def test_reports_of_another_answer_change_nothing() -> None:
    talk = aloud().play(keys("hello. "), patience=0.0).until(0.8)
    before = list(talk.conversation._speech.shown_at)
    talk.hear(Heard("duplex-7", 0)).hear(Heard("turns-1", 0))
    assert talk.conversation._speech.shown_at == before


def test_the_stream_is_one_that_training_knows() -> None:
    talk = hearing(aloud().play(keys("tell me. "), patience=0.0).until(2.0), 6, 2.3)
    hearing(talk.hear(UserText("stop. ")), 6, 3.0)
    stream = talk.conversation.stream
    assert stream.count(EMBEDDED.user_marker[0]) == stream.count(EMBEDDED.eos) == len(talk.conversation.units)
