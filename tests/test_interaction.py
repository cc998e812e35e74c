"""The eight numbers, against examples worked out by hand. Ticks are 0.2 s; a word lasts one tick."""

from collections.abc import Sequence

import pytest
from talk_fakes import act, says, talk_with

from duplex_runtime.evaluation.acts import Piece
from duplex_runtime.evaluation.interaction import FEWEST, NAMES, count, panel, to_json
from duplex_runtime.evaluation.talks import Talk


def events(talk: Talk) -> dict[str, list[float]]:
    return {name: list(value) for name, value in count(talk).of.items() if any(value)}


# — L_R, R_R —


def test_an_answer_after_six_tenths() -> None:
    # the turn fills ticks 0–4, the answer begins at 1.6 s = tick 8: three ticks of silence
    found = events(talk_with([act("turn", 0.0, 1.0)], says(1.6, 5)))
    assert found["L_R"] == [pytest.approx(0.6), 1]
    assert found["R_R"] == [1, 1]
    assert found["I_A"] == [0, 1]


def test_who_has_to_speak_again_was_not_answered() -> None:
    # turn 2 begins at tick 20; the answer only at tick 30 answers the second
    found = events(talk_with([act("turn", 0.0, 1.0), act("turn", 4.0, 5.0)], says(6.0, 5)))
    assert found["R_R"] == [1, 2]
    assert found["L_R"] == [pytest.approx(1.0), 1]


def test_an_answer_in_the_tick_in_which_the_next_turn_begins_is_an_answer() -> None:
    found = events(talk_with([act("turn", 0.0, 1.0), act("turn", 2.0, 3.0)], says(2.0, 2)))
    assert found["R_R"] == [1, 1]  # and the second, with nothing after it, is left out


def test_an_answer_in_the_tick_in_which_the_turn_ends_took_no_time() -> None:
    found = events(talk_with([act("turn", 0.0, 1.0)], says(1.0, 5)))
    assert found["L_R"] == [0, 1]


def test_a_last_turn_with_nothing_after_it_is_left_out() -> None:
    assert events(talk_with([act("turn", 0.0, 1.0)])) == {}


def test_two_turns_before_an_answer() -> None:
    # the first is not answered before the second, the third not at all; the answer begins 0.4 s after the second
    acts = [act("turn", 0.0, 1.0), act("turn", 2.0, 3.0), act("turn", 8.0, 9.0)]
    found = events(talk_with(acts, says(3.4, 3)))
    assert found["R_R"] == [1, 2]
    assert found["L_R"] == [pytest.approx(0.4), 1]


def test_an_answer_that_begins_before_the_end_of_the_turn_and_goes_on_is_no_response() -> None:
    # from 0.6 s on it speaks into the turn, which ends at 1.0 s; the second turn is answered after 0.2 s
    acts = [act("turn", 0.0, 1.0), act("turn", 4.0, 5.0)]
    found = events(talk_with(acts, [*says(0.6, 5), *says(5.2, 2, "duplex-2")]))
    assert found["R_R"] == [1, 1]
    assert found["L_R"] == [pytest.approx(0.2), 1]
    assert found["I_A"] == [1, 1]


def test_an_answer_that_gives_way_inside_the_turn_leaves_the_turn_to_be_answered() -> None:
    # it stops at 0.8 s; the turn ends at 1.0 s = tick 5, the new answer begins at 1.8 s = tick 9
    found = events(talk_with([act("turn", 0.0, 1.0)], [*says(0.4, 2), *says(1.8, 2, "duplex-2")]))
    assert found["R_R"] == [1, 1]
    assert found["L_R"] == [pytest.approx(0.8), 1]
    assert found["I_A"] == [1, 1]


def test_nobody_says_anything() -> None:
    assert events(talk_with([])) == {}
    assert events(talk_with([], says(1.0, 5))) == {}
    assert events(talk_with([act("turn", 0.0, 1.0), act("turn", 3.0, 4.0)])) == {"R_R": [0, 1], "I_A": [0, 1]}


