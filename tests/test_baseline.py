"""What a person would notice of a model that waits for its turn."""

import itertools

import pytest
from fakes import Bytes, Talk, Words, answering, keys, pairs_of, silent, turns_talk

from duplex_runtime.baseline import (
    MAX_ANSWER,
    SENTENCE_TURN_SECONDS,
    SPOKEN_TURN_SECONDS,
    TYPED_TURN_SECONDS,
    TurnConversation,
)
from duplex_runtime.duplex import MAX_TYPED, Memory
from duplex_runtime.engine.requests import Output
from duplex_runtime.errors import BadInput
from duplex_runtime.events import (
    Cancel,
    Cut,
    Deaf,
    Delta,
    Edit,
    Enter,
    Heard,
    Reaction,
    ResponseCreated,
    ResponseDone,
    Slice,
    SpeechEnd,
    SpeechStart,
    UserText,
    Voiced,
    Yield,
)
from duplex_runtime.layout import EMBEDDED

LONG = " ".join(f"w{i}" for i in range(25))


def talking(**options: object) -> Talk:
    words = Words()
    return turns_talk(answering({"tell me": LONG, "hello": "hi you"}, words), words, **options)


def test_it_answers_on_enter_and_never_before() -> None:
    talk = talking().play([*keys("hello. "), (30.0, Enter())])
    assert [at for at, _ in talk.requests] == [30.0]
    assert talk.pairs == [("hello.", "hi you")]


def test_without_enter_it_waits_for_ever() -> None:
    talk = talking().play(keys("hello. "), patience=10_000)
    assert talk.requests == []
    assert talk.conversation.quiet


def test_enter_with_nothing_typed_is_no_turn() -> None:
    talk = talking().play([(0.1, Enter()), (0.2, UserText("  ")), (0.3, Enter())])
    assert talk.requests == []


def test_what_was_deleted_before_enter_was_never_said() -> None:
    script = [(0.0, UserText("tell me")), (0.1, Edit(7)), (0.2, UserText("hello")), (0.3, Enter())]
    assert talking().play(script).pairs == [("hello", "hi you")]


def test_what_is_typed_while_it_speaks_is_not_heard() -> None:
    talk = talking().play([(0.0, UserText("tell me")), (0.1, Enter()), (2.0, UserText("stop\x00!")), (2.1, Enter())])
    assert talk.pairs == [("tell me", LONG)]
    assert [(d.at, d.text) for d in talk.of(Deaf)] == [(2.0, "stop!")]
    assert talk.of(Cut) == talk.of(Yield) == []
    assert talk.shown == LONG


def test_an_edit_while_it_speaks_is_lost_too() -> None:
    talk = talking().play([(0.0, UserText("tell me")), (0.1, Enter()), (2.0, Edit(3))])
    assert talk.pairs == [("tell me", LONG)]
    assert talk.of(Deaf) == []


def test_it_hears_again_once_its_last_word_was_shown() -> None:
    talk = talking().play([(0.0, UserText("hello")), (0.1, Enter()), (0.51, UserText("tell me")), (0.6, Enter())])
    assert talk.pairs == [("hello", "hi you"), ("tell me", LONG)]
    assert [r.response_id for r in talk.of(ResponseCreated)] == ["turns-1", "turns-2"]


def test_in_pause_mode_silence_ends_a_turn() -> None:
    talk = talking(pause_seconds=1.5).play(keys("hello", seconds=0.1))
    assert [at for at, _ in talk.requests] == [pytest.approx(0.4 + 1.5)]


def test_in_pause_mode_enter_still_ends_a_turn_at_once() -> None:
    talk = talking(pause_seconds=1.5).play([(0.0, UserText("hello")), (0.2, Enter())])
    assert [at for at, _ in talk.requests] == [0.2]


def test_words_appear_at_the_pace_of_the_other_system() -> None:
    talk = talking().play([(0.0, UserText("tell me")), (0.1, Enter())])
    times = [d.at for d in talk.of(Delta)]
    assert times[0] == 0.1
    assert [b - a for a, b in itertools.pairwise(times)] == [pytest.approx(0.2)] * 24
    assert [d.at for d in talk.of(ResponseDone)] == [pytest.approx(0.1 + 25 * 0.2)]


def test_its_answer_is_drawn_in_chunks_as_long_as_slices() -> None:
    talk = talking().play([(0.0, UserText("tell me")), (0.1, Enter())])
    slices = talk.of(Slice)
    assert [s.user for s in slices] == ["tell me", "", ""]
    assert all(s.p_idle is None and not s.idle for s in slices)
    assert [sum(d.slice == s.index for d in talk.of(Delta)) for s in slices] == [10, 10, 5]


