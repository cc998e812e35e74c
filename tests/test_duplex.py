"""What a person would notice of a model that listens while it speaks."""

import itertools
from collections.abc import Callable, Sequence
from random import Random

import pytest
from fakes import (
    Bytes,
    FakeEngine,
    Talk,
    Words,
    answering,
    duplex_talk,
    endless,
    keys,
    pairs_of,
    silent,
)

from duplex_runtime.duplex import MAX_TYPED, DuplexConversation, Memory
from duplex_runtime.engine.requests import Output, Sampling
from duplex_runtime.errors import BadInput
from duplex_runtime.events import (
    Cancel,
    Cut,
    Delta,
    Edit,
    Enter,
    Event,
    Input,
    Reaction,
    ResponseCreated,
    ResponseDone,
    Sealed,
    Slice,
    UserText,
    Yield,
)
from duplex_runtime.layout import EMBEDDED, MINICPM_DUPLEX
from duplex_runtime.slices import Slicing

LONG = " ".join(f"w{i}" for i in range(25))
TWO_SECONDS = Slicing.parse(2)
ROOMY = Memory(limit=8000, keep=6000)


def listening(**options: object) -> Talk:
    """A talk with a model that never speaks."""
    return duplex_talk(silent, Words(), **options)


def explaining(**options: object) -> Talk:
    """A talk with a model that explains at length when told to, and greets back."""
    words = Words()
    return duplex_talk(answering({"tell me": LONG, "hello": "hi you"}, words), words, **options)


def said_by_model(talk: Talk) -> str:
    return " ".join(m for _, m in talk.pairs if m)


def seen(events: Sequence[Event]) -> dict[str, str]:
    """What of each answer the person has seen in the end; checks that the times fit."""
    answers: dict[str, list[Delta]] = {}
    for event in events:
        if isinstance(event, Delta):
            deltas = answers.setdefault(event.response_id, [])
            assert not deltas or event.at >= deltas[-1].at
            deltas.append(event)
        elif isinstance(event, Cut):
            deltas = answers[event.response_id]
            gone = [d for d in deltas if d.at > event.at]
            assert "".join(d.delta for d in gone) == event.unheard
            answers[event.response_id] = [d for d in deltas if d.at <= event.at]
    return {name: "".join(d.delta for d in deltas) for name, deltas in answers.items()}


# — slices —


def test_a_word_still_being_typed_waits() -> None:
    talk = listening().play(keys("can you hel"), patience=0.7)
    assert talk.pairs == []
    talk.hear(UserText("p ")).until(2)
    assert talk.pairs[:1] == [("can you help", "")]


def test_a_word_without_an_end_counts_after_eight_tenths_of_a_second() -> None:
    talk = listening().play([(0.0, UserText("hello"))], patience=0.79)
    assert talk.of(Slice) == []
    talk.until(0.8)
    assert [s.user for s in talk.of(Slice)][:1] == ["hello"]


def test_an_adaptive_slice_closes_three_tenths_of_a_second_after_the_last_key() -> None:
    talk = listening().play(keys("hello there. ", seconds=0.1))
    first = talk.of(Slice)[0]
    assert (first.user, first.opened_at) == ("hello there.", 0.0)
    assert first.at == pytest.approx(1.2 + 0.3)


def test_somebody_who_types_without_a_pause_is_heard_every_two_seconds() -> None:
    talk = listening(memory=ROOMY).play(keys("one two six ten " * 12, seconds=0.1))
    lengths = [s.at - s.opened_at for s in talk.of(Slice) if s.user]
    assert len(lengths) >= 9
    assert max(lengths) <= 2.0 + 1e-6
    assert min(lengths[:-1]) >= 1.9
    assert " ".join(p for p, _ in talk.pairs if p) == ("one two six ten " * 12).strip()


def test_a_space_typed_long_before_does_not_cut_the_first_word_off() -> None:
    talk = listening().play([(0.0, UserText("hello.")), (1.0, UserText(" ")), *keys("how are you. ", 60)])
    assert [s.user for s in talk.of(Slice) if s.user] == ["hello.", "how are you."]


def test_fixed_slices_close_on_the_grid_and_nowhere_else() -> None:
    talk = listening(slicing=TWO_SECONDS).play(keys("one two three four. " * 3, at=0.7)).until(20)
    assert [s.at for s in talk.of(Slice)] == [pytest.approx(2.0 * i) for i in range(1, 11)]
    assert [s.opened_at for s in talk.of(Slice)] == [pytest.approx(2.0 * i) for i in range(10)]


def test_a_fixed_slice_takes_whole_words_only() -> None:
    talk = listening(slicing=TWO_SECONDS).play([(1.5, UserText("one tw")), (2.1, UserText("o."))])
    assert [s.user for s in talk.of(Slice) if s.user] == ["one", "two."]


def test_after_a_long_sleep_a_fixed_grid_goes_on_without_catching_up() -> None:
    talk = listening(slicing=TWO_SECONDS).play([(0.0, UserText("hello. "))])
    before = len(talk.of(Slice))
    talk.clock.move_to(100.5)
    talk.until(104.0)
    assert [s.at for s in talk.of(Slice)][before:] == [100.5, 102.0, 104.0]


def test_slices_are_numbered_in_order() -> None:
    talk = explaining(slicing=TWO_SECONDS).play(keys("tell me. ") + keys("stop. ", 5)).until(30)
    assert [s.index for s in talk.of(Slice)] == list(range(len(talk.of(Slice))))