def test_one_key_is_an_act() -> None:
    # at 2.0 s it covers no middle: tick 10 is its own, so the system, silent from tick 13 on, yields after 0.6 s
    found = events(talk_with([act("stop", 2.0, 2.0)], says(1.0, 8)))
    assert found["L_Y"] == [pytest.approx(0.6), 1]


def test_a_turn_that_was_not_yielded_to_is_left_out() -> None:
    found = events(talk_with([act("turn", 0.0, 1.0), act("turn", 2.0, 3.0)], says(1.2, 20)))  # speaks until 5.2
    assert found["R_R"] == [1, 1]
    assert found["R_Y"] == [0, 1]


def test_a_stop_asks_for_no_answer() -> None:
    found = events(talk_with([act("turn", 0.0, 1.0), act("stop", 2.0, 2.6)], says(1.2, 6)))  # silent from 2.4
    assert found["R_R"] == [1, 1]
    assert found["R_Y"] == [1, 1]


@pytest.mark.parametrize("kind", ["backchannel", "tic", "aside"])
def test_what_wants_no_answer_is_no_turn(kind: str) -> None:
    talk = talk_with([act("turn", 0.0, 1.0), act(kind, 2.0, 2.4), act("turn", 6.0, 7.0)], says(7.4, 3))
    assert events(talk)["R_R"] == [1, 2]


# — L_Y, R_Y —


def test_silent_after_six_tenths() -> None:
    # the person begins at 2.0 s = tick 10; the last word ends at 2.6 s, so tick 13 is silent
    found = events(talk_with([act("turn", 2.0, 3.0)], says(1.0, 8)))
    assert found["R_Y"] == [1, 1]
    assert found["L_Y"] == [pytest.approx(0.6), 1]


@pytest.mark.parametrize(("words", "yields"), [(14, 1), (15, 0)])
def test_the_window_is_ten_ticks(words: int, yields: int) -> None:
    # it speaks from tick 5; with 14 words tick 19 = 10 + 9 is silent, with 15 only tick 20
    assert events(talk_with([act("turn", 2.0, 5.0)], says(1.0, words)))["R_Y"] == [yields, 1]


def test_given_up_in_the_very_moment() -> None:
    found = events(talk_with([act("turn", 2.0, 3.0)], says(1.0, 5)))
    assert (found["R_Y"], found["L_Y"]) == ([1, 1], [0, 1])


@pytest.mark.parametrize(("kind", "counts"), [("turn", 1), ("stop", 1), ("question", 1), ("resume", 1), ("tic", 0)])
def test_what_is_an_interruption(kind: str, counts: int) -> None:
    assert ("R_Y" in events(talk_with([act(kind, 2.0, 3.0)], says(1.0, 8)))) == bool(counts)


def test_an_answer_that_ended_by_itself_yielded_as_published() -> None:
    talk = talk_with([act("turn", 2.0, 3.0)], says(1.0, 8), answers={"duplex-1": "completed"})
    assert events(talk)["R_Y"] == [1, 1]


def test_another_answer_without_a_gap_is_no_yield() -> None:
    # the first ends in tick 12, the second speaks from there to tick 24
    pieces = [*says(1.0, 8), *says(2.6, 12, "duplex-2")]
    assert events(talk_with([act("turn", 2.0, 3.0)], pieces))["R_Y"] == [0, 1]


def test_who_speaks_into_silence_interrupts_nobody() -> None:
    assert "R_Y" not in events(talk_with([act("turn", 4.0, 5.0)], says(1.0, 5)))


# — I_A —


def test_an_answer_that_begins_inside_a_turn() -> None:
    # it begins twice while the person speaks, and stops both times: 2 of 1 turn
    pieces = [*says(1.0, 2), *says(2.0, 2, "duplex-2"), *says(4.0, 3, "duplex-3")]
    found = events(talk_with([act("turn", 0.0, 3.0)], pieces))
    assert found["I_A"] == [2, 1]


