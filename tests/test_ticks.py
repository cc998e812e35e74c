"""Who speaks in which tick of 0.2 s."""

import pytest
from talk_fakes import act, says, talk_with

from duplex_runtime.evaluation.ticks import segments_of


@pytest.mark.parametrize(
    ("begin", "end", "ticks"),
    [
        (0.0, 1.0, (0, 5)),  # middles 0.1 … 0.9
        (0.1, 1.0, (0, 5)),  # a middle at the very beginning belongs
        (0.11, 1.0, (1, 5)),
        (0.0, 0.9, (0, 4)),  # a middle at the very end does not
        (0.0, 0.91, (0, 5)),
        (0.13, 0.23, (0, 1)),  # covers no middle: the nearest tick
        (0.17, 0.27, (1, 2)),
        (3.0, 3.0, (15, 16)),  # one key
    ],
)
def test_a_tick_belongs_to_whom_its_middle_belongs(begin: float, end: float, ticks: tuple[int, int]) -> None:
    segment = segments_of(talk_with([act("turn", begin, end)])).person[0]
    assert (segment.first, segment.end) == ticks


def test_pieces_close_together_are_one_sound() -> None:
    times = segments_of(talk_with([], [*says(1.0, 3), *says(2.0, 2)]))  # 1.0–1.6, then 0.4 s of nothing
    assert [(s.begin, s.stop) for s in times.system] == [(1.0, pytest.approx(2.4))]


def test_a_gap_or_another_answer_is_another_segment() -> None:
    gap = segments_of(talk_with([], [*says(1.0, 3), *says(2.2, 2)]))
    assert len(gap.system) == 2
    other = segments_of(talk_with([], [*says(1.0, 3), *says(1.6, 2, "duplex-2")]))
    assert [s.answer for s in other.system] == ["duplex-1", "duplex-2"]


def test_what_was_given_up_at_the_first_key_was_broken_into() -> None:
    times = segments_of(talk_with([act("turn", 2.0, 3.0)], says(1.0, 5)))  # until 2.0
    assert times.speaking(times.person[0].first) is None
    assert times.broken_into(times.person[0]) is times.system[0]
    later = segments_of(talk_with([act("turn", 2.3, 3.0)], says(1.0, 5)))
    assert later.broken_into(later.person[0]) is None


def test_what_begins_in_the_same_tick_was_not_broken_into() -> None:
    times = segments_of(talk_with([act("tic", 1.53, 1.55)], says(1.51, 3)))  # tick 7; it speaks from tick 8 on
    assert times.broken_into(times.person[0]) is None