def test_nothing_happens_before_somebody_types() -> None:
    talk = listening()
    assert talk.conversation.quiet
    assert talk.conversation.next_due() is None
    assert talk.conversation.due(100.0) is None


def test_spaces_alone_are_nothing() -> None:
    talk = listening().play(keys("    "))
    assert talk.conversation.quiet
    assert talk.requests == []


# — when it answers —


def test_words_without_an_end_mark_are_answered_after_one_silent_slice() -> None:
    talk = explaining().play(keys("tell me ", seconds=0.1))
    heard, decided, *_ = talk.of(Slice)
    assert (heard.user, heard.idle, heard.at) == ("tell me", True, pytest.approx(1.0))
    assert (decided.user, decided.idle, decided.at) == ("", False, pytest.approx(0.7 + 0.8))
    assert said_by_model(talk) == LONG


def test_a_last_word_without_a_delimiter_is_heard_and_answered_in_one_append() -> None:
    talk = explaining().play([(0.0, UserText("hello"))])
    assert [(s.user, s.idle, s.at) for s in talk.of(Slice)] == [("hello", True, 0.8), ("", False, 0.8)]
    assert len(talk.requests) == 1
    assert talk.pairs == [("hello", ""), ("", "hi you")]


def test_the_silence_is_not_asked_for_when_more_words_come() -> None:
    talk = explaining().play(keys("tell ") + keys("me ", 0.7) + keys("please ", 1.4))
    assert all(not s.idle or s.user for s in talk.of(Slice)[:3])
    assert said_by_model(talk) == ""


def test_an_end_mark_is_answered_in_its_own_slice() -> None:
    talk = explaining().play(keys("hello."))
    assert talk.pairs == [("hello.", "hi you")]


def test_a_model_that_need_not_wait_answers_words_without_an_end_mark_at_once() -> None:
    talk = explaining(wait_for_end_mark=False).play(keys("hello "))
    assert talk.pairs == [("hello", "hi you")]


@pytest.mark.parametrize("slicing", [Slicing(), TWO_SECONDS], ids=["adaptive", "fixed"])
def test_enter_decides_at_once_in_the_same_append(slicing: Slicing) -> None:
    talk = explaining(slicing=slicing).play([(0.1, UserText("hello")), (0.2, Enter())])
    assert talk.requests[0][0] == 0.2
    assert talk.of(ResponseCreated)[0].at == 0.2
    assert talk.pairs == [("hello", ""), ("", "hi you")]


def test_enter_decides_about_words_already_heard() -> None:
    talk = explaining().play([*keys("hello "), (0.7, Enter())])
    assert talk.of(ResponseCreated)[0].at == 0.7
    assert talk.pairs == [("hello", ""), ("", "hi you")]


def test_enter_alone_does_nothing() -> None:
    talk = explaining().play([(0.5, Enter()), (1.0, UserText(" ")), (1.2, Enter())])
    assert talk.requests == []
    assert talk.conversation.quiet


def test_enter_while_it_speaks_does_not_stop_it() -> None:
    talk = explaining().play([*keys("tell me."), (2.0, Enter()), (3.0, Enter())])
    assert said_by_model(talk) == LONG
    assert talk.of(Yield) == []


def test_the_reaction_is_measured_from_the_last_key() -> None:
    talk = explaining().play(keys("hello.", seconds=0.1))
    (reaction,) = talk.of(Reaction)
    assert (reaction.from_, reaction.to) == (pytest.approx(0.5), pytest.approx(0.8))


def test_a_paste_of_a_thousand_words_is_many_slices_in_one_append() -> None:
    text = " ".join(f"p{i}" for i in range(999)) + " end."
    talk = listening(memory=ROOMY).play([(0.0, UserText(text))], patience=0.5)
    assert len(talk.requests) == 1
    assert len(talk.requests[0][1].probes) == 125
    assert " ".join(p for p, _ in talk.pairs) == text
    assert {len(p.split()) for p, _ in talk.pairs} == {8}
    assert all(s.p_idle is not None for s in talk.of(Slice))


def test_a_paste_longer_than_the_memory_keeps_its_end() -> None:
    text = " ".join(f"p{i}" for i in range(999)) + " hello."
    talk = explaining().play([(0.0, UserText(text))])
    assert len(talk.requests[0][1].ids) <= 500
    assert [s.user for s in talk.of(Slice)][-1].endswith("hello.") or talk.of(Slice)[-1].user == ""
    assert talk.pairs[-1][1] == "hi you"


# — silence —


def test_silence_on_both_sides_leaves_stream_and_cache_as_they_were() -> None:
    talk = listening(slicing=TWO_SECONDS).play(keys("not for you. ")).until(6)
    stream, asked = list(talk.conversation.stream), len(talk.requests)
    talk.until(600)
    assert talk.conversation.stream == stream
    assert len(talk.requests) == asked
    assert len(talk.of(Slice)) == 300
    talk.hear(UserText("more. ")).until(602)
    request = talk.requests[-1][1]
    assert request.truncate_to + len(request.ids) <= len(talk.conversation.stream)
    assert len(request.ids) <= 2 + 2 + 1  # the silence before, the markers, one word


def test_a_silent_slice_that_was_asked_about_never_happened() -> None:
    talk = listening().play(keys("well "))
    assert [(s.user, s.idle) for s in talk.of(Slice)] == [("well", True), ("", True), ("", True)]
    assert talk.pairs == [("well", "")]