def test_the_reaction_is_measured_from_enter() -> None:
    (reaction,) = talking().play([(0.0, UserText("hello")), (0.4, Enter())]).of(Reaction)
    assert (reaction.from_, reaction.to) == (0.4, 0.4)


def test_it_may_not_choose_silence() -> None:
    talk = turns_talk(silent, Words()).play([(0.0, UserText("hm")), (0.1, Enter())])
    assert not talk.requests[0][1].gate
    assert talk.conversation.quiet


def test_the_oldest_whole_turns_are_forgotten() -> None:
    talk = talking(memory=Memory(limit=300, keep=100))
    for i in range(20):
        at = 10.0 * i
        talk.play([(at, UserText(f"number {i} hello")), (at + 0.1, Enter())])
    people = [p for p, _ in talk.pairs]
    assert people[-1] == "number 19 hello"
    assert 2 <= len(people) < 20
    assert people == [f"number {i} hello" for i in range(20 - len(people), 20)]
    assert all(r.truncate_to + len(r.ids) + MAX_ANSWER <= 300 for _, r in talk.requests)


def test_turns_that_the_model_marked_are_not_forgotten() -> None:
    words = Words()

    def reply(stream: list[int]) -> list[int]:
        person = pairs_of(stream, words)[-1][0]
        return [*([EMBEDDED.keep] if "name" in person and EMBEDDED.keep else []), *words.encode("hi you")]

    talk = turns_talk(reply, words, memory=Memory(limit=300, keep=100))
    for i in range(30):
        at = 10.0 * i
        text = "my name is anna" if i == 3 else f"number {i} hello"
        talk.play([(at, UserText(text)), (at + 0.1, Enter())])
    people = [p for p, _ in talk.pairs]
    assert people[0] == "my name is anna"
    assert people[1:] == [f"number {i} hello" for i in range(31 - len(people), 30)]
    assert all(r.truncate_to + len(r.ids) + MAX_ANSWER <= 300 for _, r in talk.requests)


def test_nothing_is_encoded_twice() -> None:
    talk = talking()
    talk.play([(0.0, UserText("tell me")), (0.1, Enter()), (9.0, UserText("hello")), (9.1, Enter())])
    second = talk.requests[1][1]
    assert len(second.ids) == 1 + 1 + 1 + 1  # </s>, the marker, one word, the marker


def test_an_enormous_message_fits_all_the_same() -> None:
    talk = turns_talk(silent, Bytes()).play([(0.0, UserText("x" * MAX_TYPED)), (0.1, Enter())])
    request = talk.requests[0][1]
    assert len(request.ids) + request.max_new_tokens <= 500
    assert request.ids[0] == EMBEDDED.bos


def test_more_than_twenty_thousand_characters_are_refused() -> None:
    talk = talking().hear(UserText("x" * MAX_TYPED))
    with pytest.raises(BadInput, match="at most 20000 characters"):
        talk.hear(UserText("x"))


# — with barge-in, and aloud —


def test_with_barge_in_it_stops_at_the_first_key() -> None:
    talk = talking(barge_in=True).play([(0.0, UserText("tell me")), (0.1, Enter())], patience=0.0).until(1.05)
    talk.hear(UserText("m")).until(1.05 + TYPED_TURN_SECONDS - 0.01)
    assert [y.at for y in talk.of(Yield)] == [1.05]
    assert talk.of(Cut)[0].unheard.split()[0] == "w5"
    assert [d.status for d in talk.of(ResponseDone)] == ["cancelled"]
    assert talk.pairs == [("tell me", "w0 w1 w2 w3 w4")]
    assert not talk.of(Deaf)


def test_what_breaks_in_is_the_beginning_of_the_next_turn() -> None:
    talk = talking(barge_in=True).play([(0.0, UserText("tell me")), (0.1, Enter())], patience=0.0).until(1.05)
    talk.play([(1.1, UserText("hello")), (1.3, Enter())])
    assert talk.pairs[-1] == ("hello", "hi you")


def test_with_barge_in_silence_or_an_end_mark_ends_a_turn() -> None:
    talk = talking(barge_in=True).play([(0.0, UserText("hello"))])
    assert [at for at, _ in talk.requests] == [TYPED_TURN_SECONDS]
    talk = talking(barge_in=True).play([(0.0, UserText("hello."))])
    assert [at for at, _ in talk.requests] == [SENTENCE_TURN_SECONDS]


def test_a_sound_is_enough_to_stop_it() -> None:
    talk = talking(barge_in=True).play([(0.0, UserText("tell me")), (0.1, Enter())], patience=0.0).until(2.0)
    talk.hear(SpeechStart()).until(2.1)
    assert talk.of(Yield)