@pytest.mark.parametrize(("at", "begun"), [(1.8, 0), (2.0, 1), (2.8, 1), (3.0, 0)])
def test_inside_a_turn_is_from_its_first_tick_to_its_last(at: float, begun: int) -> None:
    # the turn has ticks 10 to 14
    acts = [act("turn", 0.0, 1.0), act("turn", 2.0, 3.0), act("turn", 9.0, 9.6)]
    assert events(talk_with(acts, says(at, 1)))["I_A"][0] == begun


@pytest.mark.parametrize("kind", ["backchannel", "tic", "aside", "stop"])
def test_only_turns_are_interrupted(kind: str) -> None:
    acts = [act("turn", 0.0, 1.0), act(kind, 2.0, 3.0)]
    assert events(talk_with(acts, says(2.4, 5)))["I_A"] == [0, 1]


def test_nothing_is_interrupted_by_going_on() -> None:
    assert events(talk_with([act("turn", 0.0, 1.0), act("turn", 2.0, 3.0)], says(1.2, 6)))["I_A"][0] == 0


# — S_BC, S_VT, S_ND —


@pytest.mark.parametrize(("kind", "name"), [("backchannel", "S_BC"), ("tic", "S_VT"), ("aside", "S_ND")])
@pytest.mark.parametrize(("words", "right"), [(9, 0), (10, 1)])
def test_who_goes_on_for_a_second_went_on(kind: str, name: str, words: int, right: int) -> None:
    # it begins at tick 10; five ticks are watched: with 10 words from tick 5 on, tick 14 is still spoken
    assert events(talk_with([act(kind, 2.0, 2.4)], says(1.0, words)))[name] == [right, 1]


def test_a_typed_word_is_watched_from_its_last_key() -> None:
    acts = [act("backchannel", 2.0, 3.0)]  # until tick 14, so up to tick 19
    assert events(talk_with(acts, says(1.0, 14), way="keys"))["S_BC"] == [0, 1]
    assert events(talk_with(acts, says(1.0, 15), way="keys"))["S_BC"] == [1, 1]


def test_an_answer_that_was_over_was_not_given_up() -> None:
    talk = talk_with([act("backchannel", 2.0, 2.4)], says(1.0, 7), answers={"duplex-1": "completed"})
    assert events(talk)["S_BC"] == [1, 1]
    given_up = talk_with([act("backchannel", 2.0, 2.4)], says(1.0, 7), answers={"duplex-1": "cancelled"})
    assert events(given_up)["S_BC"] == [0, 1]
    stopped = talk_with([act("backchannel", 2.0, 2.4)], says(1.0, 7), answers={"duplex-1": "completed"}, yields=(2.4,))
    assert events(stopped)["S_BC"] == [0, 1]  # it says itself that it yielded
    later = talk_with([act("backchannel", 2.0, 2.4)], says(1.0, 7), answers={"duplex-1": "completed"}, yields=(3.4,))
    assert events(later)["S_BC"] == [1, 1]  # to something else: the second that is watched is over at 3.0 s


def test_of_answers_without_a_gap_the_last_one_counts() -> None:
    pieces = [*says(1.0, 6), *says(2.2, 2, "duplex-2")]  # silent from 2.6 s on
    ended = {"duplex-1": "cancelled", "duplex-2": "completed"}
    assert events(talk_with([act("tic", 2.0, 2.1)], pieces, answers=ended))["S_VT"] == [1, 1]
    ended = {"duplex-1": "completed", "duplex-2": "cancelled"}
    assert events(talk_with([act("tic", 2.0, 2.1)], pieces, answers=ended))["S_VT"] == [0, 1]


@pytest.mark.parametrize(("at", "right"), [(4.4, 0), (4.6, 1), (2.2, 0)])
def test_silence_that_is_broken_within_two_seconds(at: float, right: int) -> None:
    # the aside ends before tick 12; ticks up to 22 are watched
    assert events(talk_with([act("aside", 2.0, 2.4)], says(at, 3)))["S_ND"] == [right, 1]