def test_after_a_short_silence_the_model_speaks_only_if_it_is_sure_and_is_asked_again_later() -> None:
    talk = listening().play([(0.0, UserText("well "))])
    assert [request.threshold for _, request in talk.requests] == ["idle", "sure", "idle"]
    assert [round(s.at, 3) for s in talk.of(Slice)] == [0.3, 0.8, 2.0]


def test_enter_asks_at_once_and_not_whether_it_is_sure() -> None:
    talk = listening().play([(0.0, UserText("well")), (0.1, Enter())])
    assert [request.threshold for _, request in talk.requests] == ["entered"]


def test_the_opening_silence_asks_nothing() -> None:
    talk = listening(slicing=TWO_SECONDS).until(60)
    assert not talk.requests and not talk.of(Slice)
    assert talk.conversation.stream == [EMBEDDED.bos]


def test_a_fixed_talk_asks_once_about_a_silence() -> None:
    talk = listening(slicing=TWO_SECONDS).play([(0.0, UserText("hello. "))]).until(60)
    assert len(talk.requests) == 2
    assert len(talk.of(Slice)) == 30
    assert all(s.p_idle == 0.9 for s in talk.of(Slice))


# — edits —


def test_what_was_typed_and_deleted_before_the_slice_closed_was_never_said() -> None:
    script = [(0.0, UserText("hello cats")), (0.1, Edit(4)), (0.2, UserText("dogs. "))]
    assert listening().play(script).pairs == [("hello dogs.", "")]


def test_a_deletion_of_everything_closes_no_slice() -> None:
    talk = listening().play([(0.0, UserText("oops ")), (0.2, Edit(5))])
    assert talk.of(Slice) == []
    assert talk.conversation.quiet


def test_an_edit_reaches_into_slices_that_were_only_listened_to() -> None:
    words = Words()
    edited = duplex_talk(silent, words)
    edited.play([*keys("can you "), *keys("tell me ", 1.0), (2.5, Edit(16)), (2.6, UserText("stop. "))])
    never = duplex_talk(silent, words).play([(2.6, UserText("stop. "))])
    assert len(edited.of(Slice)) > len(never.of(Slice))
    assert edited.conversation.stream == never.conversation.stream


def test_an_edit_rewinds_only_the_slices_that_it_touches() -> None:
    talk = listening().play([*keys("can you "), *keys("tell me ", 1.0), (1.8, Edit(3))], patience=0.0)
    assert talk.pairs == [("can you", "")]
    talk.play([(1.9, UserText("us. "))])
    assert talk.pairs == [("can you", ""), ("tell us.", "")]


def test_an_edit_and_no_more_words_still_gets_an_answer() -> None:
    talk = explaining().play([*keys("hello there "), (0.95, Edit(7))])
    assert said_by_model(talk) == "hi you"


def test_after_an_answer_an_edit_does_not_reach_back() -> None:
    talk = explaining().play(keys("hello. "))
    stream = list(talk.conversation.stream)
    talk.hear(Edit(6)).until(30)
    assert talk.conversation.stream == stream
    assert talk.conversation.quiet


def test_an_edit_of_more_than_there_is_takes_what_there_is() -> None:
    talk = listening().play([(0.0, UserText("hello ")), (0.1, Edit(1000)), (0.2, UserText("cats. "))])
    assert talk.pairs == [("cats.", "")]


# — speaking and being interrupted —


def test_words_appear_at_the_pace_of_speech() -> None:
    talk = explaining().play(keys("tell me."))
    times = [d.at for d in talk.of(Delta)]
    assert times[0] == talk.of(ResponseCreated)[0].at
    assert [b - a for a, b in itertools.pairwise(times)] == [pytest.approx(0.2)] * 24


def test_an_answer_is_one_response_and_done_when_all_was_shown() -> None:
    talk = explaining().play(keys("tell me."))
    (created,), (done,) = talk.of(ResponseCreated), talk.of(ResponseDone)
    assert done.status == "completed"
    assert done.response_id == created.response_id
    assert done.at == pytest.approx(created.at + 25 * 0.2)
    assert talk.shown == LONG
    assert [m.split() for _, m in talk.pairs if m] == [LONG.split()[i : i + 10] for i in (0, 10, 20)]


def test_barging_in_cuts_the_answer_to_what_was_seen_to_the_token() -> None:
    talk = explaining().play([*keys("tell me.", seconds=0.0), (0.95, UserText("stop. "))])
    # the answer begins at 0.3, a token each 0.2 s; the slice closes at 1.25, when w0 … w4 were seen
    words = talk.conversation.vocabulary
    assert talk.conversation.stream == [
        *(EMBEDDED.bos, *EMBEDDED.user(words, "tell me."), *words.encode("w0 w1 w2 w3 w4"), EMBEDDED.eos),
        *(*EMBEDDED.user(words, "stop."), EMBEDDED.idle, EMBEDDED.eos),
    ]
    (cut,) = talk.of(Cut)
    assert (cut.at, cut.unheard) == (pytest.approx(1.25), " w5 w6 w7 w8 w9")
    assert seen(talk.events) == {"duplex-1": "w0 w1 w2 w3 w4"}


def test_a_model_that_stops_for_the_person_yields() -> None:
    talk = explaining().play([*keys("tell me.", seconds=0.0), (0.95, UserText("stop. "))])
    assert [y.at for y in talk.of(Yield)] == [pytest.approx(1.25)]
    assert [d.status for d in talk.of(ResponseDone)] == ["cancelled"]