def test_broken_into_while_the_engine_works_it_ends_there() -> None:
    talk = talking(barge_in=True)
    talk.hear(UserText("tell me")).hear(Enter())
    talk.loop.turn()
    talk.hear(UserText("hello"))
    assert talk.conversation.interrupted
    while talk.engine.busy:
        talk.loop.turn()
    assert len(talk.of(Yield)) == 1
    assert not talk.conversation.interrupted
    talk.play([(0.5, Enter())])
    assert talk.pairs[-1] == ("hello", "hi you")


def broken_into(conversation: TurnConversation, text: str, at: float, words: str = "") -> None:
    """Somebody asks, and types on before the first of the words is there."""
    conversation.hear(UserText(text), at)
    conversation.hear(Enter(), at)
    request = conversation.due(at)
    assert request
    conversation.hear(UserText("and "), at + 0.1)
    length = request.truncate_to + len(request.ids)
    for token in conversation.vocabulary.encode(words):
        conversation.apply(Output(0, token, False, length), at + 0.2)
        length += 1
    conversation.apply(Output(0, None, True, length, stopped=True), at + 0.3)


@pytest.mark.parametrize("words", ["", "hi"])
def test_who_breaks_in_before_the_first_word_goes_on_with_what_they_asked(words: str) -> None:
    """No empty message of the model stays in its memory, which it was never trained on."""
    conversation = talking(barge_in=True).conversation
    broken_into(conversation, "one", 0.0, words)
    broken_into(conversation, "two", 1.0, words)
    conversation.hear(UserText("hello"), 2.0)
    conversation.hear(Enter(), 2.0)
    request = conversation.due(2.0)
    assert request and request.truncate_to <= len(conversation.stream)
    assert pairs_of(conversation.stream, conversation.vocabulary, conversation.layout) == [
        ("one and two and hello", None)
    ]
    said = [e.user for e in conversation.take_events() if isinstance(e, Slice)]
    assert said == (["one", "and two"] if words else [])  # each word is told once


@pytest.mark.parametrize("barge_in", [False, True])
def test_told_to_stop_it_forgets_what_nobody_saw(barge_in: bool) -> None:
    talk = talking(barge_in=barge_in).play([(0.0, UserText("tell me")), (0.1, Enter()), (2.0, Cancel())])
    assert [(d.status, d.at) for d in talk.of(ResponseDone)] == [("cancelled", 2.0)]
    assert talk.of(Deaf) == []
    said = talk.pairs[0][1]
    assert said and LONG.startswith(said) and said != LONG
    talk.play([(30.0, UserText("hello")), (30.1, Enter())])
    assert talk.pairs[1] == ("hello", "hi you")


def test_told_to_stop_while_the_engine_works_it_hears_what_comes_then() -> None:
    talk = talking().hear(UserText("tell me")).hear(Enter())
    talk.loop.turn()
    talk.hear(Cancel()).hear(UserText("hello"))
    while talk.engine.busy:
        talk.loop.turn()
    talk.play([(0.5, Enter())])
    assert talk.of(Deaf) == []
    assert talk.pairs[-1] == ("hello", "hi you")


def test_only_the_answer_in_progress_is_stopped() -> None:
    script = [(0.0, UserText("hello")), (0.1, Enter()), (0.2, Cancel("turns-7")), (30.0, Cancel())]
    assert [d.status for d in talking().play(script).of(ResponseDone)] == ["completed"]


def test_without_barge_in_a_sound_is_nothing() -> None:
    talk = talking().play([(0.0, UserText("tell me")), (0.1, Enter())], patience=0.0).until(2.0)
    talk.hear(SpeechStart()).hear(UserText("stop ")).until(20.0)
    assert not talk.of(Yield)
    assert [d.text for d in talk.of(Deaf)] == ["stop "]
    assert talk.of(ResponseDone)[0].status == "completed"


def test_who_speaks_presses_no_enter() -> None:
    talk = talking().play([(0.0, SpeechStart()), (1.0, UserText("hello ", spoken=True)), (1.5, SpeechEnd(1.2))])
    assert [at for at, _ in talk.requests] == [1.2 + SPOKEN_TURN_SECONDS]


def test_aloud_it_is_deaf_until_its_voice_has_ended() -> None:
    talk = talking().hear(Voiced(True)).play([(0.0, UserText("hello")), (0.1, Enter())], patience=0.0).until(0.5)
    for _ in range(40):
        talk.hear(Heard("turns-1", 2)).until(talk.clock.now() + 0.1)
    talk.hear(UserText("tell me"))
    assert talk.of(Deaf)
    talk.hear(Heard("turns-1", 6)).until(talk.clock.now() + 0.1)
    assert talk.of(ResponseDone)


def test_who_types_waits_for_no_end_of_speech() -> None:
    talk = talking(pause_seconds=1.0).play([(0.0, SpeechStart()), (0.5, UserText("hello"))], patience=0.0)
    talk.hear(SpeechEnd(0.1)).until(9.0)
    assert [at for at, _ in talk.requests] == [1.5]