def test_a_backchannel_in_silence_is_no_event() -> None:
    assert "S_BC" not in events(talk_with([act("backchannel", 2.0, 2.4)], says(4.0, 3)))


# — beside the eight —


def test_early_late_and_unheard_words() -> None:
    acts = [act("turn", 0.0, 2.0), act("stop", 4.0, 4.9)]
    pieces = [*says(1.0, 2), *says(3.0, 12, "duplex-2")]  # two inside the turn; 3.0–5.4, two of them after the stop
    counts = count(talk_with(acts, pieces, yields=(5.3,), unheard=((5.3, "duplex-2", " and so on"),)))
    assert (counts.words, counts.early, counts.late, counts.unheard) == (14, 2, 2, 3)


def test_floor_transfer_offsets_are_exact_and_may_be_negative() -> None:
    acts = [act("turn", 0.0, 1.0), act("turn", 5.0, 7.0)]
    counts = count(talk_with(acts, [*says(1.33, 2), *says(6.5, 3, "duplex-2")]))
    assert counts.offsets == (pytest.approx(0.33), pytest.approx(-0.5))


def test_words_are_counted_whole() -> None:
    parts = [
        Piece(0.4, 0.6, " vol", "duplex-1"),
        Piece(0.6, 0.8, "canoes", "duplex-1"),
        Piece(0.8, 1.0, "!", "duplex-1"),
    ]
    counts = count(talk_with([act("turn", 0.0, 2.0)], parts))
    assert (counts.words, counts.early) == (1, 1)


def test_words_of_an_answer_that_was_there_before_are_not_early() -> None:
    assert count(talk_with([act("turn", 2.0, 3.0)], says(1.0, 8))).early == 0


def test_late_words_are_of_the_interrupted_answer_and_end_after_ten_seconds() -> None:
    stop = act("stop", 2.0, 2.5)
    # 1.0–21.0 without a yield: words from 2.6 to 12.4 s, 50 of them
    assert count(talk_with([stop], says(1.0, 100))).late == 50
    new = [*says(1.0, 6), *says(3.0, 5, "duplex-2")]
    assert count(talk_with([stop], new)).late == 0


def test_going_on_is_no_answer_to_a_turn() -> None:
    # the old answer pauses for 1 s inside the turn and goes on; the answer to the turn begins 0.6 s after it
    pieces = [*says(1.0, 6), *says(3.2, 2), *says(4.6, 2, "duplex-2")]
    assert count(talk_with([act("turn", 2.0, 4.0)], pieces)).offsets == (pytest.approx(0.6),)


def test_an_answer_after_the_next_turn_began_is_none_to_the_first() -> None:
    acts = [act("turn", 0.0, 1.0), act("turn", 2.0, 3.0)]
    assert count(talk_with(acts, says(3.5, 2))).offsets == (pytest.approx(0.5),)


def test_deaf_characters() -> None:
    assert count(talk_with([], deaf=((1.0, "st"), (1.1, "op")))).deaf == 4


def test_going_back_to_what_was_cut() -> None:
    acts = [act("turn", 0.0, 1.0), act("question", 2.0, 3.0)]
    cut = ((2.2, "duplex-1", " w5 w6 w7"),)
    back = [*says(1.2, 5), *says(3.4, 3, "duplex-2", first=20), *says(4.0, 5, "duplex-2", first=5)]
    assert count(talk_with(acts, back, unheard=cut)).resumed == 1
    gone = [*says(1.2, 5), *says(3.4, 3, "duplex-2", first=20)]
    counts = count(talk_with(acts, gone, unheard=cut))
    assert (counts.inserted, counts.resumed) == (1, 0)