def test_told_to_stop_it_forgets_what_nobody_saw_and_hears_on() -> None:
    talk = explaining().play([*keys("tell me.", seconds=0.0), (0.95, Cancel()), (3.0, UserText("hello. "))])
    assert [y.at for y in talk.of(Yield)] == [0.95]
    assert [(d.response_id, d.status) for d in talk.of(ResponseDone)] == [
        ("duplex-1", "cancelled"),
        ("duplex-2", "completed"),
    ]
    assert talk.pairs == [("tell me.", seen(talk.events)["duplex-1"].strip()), ("hello.", "hi you")]
    assert LONG.startswith(seen(talk.events)["duplex-1"].strip())


@pytest.mark.parametrize("event", [Cancel("duplex-7"), Cancel("turns-1")])
def test_to_stop_another_answer_is_nothing(event: Cancel) -> None:
    assert said_by_model(explaining().play([*keys("tell me.", seconds=0.0), (0.95, event)])) == LONG


def test_with_no_answer_to_stop_there_is_nothing_to_tell() -> None:
    talk = explaining().play([(0.0, Cancel()), (0.1, UserText("hello. ")), (9.0, Cancel())])
    assert talk.of(Yield) == []
    assert [d.status for d in talk.of(ResponseDone)] == ["completed"]


def test_told_to_stop_while_the_engine_makes_words_it_ends_with_the_next() -> None:
    talk = explaining().hear(UserText("tell me. ")).until(0.2)
    talk.clock.move_to(0.3)
    while not talk.of(Delta):
        talk.loop.turn()
    talk.hear(Cancel())
    assert talk.conversation.interrupted
    while talk.engine.busy:
        talk.loop.turn()
    assert [d.status for d in talk.of(ResponseDone)] == ["cancelled"]
    assert talk.conversation.quiet
    assert len(talk.of(Delta)) <= 2


def test_it_is_not_the_answer_that_came_after_it_that_is_stopped() -> None:
    conversation = explaining().conversation
    conversation.hear(UserText("hello. "), 0.0)
    request = conversation.due(0.3)
    assert request
    conversation.hear(Cancel(), 0.31)
    (word,) = conversation.vocabulary.encode("hi")
    conversation.apply(Output(0, word, False, len(request.ids), p_idle=(0.1,)), 0.4)
    conversation.apply(Output(0, None, True, len(request.ids) + 1), 0.5)
    assert not any(isinstance(event, Yield | ResponseDone) for event in conversation.take_events())


def test_after_a_backchannel_it_goes_on_and_nothing_is_lost_or_said_twice() -> None:
    talk = explaining().play([*keys("tell me.", seconds=0.0), (0.95, UserText("mm-hm "))])
    assert talk.pairs[0][1] == "w0 w1 w2 w3 w4"
    assert talk.pairs[1] == ("mm-hm", "w5 w6 w7 w8 w9 w10 w11 w12 w13 w14")
    assert said_by_model(talk) == LONG
    assert talk.of(Yield) == []
    assert len(talk.of(ResponseCreated)) == 1
    assert {d.response_id for d in talk.of(Delta)} == {"duplex-1"}
    assert [d.status for d in talk.of(ResponseDone)] == ["completed"]


def test_what_is_seen_after_a_backchannel_reads_as_one_text() -> None:
    talk = explaining().play([*keys("tell me.", seconds=0.0), (0.95, UserText("mm-hm "))])
    assert seen(talk.events) == {"duplex-1": LONG}


def test_typing_over_the_model_is_heard_within_a_second() -> None:
    talk = explaining().play(keys("tell me.", seconds=0.0) + keys("no no no no no no no no ", 1.0, 0.1))
    over = next(s for s in talk.of(Slice) if s.user.startswith("no"))
    assert over.at - over.opened_at <= 1.0 + 1e-6


def test_half_a_word_does_not_cut_the_model_off() -> None:
    talk = explaining().play([*keys("tell me.", seconds=0.0), (0.9, UserText("bac")), (1.2, Edit(3))])
    assert talk.of(Cut) == []
    assert said_by_model(talk) == LONG


def test_a_question_asked_over_an_answer_gets_its_own_response() -> None:
    talk = explaining().play([*keys("tell me.", seconds=0.0), (1.5, UserText("stop. ")), (3, UserText("hello. "))])
    assert [r.response_id for r in talk.of(ResponseCreated)] == ["duplex-1", "duplex-2"]
    assert seen(talk.events)["duplex-2"] == "hi you"


def test_unseen_words_of_an_earlier_slice_are_cut_as_well() -> None:
    # Enter begins the answer at 1.5; at 2.0 the grid asks for ten more words, which queue behind the first ten
    talk = explaining(slicing=TWO_SECONDS).play([(1.4, UserText("tell me.")), (1.5, Enter())], patience=0.6)
    talk.until(2.55).hear(UserText("stop.")).hear(Enter()).until(30)
    assert seen(talk.events) == {"duplex-1": "w0 w1 w2 w3 w4 w5"}
    assert said_by_model(talk) == "w0 w1 w2 w3 w4 w5"


