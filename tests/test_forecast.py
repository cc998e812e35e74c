"""Forecasts of a queue against what is certain, and against people who come and go by chance."""

import heapq
import random
import statistics
import time

from webapp.forecast import ENOUGH, waits


def test_nothing_is_known_of_a_new_server_without_a_limit() -> None:
    assert waits([10.0], [], None, 3) is None
    assert waits([10.0], [60.0] * (ENOUGH - 1), None, 3) is None


def test_before_sessions_have_ended_their_limit_is_the_longest_wait() -> None:
    assert waits([250.0, 100.0], [5.0], 300.0, 3) == [50.0, 200.0, 350.0]


def test_sessions_that_all_last_alike_end_one_after_the_other() -> None:
    assert waits([90.0, 30.0, 60.0], [100.0] * 20, None, 4) == [10.0, 40.0, 70.0, 110.0]


def test_no_session_lasts_longer_than_it_may() -> None:
    assert waits([0.0], [900.0] * 9, 300.0, 2) == [300.0, 600.0]


def test_a_session_that_outlasted_all_others_is_as_good_as_new() -> None:
    assert waits([500.0], [100.0] * 9, None, 1) == [100.0]


def test_a_session_beyond_its_limit_ends_now() -> None:
    assert waits([310.0], [100.0] * 9, 300.0, 1) == [0.0]


def test_waits_rise_along_the_queue_and_nobody_waits_less_than_nothing() -> None:
    dice = random.Random(3)
    ages, lasted = [dice.uniform(0, 900) for _ in range(7)], [dice.expovariate(1 / 120) for _ in range(40)]
    found = waits(ages, lasted, None, 30)
    assert found is not None and found == sorted(found) and found[0] >= 0.0


def test_the_same_hall_gives_the_same_numbers() -> None:
    assert waits([3.0, 9.0], [1.0, 5.0, 20.0, 30.0, 80.0], None, 3) == waits(
        [3.0, 9.0], [1.0, 5.0, 20.0, 30.0, 80.0], None, 3
    )


def test_forecasts_of_chance_are_right_in_the_middle() -> None:
    """Lengths of an exponential law: eight places, and the n-th in the queue waits for the n-th who goes."""
    dice, share = random.Random(5), {0: [], 9: []}  # type: ignore[var-annotated]
    for _ in range(150):
        lasted = [dice.expovariate(1 / 100) for _ in range(100)]
        ages = [dice.expovariate(1 / 100) for _ in range(8)]
        found = waits(ages, lasted, None, 10)
        assert found
        ends = [dice.expovariate(1 / 100) for _ in ages]  # such a length has no memory of its age
        heapq.heapify(ends)
        for n in range(10):
            if n in share:
                share[n].append(ends[0] / found[n])
            heapq.heapreplace(ends, ends[0] + dice.expovariate(1 / 100))
    assert 0.6 < statistics.median(share[0]) < 1.6
    assert 0.8 < statistics.median(share[9]) < 1.25


def test_a_long_queue_before_many_places_costs_milliseconds() -> None:
    dice = random.Random(0)
    ages, lasted = [dice.uniform(0, 300) for _ in range(128)], [dice.uniform(0, 300) for _ in range(100)]
    begun = time.perf_counter()
    waits(ages, lasted, 300.0, 200)
    assert time.perf_counter() - begun < 0.25  # some 15 ms where nothing else runs