@pytest.mark.parametrize(
    ("cut", "after", "found"),
    [
        ((2.2, "duplex-1", " w5 w6 w7"), " As I said, W5, w6 w7!", (1, 1)),  # case and punctuation do not matter
        ((2.2, "duplex-1", " w5 w6 w7"), " As I said, w4 w5 w6 then", (1, 1)),  # from the last word that was seen on
        ((2.2, "duplex-1", " w5 w6 w7"), " w5 w6 and w7", (1, 0)),  # never three in a row
        ((2.2, "duplex-1", " end."), " w4 end.", (1, 1)),  # there was only one
        ((2.2, "duplex-1", " w5 w6 w7"), "", (0, 0)),  # no answer
        ((2.2, "duplex-9", " w5 w6 w7"), " w5 w6 w7", (0, 0)),  # another answer was cut
        ((1.4, "duplex-1", " w5 w6 w7"), " w5 w6 w7", (0, 0)),  # by something before
        ((2.2, "duplex-1", " ..."), " w5 w6 w7", (0, 0)),  # no word was lost
    ],
)
def test_what_is_going_back(cut: tuple[float, str, str], after: str, found: tuple[int, int]) -> None:
    said = [*says(1.2, 5), *([Piece(3.4, 4.0, after, "duplex-2")] if after else [])]
    counts = count(talk_with([act("question", 2.0, 3.0)], said, unheard=(cut,)))
    assert (counts.inserted, counts.resumed) == found


def test_what_was_said_while_the_question_went_on_is_no_going_back() -> None:
    cut = ((2.2, "duplex-1", " w5 w6 w7"),)
    early = [*says(1.2, 5), *says(2.3, 3, "duplex-2", first=5), *says(3.4, 2, "duplex-3", first=20)]
    counts = count(talk_with([act("question", 2.0, 3.0)], early, unheard=cut))
    assert (counts.inserted, counts.resumed) == (1, 0)


@pytest.mark.parametrize("seen", [5, 6])  # w5 is said again, or was seen in the moment of the cut
def test_an_answer_that_goes_on_as_if_nothing_was_asked_was_not_cut_off(seen: int) -> None:
    cut = ((2.2, "duplex-1", " w5 w6 w7" if seen == 5 else " w6 w7 w8"),)
    went_on = [*says(1.2, seen), *says(1.2 + 0.2 * seen, 10, first=seen)]
    assert count(talk_with([act("question", 2.0, 3.0)], went_on, unheard=cut)).inserted == 0
    answered = [*says(1.2, seen), *says(1.2 + 0.2 * seen, 10, first=20)]  # in the same answer
    counts = count(talk_with([act("question", 2.0, 3.0)], answered, unheard=cut))
    assert (counts.inserted, counts.resumed) == (1, 0)


def test_of_several_cuts_the_last_one_counts() -> None:
    cuts = ((2.2, "duplex-1", " w5 w6 w7"), (2.9, "duplex-1", " w8 w9 w10"))
    said = [*says(1.2, 5), *says(2.3, 3, first=5), *says(3.4, 3, "duplex-2", first=5)]
    assert count(talk_with([act("question", 2.0, 3.0)], said, unheard=cuts)).resumed == 0
    said += says(4.0, 3, "duplex-2", first=8)
    assert count(talk_with([act("question", 2.0, 3.0)], said, unheard=cuts)).resumed == 1


@pytest.mark.parametrize("kind", ["turn", "stop", "resume"])
def test_only_a_question_asks_for_going_back(kind: str) -> None:
    cut = ((2.2, "duplex-1", " w5 w6 w7"),)
    back = [*says(1.2, 5), *says(4.0, 5, "duplex-2", first=5)]
    assert count(talk_with([act(kind, 2.0, 3.0)], back, unheard=cut)).inserted == 0


def test_a_question_that_cut_nothing_off_asks_for_no_going_back() -> None:
    assert count(talk_with([act("question", 2.0, 3.0)], says(1.2, 30))).inserted == 0


# — many talks —


def many(answers: Sequence[bool], scenario: str = "one") -> list[Talk]:
    """Talks with a backchannel that is gone on through or not."""
    talks = [
        talk_with([act("backchannel", 2.0, 2.4)], says(1.0, 10 if yes else 6), scenario=scenario) for yes in answers
    ]
    return talks