@pytest.mark.parametrize("answer", ["hi you", LONG[: LONG.index(" w10")]], ids=["ended", "full slice"])
def test_an_answer_is_not_done_before_its_last_word_was_shown(answer: str) -> None:
    words = Words()
    talk = duplex_talk(answering({"hello": answer}, words), words, slicing=TWO_SECONDS)
    talk.play([(1.8, UserText("hello.")), (1.9, Enter())]).until(10)
    (done,) = talk.of(ResponseDone)
    assert done.at >= talk.of(Delta)[-1].at


def test_enter_taken_back_while_the_model_speaks_does_not_make_it_run_ahead() -> None:
    talk = explaining().play(keys("tell me.", seconds=0.0), patience=0.5)
    talk.hear(UserText("no")).hear(Enter()).hear(Edit(2)).until(30)
    for asked, _ in talk.requests:
        shown = [d.at for d in talk.of(Delta) if d.at > asked]
        assert len(shown) == len({round(at, 3) for at in shown})
    ahead = [d.at - talk.of(Slice)[d.slice].at for d in talk.of(Delta)]
    assert max(ahead) <= 2.0


def test_an_answer_cut_before_its_first_word_was_seen_leaves_only_silence() -> None:
    words = Words()
    conversation = DuplexConversation(EMBEDDED, words)
    engine = FakeEngine(answering({"hello": "hi you"}, words))
    slot = engine.open(Sampling())
    conversation.hear(UserText("hello. "), 0.0)
    engine.submit(slot, conversation.due(0.3))
    conversation.hear(UserText("wait. "), 0.35)
    while engine.busy:  # the answer comes late
        for output in engine.step():
            conversation.apply(output, 5.0)
    assert conversation.due(4.9) is not None
    assert pairs_of(conversation.stream, words)[0] == ("hello.", "")


# — what the page may still edit —


def sealed_and_typed(script: list[tuple[float, Input]], **options: object) -> tuple[int, int]:
    talk = explaining(**options).play(script)
    typed = sum(len(e.text) for _, e in script if isinstance(e, UserText))
    return sum(s.characters for s in talk.of(Sealed)), typed


def test_sealed_characters_add_up_to_what_was_typed() -> None:
    sealed, typed = sealed_and_typed(keys("so  please tell me.") + keys("mm-hm ", 2) + keys("stop. ", 3))
    assert sealed == typed


def test_sealed_characters_add_up_for_a_paste_longer_than_the_memory() -> None:
    sealed, typed = sealed_and_typed([(0.0, UserText("cats and dogs " * 330 + "hello."))])
    assert sealed == typed


def test_sealed_characters_add_up_when_the_model_listened_longer_than_it_remembers() -> None:
    script = [(i * 1.0, UserText("cats and dogs and birds ")) for i in range(120)]
    sealed, typed = sealed_and_typed([*script, (120.0, UserText("hello."))])
    assert sealed == typed


def test_characters_taken_back_are_not_sealed_even_if_the_model_had_forgotten_them() -> None:
    text = "cats and dogs and birds " * 100
    talk = explaining().play([(0.0, UserText(text)), (2.0, Edit(len(text))), (2.5, UserText("hello. "))])
    assert sum(s.characters for s in talk.of(Sealed)) == len("hello. ")


def test_enter_seals_even_if_the_model_says_nothing() -> None:
    talk = listening().play([(0.0, UserText("not for you")), (0.1, Enter())])
    assert [s.characters for s in talk.of(Sealed)] == [len("not for you")]


# — long talks —


def test_an_hour_of_talk_stays_bounded_and_begins_at_a_pair() -> None:
    words = Words()
    talk = duplex_talk(answering({"go on": LONG}, words), words, slicing=TWO_SECONDS)
    for at in range(3, 3600, 9):
        talk.until(at).hear(UserText("please go on. " if at % 4 else "that is enough now. "))
    talk.until(3600)
    assert len(talk.of(Slice)) == 1799  # all but the first, before anybody spoke
    assert max(map(len, talk.streams)) <= 500
    spoken = [s for s in talk.streams if len(s) > 1]
    assert len(spoken) > 600
    assert all(s[:2] == [EMBEDDED.bos, *EMBEDDED.user_marker] for s in spoken)
    assert talk.pairs  # whole pairs behind it
    assert sum(len(r.ids) for _, r in talk.requests) < 40 * 1800  # re-encoded rarely


@pytest.mark.parametrize("slicing", [Slicing(), TWO_SECONDS], ids=["adaptive", "fixed"])
def test_a_long_stream_begins_anew_while_nobody_speaks(slicing: Slicing) -> None:
    talk = listening(memory=Memory(limit=100, keep=20), slicing=slicing)
    at = 0.0
    while len(talk.conversation.stream) <= 60:
        talk.hear(UserText("one more. ")).until(at := at + 1.0)
    before, slices = len(talk.requests), len(talk.of(Slice))
    talk.hear(Enter()).until(at + 30.0)
    renewals = [r for _, r in talk.requests[before:] if not r.max_new_tokens]
    assert [(r.truncate_to, r.ids[0], r.probes) for r in renewals] == [(0, EMBEDDED.bos, ())]
    assert len(renewals[0].ids) <= 21
    assert talk.conversation.stream == list(renewals[0].ids)
    assert talk.engine.cached(talk.session.slot) == talk.conversation.stream
    last = len(talk.requests)
    talk.hear(UserText("number 99. ")).until(at + 35.0)
    assert talk.requests[last][1].truncate_to == len(renewals[0].ids)  # nothing is encoded twice
    assert len(talk.of(Slice)) > slices


