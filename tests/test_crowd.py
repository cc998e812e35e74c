"""Options about how many people are let in."""

import pytest

from duplex_runtime.errors import BadInput
from webapp.admission import Limits
from webapp.crowd import Crowd, minutes, number


def test_on_a_machine_of_ones_own_nothing_is_limited_but_the_machine() -> None:
    assert Crowd.of({}) == Crowd()
    assert Crowd().limits(5) == Limits(5, per_person=None, session_seconds=None, idle_seconds=None)


def test_on_a_space_one_person_has_two_places_and_the_proxy_is_believed() -> None:
    assert Crowd.of({"SPACE_ID": "a/b"}) == Crowd(per_person=2, trust_proxy=True)
    assert Crowd.of({"SPACE_ID": "a/b", "DUPLEX_PER_PERSON": "none", "DUPLEX_TRUST_PROXY": "0"}) == Crowd()


def test_the_environment_sets_all_of_it_and_minutes_become_seconds() -> None:
    crowd = Crowd.of(
        {
            "DUPLEX_PLACES": "40",
            "DUPLEX_PER_PERSON": "3",
            "DUPLEX_SESSION_MINUTES": "10",
            "DUPLEX_IDLE_MINUTES": "2.5",
            "DUPLEX_TRUST_PROXY": "1",
        }
    )
    assert crowd == Crowd(40, 3, 10.0, 2.5, True)
    assert crowd.limits(40) == Limits(40, per_person=3, session_seconds=600.0, idle_seconds=150.0)


@pytest.mark.parametrize("text", ["0", "-1", "", "1.5", "none", "many", "²", "9999999999"])
def test_a_number_of_places_that_is_none_is_told_with_its_name(text: str) -> None:
    with pytest.raises(BadInput, match="DUPLEX_PLACES: expected auto or a whole number from 1"):
        Crowd.of({"DUPLEX_PLACES": text})


@pytest.mark.parametrize("text", ["0", "-1", "", "nan", "inf", "auto", "1441"])
def test_minutes_that_are_none_are_told_with_their_name(text: str) -> None:
    with pytest.raises(BadInput, match="--idle-minutes: expected none or minutes"):
        minutes("--idle-minutes", text)


def test_words_for_no_limit() -> None:
    assert number("--places", "auto", "auto") is number("--per-person", "none") is minutes("--idle-minutes", "none")


def test_a_proxy_is_trusted_or_not() -> None:
    with pytest.raises(BadInput, match="DUPLEX_TRUST_PROXY: expected 1 or 0"):
        Crowd.of({"DUPLEX_TRUST_PROXY": "yes"})