def test_fewer_than_ten_events_are_hidden() -> None:
    nine = panel(many([True] * 9))["duplex"]
    assert nine.values()["S_BC"] is None
    assert nine.intervals()["S_BC"] is None
    assert panel(many([True] * FEWEST))["duplex"].values()["S_BC"] == 1.0


def test_latencies_are_hidden_by_their_own_events() -> None:
    # twelve turns, nine of them answered after 0.6 s, three not before the next turn
    unanswered = talk_with([act("turn", 0.0, 1.0), act("turn", 9.0, 10.0)])
    talks = [talk_with([act("turn", 0.0, 1.0)], says(1.6, 5))] * 9 + [unanswered] * 3
    values = panel(talks)["duplex"].values()
    assert (values["R_R"], values["I_A"], values["L_R"]) == (0.75, 0.0, None)
    more = panel([*talks, talks[0]])["duplex"]
    assert (more.values()["L_R"], more.events("L_R"), more.events("R_R")) == (0.6, 10, 13)
    assert more.beside() == {
        "talks": 13,
        "turns": 16,
        "floor_transfer_s_p50": 0.6,
        "early_words": 0,
        "late_words": 0,
        "unheard_words_share": 0.0,
        "deaf_characters": 0,
        "resumed": None,
    }


def test_the_json_has_the_eight_names() -> None:
    found = to_json(panel(many([True] * 6 + [False] * 6)))
    assert list(found["duplex"]) == list(NAMES)
    assert found["duplex"]["S_BC"] == 0.5


def test_intervals_are_drawn_over_scenarios() -> None:
    # all talks of a scenario are alike: ten scenarios, half of them right
    talks = [t for n in range(10) for t in many([n % 2 == 0] * 5, f"s{n}")]
    low, high = panel(talks)["duplex"].intervals()["S_BC"] or (0, 0)
    # binomial, n = 10, p = 0.5: 2.5 % and 97.5 % are 2 and 8 of 10
    assert (low, high) == (pytest.approx(0.2), pytest.approx(0.8))
    assert panel(talks)["duplex"].intervals()["S_BC"] == (low, high)
    assert panel(talks, seed=1)["duplex"].intervals()["S_BC"] is not None
    one = panel(many([True] * 6 + [False] * 6))["duplex"]
    assert one.intervals()["S_BC"] == (0.5, 0.5)  # of one scenario nothing can be said


def test_scenarios_weigh_as_much_as_they_have_events() -> None:
    # a: 30 of 30 right, b: 0 of 10, c: no backchannel at all. Drawn are three of them with repetition, of 27 ways:
    # only c 1 (left out), only b or b and c 7 → 0, only a or a and c 7 → 1, the other 12 between 0.6 and 0.857
    talks = [*many([True] * 30, "a"), *many([False] * 10, "b"), talk_with([], scenario="c")]
    found = panel(talks)["duplex"]
    assert (found.values()["S_BC"], found.events("S_BC")) == (0.75, 40)
    assert found.intervals()["S_BC"] == (0.0, 1.0)
    right = panel([*many([True] * 10, "a"), talk_with([], scenario="c")])["duplex"]
    assert right.intervals()["S_BC"] == (1.0, 1.0)


def test_the_median_offset_of_an_even_number_lies_between_two() -> None:
    talks = [talk_with([act("turn", 0.0, 1.0)], says(at, 2)) for at in (1.1, 1.2, 1.5, 3.0)]
    assert panel(talks)["duplex"].offsets() == [0.1, 0.2, 0.5, 2.0]
    assert panel(talks)["duplex"].beside()["floor_transfer_s_p50"] == 0.35


def test_systems_are_kept_apart_and_order_does_not_matter() -> None:
    talks = [*many([True] * 10), *(talk_with(t.acts, t.pieces, system="strict") for t in many([False] * 10))]
    found = panel(talks)
    assert (found["duplex"].values()["S_BC"], found["strict"].values()["S_BC"]) == (1.0, 0.0)
    assert to_json(panel(reversed(talks)))["duplex"] == to_json(found)["duplex"]
    assert panel([]) == {}