def test_what_can_still_be_taken_back_is_not_forgotten_in_silence() -> None:
    talk = listening(memory=Memory(limit=100, keep=40))
    talk.play([(i * 1.0, UserText(f"number {i}. ")) for i in range(9)])
    assert talk.conversation._unanswered()
    talk.until(60.0)
    assert all(r.truncate_to for _, r in talk.requests[1:])


def test_the_work_for_a_token_does_not_grow_with_the_answer() -> None:
    class Counting(Words):
        longest = 0

        def decode(self, ids: Sequence[int]) -> str:
            self.longest = max(self.longest, len(ids))
            return super().decode(ids)

    words = Counting()
    talk = duplex_talk(endless(words), words)
    talk.play([(0.0, UserText("hello."))], patience=400)
    assert len(talk.of(Delta)) > 1500
    assert words.longest <= 500


def test_the_stream_begins_anew_with_its_newest_words() -> None:
    talk = listening(memory=Memory(limit=100, keep=40))
    talk.play([(i * 1.0, UserText(f"number {i}. ")) for i in range(40)])
    people = [p for p, _ in talk.pairs]
    first = int(people[0].split()[1].rstrip("."))
    assert first > 25
    assert people == [f"number {i}." for i in range(first, 40)]


def noting(words: Words) -> Callable[[list[int]], Sequence[int]]:
    """A model that marks what it is told about a name, and answers nothing else."""

    def reply(stream: list[int]) -> Sequence[int]:
        person = pairs_of(stream, words)[-1][0]
        return [EMBEDDED.keep, *words.encode("hi you")] if "name" in person else ()

    return reply


def test_what_the_model_marked_stays_when_the_rest_is_forgotten() -> None:
    words = Words()
    talk = duplex_talk(noting(words), words, memory=Memory(limit=100, keep=40, notes=30))
    talk.play([(0.0, UserText("my ")), (2.0, UserText("name is anna. "))])
    assert talk.shown == "hi you"
    talk.play([(10 + i * 1.0, UserText(f"number {i}. ")) for i in range(60)])
    assert max(map(len, talk.streams)) <= 100
    assert talk.pairs[0] == ("my name is anna.", "hi you")
    assert talk.conversation.stream.count(EMBEDDED.keep) == 1
    people = [p for p, _ in talk.pairs[1:]]
    assert people == [f"number {i}." for i in range(60 - len(people), 60)]


def test_of_many_marks_the_newest_stay() -> None:
    words = Words()
    talk = duplex_talk(noting(words), words, memory=Memory(limit=120, keep=30, notes=40))
    talk.play([(i * 8.0, UserText(f"name {i}. ")) for i in range(12)], patience=20)
    talk.play([(200 + i * 1.0, UserText(f"number {i}. ")) for i in range(40)])
    marked = [p for p, m in talk.pairs if m]
    assert 2 <= len(marked) <= 5
    assert marked == [f"name {i}." for i in range(12 - len(marked), 12)]


def test_of_what_is_kept_nobody_sees_more_than_was_seen() -> None:
    words = Words()
    talk = duplex_talk(noting(words), words, memory=Memory(limit=100, keep=40, notes=30))
    talk.hear(UserText("my name is anna. ")).until(0.35)
    talk.hear(UserText("stop. "))  # a slice 0.3 s later, before the last word
    talk.play([(10 + i * 1.0, UserText(f"number {i}. ")) for i in range(60)])
    assert talk.pairs[0] == ("my name is anna.", "hi")


# — a long silence —


def after_two_silences(words: Words) -> Callable[[list[int]], Sequence[int]]:
    def reply(stream: list[int]) -> Sequence[int]:
        people = [p for p, _ in pairs_of(stream, words)]
        return words.encode("are you there") if people[-2:] == ["", ""] else ()

    return reply


@pytest.mark.parametrize("slicing", [Slicing(), TWO_SECONDS], ids=["adaptive", "fixed"])
def test_after_a_long_silence_it_is_asked_once_whether_it_wants_to_speak(slicing: Slicing) -> None:
    words = Words()
    talk = duplex_talk(after_two_silences(words), words, wakes=True, slicing=slicing)
    talk.hear(UserText("hello. ")).until(14.9)
    assert talk.shown == ""
    talk.until(300.0)
    assert talk.shown == "are you there"
    assert 15.0 <= talk.of(ResponseCreated)[0].at <= 17.5
    talk.hear(UserText("yes. ")).until(600.0)
    assert len(talk.of(ResponseCreated)) == 2


def test_asked_into_a_silence_it_may_go_on_being_silent_and_nothing_is_stored() -> None:
    talk = listening(wakes=True)
    talk.hear(UserText("hello. ")).until(10.0)
    before = list(talk.conversation.stream)
    requests = len(talk.requests)
    talk.until(1000.0)
    assert len(talk.requests) == requests + 1
    assert talk.conversation.stream == before
    assert talk.conversation.next_due() is None


def test_nobody_is_woken_who_was_not_trained_for_it_or_not_spoken_to() -> None:
    words = Words()
    assert duplex_talk(after_two_silences(words), words, wakes=True).until(300.0).requests == []
    talk = duplex_talk(after_two_silences(words), words).play([(0.0, UserText("hello. "))], patience=300)
    assert talk.shown == ""


def test_one_enormous_slice_does_not_fill_the_memory() -> None:
    talk = duplex_talk(silent, Bytes()).play([(0.0, UserText("x" * 10_000)), (0.1, Enter())])
    assert max(map(len, talk.streams)) <= 500


