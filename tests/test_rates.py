import pytest

from webapp.rates import RATES, Rate, Rates

SMALL = {"keys": Rate(2, 4, "keys"), "letters": Rate(10, 20, "letters")}


def taken(rates: Rates, now: float, many: int, **amounts: float) -> int:
    """How often these amounts are given in `many` tries."""
    return sum(rates.take(now, **amounts) is None for _ in range(many))


def test_a_burst_is_given_at_once_and_no_more() -> None:
    assert taken(Rates(100.0, SMALL), 100.0, 10, keys=1) == 4


def test_it_fills_again_at_its_rate_and_never_over_its_burst() -> None:
    rates = Rates(0.0, SMALL)
    assert taken(rates, 0.0, 10, keys=1) == 4
    assert taken(rates, 0.4, 10, keys=1) == 0
    assert taken(rates, 1.0, 10, keys=1) == 2
    assert taken(rates, 1000.0, 10, keys=1) == 4


def test_in_the_long_run_it_gives_its_rate() -> None:
    rates = Rates(0.0, SMALL)
    given = sum(taken(rates, step / 100, 1, keys=1) for step in range(10_000))
    assert given == pytest.approx(100 * 2 + 4, abs=1)


def test_of_several_amounts_all_are_taken_or_none() -> None:
    rates = Rates(0.0, SMALL)
    assert rates.take(0.0, keys=1, letters=15) is None
    assert rates.take(0.0, keys=1, letters=15)
    assert taken(rates, 0.0, 10, keys=1) == 3
    assert rates.take(0.0, letters=5) is None


def test_kinds_know_nothing_of_each_other() -> None:
    rates = Rates(0.0, SMALL)
    assert taken(rates, 0.0, 10, keys=1) == 4
    assert taken(rates, 0.0, 30, letters=1) == 20


def test_the_error_says_what_is_too_much_and_what_to_do() -> None:
    error = Rates(0.0, SMALL).take(0.0, letters=21)
    assert error and error.code == "too_fast"
    assert all(word in str(error) for word in ("letters", "10 a second", "20 at once", "again"))


def test_a_clock_that_stands_or_goes_back_gives_nothing() -> None:
    rates = Rates(10.0, SMALL)
    assert taken(rates, 10.0, 10, keys=1) == 4
    assert taken(rates, 5.0, 10, keys=1) == 0
    assert taken(rates, 10.0, 10, keys=1) == 0
    assert taken(rates, 10.5, 10, keys=1) == 1


def test_a_person_is_never_too_fast() -> None:
    """A paste of all that the box takes, ten minutes of quick typing and speech, and half a minute's backlog."""
    rates = Rates(0.0)
    assert taken(rates, 0.0, 5, typed=1, characters=4000) == 5
    for frame in range(10 * 60 * 50):
        now = 1.0 + frame / 50
        assert rates.take(now, sound_seconds=0.02) is None
        if frame % 3 == 0:
            assert rates.take(now, typed=1, characters=1) is None
        if frame % 5 == 0:
            assert rates.take(now, reports=1) is None
    assert taken(rates, 700.0, 30 * 17, typed=1, characters=1) == 30 * 17


def test_every_kind_that_a_session_takes_has_a_rate() -> None:
    assert set(RATES) == {"typed", "characters", "sound_seconds", "updates", "reports", "refused"}
    assert all(rate.burst >= rate.per_second > 0 for rate in RATES.values())