# — characters —


def test_control_characters_are_not_heard() -> None:
    talk = listening().play([(0.0, UserText("he\x00ll\x1bo\x7f\ud83d. "))])
    assert talk.pairs == [("hello.", "")]


@pytest.mark.parametrize("text", ["你好吗？", "こんにちは。", "Привет!", "مرحبا.", "नमस्ते!", "🙂👩‍👩‍👧.", "é́."])
def test_other_scripts_and_emoji_are_heard_whole(text: str) -> None:
    talk = duplex_talk(silent, Bytes()).play(keys(text))
    assert talk.pairs == [(text.lower(), "")]


def said_ids(stream: Sequence[int]) -> int:
    """How many ids the model has said."""
    inside, count = False, 0
    for i in stream:
        inside = i == EMBEDDED.model_marker[0] or (inside and i != EMBEDDED.user_marker[0])
        count += inside and i >= 10
    return count


def emoji_reply(text: str) -> Callable[[list[int]], Sequence[int]]:
    return lambda stream: Bytes().encode(text)[said_ids(stream) :]


def test_an_emoji_is_shown_whole_even_where_a_slice_ends_in_it() -> None:
    talk = duplex_talk(emoji_reply("ab🙂你🙂🙂 done"), Bytes()).play(keys("hello."))
    assert talk.shown == "ab🙂你🙂🙂 done"
    assert all("\ufffd" not in d.delta for d in talk.of(Delta))


def test_a_cut_inside_an_emoji_shows_no_broken_character() -> None:
    script = [*keys("hello.", seconds=0.0), (0.75, UserText("mm-hm "))]
    talk = duplex_talk(emoji_reply("🙂" * 12), Bytes()).play(script)
    assert "\ufffd" not in talk.shown
    assert set(seen(talk.events)["duplex-1"]) == {"🙂"}


# — too much, too soon —


def test_twenty_thousand_characters_are_held_and_more_are_refused() -> None:
    talk = listening()
    talk.hear(UserText("x" * MAX_TYPED))
    with pytest.raises(BadInput, match="at most 20000 characters"):
        talk.hear(UserText("x"))
    talk.hear(Enter()).until(1)
    talk.hear(UserText("again. ")).until(3)
    assert talk.pairs[-1] == ("again.", "")


def busy_conversation() -> tuple[DuplexConversation, FakeEngine]:
    """A conversation whose request is in the engine."""
    conversation, engine = DuplexConversation(EMBEDDED, Words()), FakeEngine()
    slot = engine.open(Sampling())
    conversation.hear(UserText("one. "), 0.0)
    engine.submit(slot, conversation.due(0.3))
    return conversation, engine


def test_what_is_typed_while_the_engine_works_is_not_lost() -> None:
    conversation, engine = busy_conversation()
    before = list(conversation.stream)
    conversation.hear(UserText("twoo"), 0.31)
    conversation.hear(Edit(1), 0.32)
    conversation.hear(UserText(". "), 0.33)
    assert conversation.stream == before
    assert conversation.next_due() is None
    for output in engine.step():
        conversation.apply(output, 0.4)
    conversation.due(conversation.next_due() or 0.0)
    assert pairs_of(conversation.stream, conversation.vocabulary) == [("one.", ""), ("two.", None)]


def test_an_edit_while_the_engine_works_takes_back_what_the_model_only_listened_to() -> None:
    conversation, engine = busy_conversation()
    conversation.hear(Edit(5), 0.31)
    for output in engine.step():
        conversation.apply(output, 0.4)
    assert conversation.stream == [EMBEDDED.bos]


def test_too_much_text_while_the_engine_works_is_refused_when_it_comes() -> None:
    conversation, engine = busy_conversation()
    conversation.hear(UserText("x" * 15_000), 0.31)
    with pytest.raises(BadInput, match="at most 20000 characters"):
        conversation.hear(UserText("x" * 15_000), 0.32)
    for output in engine.step():
        conversation.apply(output, 0.4)


# — the paper's layout —


def test_the_stream_is_that_of_the_paper_token_for_token() -> None:
    words = Words(1000)
    answer = "English novels across genres and times that you might really enjoy: Emma."
    reply = answering({"can you recommend some good novels": answer}, words, MINICPM_DUPLEX)
    talk = duplex_talk(reply, words, MINICPM_DUPLEX, slicing=TWO_SECONDS, wait_for_end_mark=False)
    talk.play([(1.0, UserText("can you recommend some ")), (2.5, UserText("good novels? "))]).until(12)
    u, a, idle = [95396, 4194, 95388], [95396, 10850, 95388], 122753
    said = words.encode(answer)
    assert talk.conversation.stream == [
        *(1, *u, *words.encode("can you recommend some"), *a, idle, 2),
        *(*u, *words.encode("good novels?"), *a, *said[:10], 2),
        *(*u, idle, *a, *said[10:], 2),
    ]


# — whatever people do —


def random_reply(words: Words, seed: int) -> Callable[[list[int]], Sequence[int]]:
    def reply(stream: list[int]) -> Sequence[int]:
        rng = Random(f"{seed} {stream}")
        share = 0.5 if len(stream) % 3 else 0.2
        count = rng.randint(1, 25) if rng.random() < share else 0
        return words.encode(" ".join(f"r{rng.randrange(30)}" for _ in range(count)))

    return reply


def random_script(rng: Random) -> list[tuple[float, Input]]:
    at, script = 0.0, []
    for _ in range(rng.randint(5, 40)):
        at += rng.choice((0.0, 0.02, 0.1, 0.25, 0.5, 0.9, 2.0, 7.0))
        kind = rng.random()
        if kind < 0.7:
            text = "".join(rng.choice("ab é🙂 .?, \t\x00") for _ in range(rng.randint(1, 12)))
            script.append((at, UserText(text * rng.choice((1, 1, 1, 1, 40)))))
        elif kind < 0.88:
            script.append((at, Edit(rng.choice((0, 1, 2, 5, 30, 1000)))))
        else:
            script.append((at, Enter() if kind < 0.95 else Cancel()))
    return script


def drive(
    conversation: DuplexConversation,
    engine: FakeEngine,
    script: Sequence[tuple[float, Input]],
    latency: Callable[[], float],
    heard: Callable[[Input], None],
    told: Callable[[list[Event]], None],
) -> None:
    """Events in order of time, with an engine that takes its time; checks the stream at every request."""
    slot, inputs, answer_at, now = engine.open(Sampling()), list(script), 0.0, 0.0
    while True:
        due = answer_at if engine.busy else conversation.next_due()
        if inputs and (due is None or inputs[0][0] <= due):
            now, event = max(now, inputs[0][0]), inputs.pop(0)[1]
            conversation.hear(event, now)
            heard(event)
        elif due is None or (conversation.quiet and not inputs):
            break
        elif engine.busy:
            now = max(now, answer_at)
            for output in engine.step():
                conversation.apply(output, now)
                if output.done:
                    pairs = pairs_of(conversation.stream, conversation.vocabulary)
                    assert all(model is not None for _, model in pairs)
                    assert len(conversation.stream) <= conversation.memory.limit
            answer_at = now + latency()
        else:
            now = max(now, due)
            if request := conversation.due(now):
                kept = engine.cached(slot)[: request.truncate_to]
                assert [*kept, *request.ids] == conversation.stream
                engine.submit(slot, request)
                answer_at = now + latency()
        told(conversation.take_events())
        assert now < 5000, "it never becomes quiet"
    assert conversation.quiet


SLICINGS = ("adaptive", 0.25, 0.5, 2, 10)


@pytest.mark.parametrize("seed", range(60))
def test_whatever_people_do_stream_page_and_seals_agree(seed: int) -> None:
    rng, words = Random(seed), Words()
    conversation = DuplexConversation(
        EMBEDDED, words, Slicing.parse(SLICINGS[seed % 5]), wait_for_end_mark=seed % 4 != 0
    )
    events: list[Event] = []
    box = ""  # what the page shows as still to be edited

    def heard(event: Input) -> None:
        nonlocal box
        if isinstance(event, UserText):
            box += event.text.replace("\x00", "").replace("\t", " ")
        elif isinstance(event, Edit):
            box = box[: max(0, len(box) - event.delete)]

    def told(new: list[Event]) -> None:
        nonlocal box
        for event in new:
            if isinstance(event, Sealed):
                assert 0 < event.characters <= len(box), "characters sealed twice"
                box = box[event.characters :]
        events.extend(new)

    drive(conversation, FakeEngine(random_reply(words, seed)), random_script(rng), lambda: 0.0, heard, told)
    assert len(seen(events)) == len([e for e in events if isinstance(e, ResponseCreated)])
    assert len([e for e in events if isinstance(e, ResponseDone)]) == len(seen(events))


@pytest.mark.parametrize("seed", range(60))
def test_whatever_people_do_a_slow_engine_breaks_nothing(seed: int) -> None:
    rng, words = Random(seed + 1000), Words()
    conversation = DuplexConversation(EMBEDDED, words, Slicing.parse(SLICINGS[seed % 5]))
    events: list[Event] = []
    script = random_script(rng)
    drive(
        conversation,
        FakeEngine(random_reply(words, seed)),
        script,
        lambda: rng.choice((0.0, 0.01, 0.1, 0.4, 3.0)),
        lambda event: None,
        events.extend,
    )
    seen(events)
    typed = sum(len(e.text) for _, e in script if isinstance(e, UserText))
    assert sum(e.characters for e in events if isinstance(e, Sealed)) <= typed
    starts = [e.response_id for e in events if isinstance(e, ResponseCreated)]
    assert starts == [e.response_id for e in events if isinstance(e, ResponseDone)]


# — words —


class Halves(Words):
    """Two tokens for each long word."""

    def encode(self, text: str) -> list[int]:
        return super().encode(" ".join(f"{w[:3]} ~{w[3:]}" if len(w) > 4 else w for w in text.split()))

    def decode(self, ids: Sequence[int]) -> str:
        return super().decode(ids).replace(" ~", "")


@pytest.mark.parametrize("after", [0.3, 0.5, 0.7, 0.9, 1.1, 1.3])
def test_nobody_goes_on_from_half_a_word(after: float) -> None:
    words = Halves()
    talk = duplex_talk(answering({"tell me": "wonderful elephants remember everything"}, words), words)
    talk.hear(UserText("tell me. ")).until(0.3 + after)
    talk.hear(UserText("stop. ")).until(4.0)
    shown = seen(talk.events)["duplex-1"].split()
    assert shown == ["wonderful", "elephants", "remember", "everything"][: len(shown)]
    assert said_by_model(talk).split() == shown
