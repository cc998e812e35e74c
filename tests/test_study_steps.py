import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.study_files import THREE, study
from webapp.study.assignment import assign
from webapp.study.definition import PAPER_SCALES, Study
from webapp.study.steps import (
    ATTENTION,
    CODES,
    AnswersRefused,
    Item,
    Step,
    cards_of,
    check_answers,
    failed_checks,
    way_of,
)

VOICE = (('way = "typing"', 'way = "voice"'), ("# audio = true", "audio = true"))
EITHER = (('way = "typing"', 'way = "either"'), ("# audio = true", "audio = false"))


@pytest.fixture
def arena(tmp_path: Path) -> Study:
    return study(tmp_path / "arena")


def steps(some: Study, number: int = 0) -> dict[str, Step]:
    return {step.key: step for step in way_of(some, assign(some, number))}


def keys(step: Step) -> list[str]:
    return [item.key for item in step.items]


def full(step: Step) -> dict[str, Any]:
    """An answer to everything that may be asked."""
    values: dict[str, Any] = {"flag": True, "check": True, "text": "words"}
    return {
        item.key: values.get(item.kind, item.options[0] if item.kind == "choice" else item.low) for item in step.items
    }


def codes(step: Step, answers: Any) -> dict[str, str]:
    with pytest.raises(AnswersRefused) as caught:
        check_answers(step, answers)
    assert set(caught.value.items.values()) <= set(CODES)
    return caught.value.items


# — the way —


def test_the_way_goes_from_consent_to_the_end(arena: Study) -> None:
    way = way_of(arena, assign(arena, 0))
    assert [step.key for step in way] == [
        *("consent", "device", "practice", "talk-1-1", "talk-1-2", "talk-1-3", "rate-1"),
        *("talk-2-1", "talk-2-2", "talk-2-3", "rate-2", "compare", "about", "done"),
    ]
    talk = way[8]
    assert (talk.kind, talk.position, talk.session) == ("talk", 2, 2)
    assert {step.position for step in way if step.kind not in ("talk", "rate")} == {0}


def test_a_page_that_would_ask_nothing_is_left_out(tmp_path: Path) -> None:
    paper = study(tmp_path, preset="paper")
    assert "compare" not in steps(paper)
    assert "about" in steps(paper)
    nobody = replace(paper, about_you=replace(paper.about_you, questions=()))
    assert [step.key for step in way_of(nobody, assign(nobody, 0))][-2:] == ["rate-2", "done"]


def test_both_systems_get_the_same_cards(arena: Study) -> None:
    for number in range(20):
        talks = [step for step in way_of(arena, assign(arena, number)) if step.kind == "talk"]
        first, second = ([step.task for step in talks if step.position == position] for position in (1, 2))
        assert first == second
        assert len(set(first)) == 3


def test_every_card_comes_first_about_equally_often(arena: Study) -> None:
    first = Counter(cards_of(arena, assign(arena, number))[0] for number in range(1200))
    assert set(first) == {card.key for card in arena.tasks.sheet}
    assert all(150 < times < 250 for times in first.values()), first


def test_the_paper_s_cards_come_in_the_order_of_the_sheet(tmp_path: Path) -> None:
    paper = study(tmp_path, preset="paper")
    for number in range(4):
        assert cards_of(paper, assign(paper, number)) == tuple(card.key for card in paper.tasks.sheet)


# — items —


def test_consent_asks_what_the_study_offers(tmp_path: Path) -> None:
    assert keys(steps(study(tmp_path / "a"))["consent"]) == ["agree", "publish"]
    assert keys(steps(study(tmp_path / "b", *VOICE))["consent"]) == ["agree", "publish", "audio"]
    assert keys(steps(study(tmp_path / "c", ("publish = true", "publish = false")))["consent"]) == ["agree"]


def test_devices_are_those_of_the_way_to_talk(tmp_path: Path) -> None:
    sound = ["microphone", "loudspeaker", "headphones", "echo"]
    assert keys(steps(study(tmp_path / "a"))["device"]) == ["keyboard"]
    assert keys(steps(study(tmp_path / "b", *VOICE))["device"]) == ["keyboard", *sound]
    assert keys(steps(study(tmp_path / "c", *EITHER))["device"]) == ["keyboard", "way", *sound]


def test_ratings_ask_the_scales_one_check_each_and_a_comment(arena: Study) -> None:
    for number in range(10):
        for position in (1, 2):
            asked = keys(steps(arena, number)[f"rate-{position}"])
            assert asked[0] == "responsiveness", "a check never comes first"
            assert asked[-1] == "comment"
            assert [key for key in asked if key in PAPER_SCALES] == list(PAPER_SCALES)
            assert [key for key in asked if key.startswith("attention")] == [f"attention-{position}"]


def test_attention_checks_are_drawn_and_never_at_an_end_or_in_the_middle(arena: Study) -> None:
    checks = [steps(arena, number)["rate-1"] for number in range(400)]
    items = [item for step in checks for item in step.items if item.key == "attention-1"]
    assert {item.right for item in items} == set(ATTENTION)
    assert all(item.text == f"attention.pick-{item.right}" for item in items)
    assert len({keys(step).index("attention-1") for step in checks}) == 5


def test_more_checks_go_round_the_pages(tmp_path: Path) -> None:
    way = steps(study(tmp_path, ("attention = 2", "attention = 3")))
    assert {key for key in keys(way["rate-1"]) if "attention" in key} == {"attention-1", "attention-3"}
    assert {key for key in keys(way["rate-2"]) if "attention" in key} == {"attention-2"}


def test_the_right_answer_stays_on_the_server(arena: Study) -> None:
    for step in way_of(arena, assign(arena, 0)):
        for item in step.items:
            shown = item.shown()
            assert "right" not in shown
            assert shown["key"] == item.key
            json.dumps(shown)


def test_two_systems_are_compared_once_and_three_in_pairs(tmp_path: Path) -> None:
    two, three = study(tmp_path / "a"), study(tmp_path / "b", *THREE)
    assert keys(steps(two)["compare"]) == ["preference", "guess", "guess_sure"]
    assert keys(steps(three)["compare"]) == [
        *("preference-1-2", "preference-1-3", "preference-2-3", "guess", "guess_sure")
    ]
    preference, guess, _ = steps(two)["compare"].items
    assert preference.options == ("1-much", "1-more", "1-slightly", "2-slightly", "2-more", "2-much")
    assert guess.options == ("1", "2", "unsure")
    assert steps(three)["compare"].items[1].options[-1] == "3-much"


def test_keys_are_unique_in_every_step(tmp_path: Path) -> None:
    for some in (study(tmp_path / "a", *EITHER), study(tmp_path / "b", *THREE), study(tmp_path / "c", preset="paper")):
        way = way_of(some, assign(some, 3))
        assert len({step.key for step in way}) == len(way)
        assert all(len(set(keys(step))) == len(step.items) for step in way)


# — answers —


@pytest.mark.parametrize("changes", [(), VOICE, EITHER, THREE])
def test_full_answers_to_every_step_are_taken(changes: tuple[tuple[str, str], ...], tmp_path: Path) -> None:
    some = study(tmp_path, *changes)
    for step in way_of(some, assign(some, 1)):
        taken = check_answers(step, full(step))
        if step.key != "device":
            assert taken == full(step)
        assert check_answers(step, taken) == taken


@pytest.mark.parametrize("answers", [None, [], "agree", 1, True, float("nan")])
def test_what_is_no_object_is_refused(arena: Study, answers: Any) -> None:
    with pytest.raises(AnswersRefused, match="expected an object") as caught:
        check_answers(steps(arena)["consent"], answers)
    assert caught.value.items == {}


def test_missing_answers_are_named(arena: Study) -> None:
    rate = steps(arena)["rate-1"]
    expected = {key: "missing" for key in keys(rate) if key != "comment"}
    for nothing in ({}, dict.fromkeys(keys(rate)), dict.fromkeys(keys(rate), ""), dict.fromkeys(keys(rate), "  ")):
        assert codes(rate, nothing) == expected


def test_refusals_say_step_items_and_codes(arena: Study) -> None:
    rate = steps(arena)["rate-1"]
    with pytest.raises(AnswersRefused, match=r"rate-1: .*overall \(not_in_scale\)"):
        check_answers(rate, {**full(rate), "overall": 8})


NO_SCALE = [0, 8, -1, 10**30, "5", "", True, False, 5.0, 4.5, float("nan"), float("inf"), [5], {"value": 5}, None]


@pytest.mark.parametrize("value", NO_SCALE, ids=repr)
def test_a_scale_takes_whole_numbers_in_its_range_only(arena: Study, value: Any) -> None:
    rate = steps(arena)["rate-1"]
    code = "missing" if value in ("", None) else "not_in_scale"
    assert codes(rate, {**full(rate), "overall": value}) == {"overall": code}


@pytest.mark.parametrize("value", range(1, 8))
def test_every_point_of_a_scale_is_taken(arena: Study, value: int) -> None:
    rate = steps(arena)["rate-1"]
    assert check_answers(rate, {**full(rate), "overall": value})["overall"] == value


@pytest.mark.parametrize("value", [1, 0, "true", "yes", [], 1.0])
def test_a_flag_is_true_or_false_and_nothing_like_it(arena: Study, value: Any) -> None:
    assert codes(steps(arena)["consent"], {"agree": value}) == {"agree": "not_a_flag"}


def test_consent_is_needed_and_the_boxes_are_not(tmp_path: Path) -> None:
    consent = steps(study(tmp_path, *VOICE))["consent"]
    assert codes(consent, {"agree": False, "publish": True}) == {"agree": "must_agree"}
    assert check_answers(consent, {"agree": True}) == {"agree": True, "publish": False, "audio": False}
    assert check_answers(consent, {"agree": True, "audio": True})["audio"] is True


def test_devices_have_to_work_but_nobody_needs_headphones(tmp_path: Path) -> None:
    device = steps(study(tmp_path, *VOICE))["device"]
    works = {"keyboard": True, "microphone": True, "loudspeaker": True}
    assert check_answers(device, works) == {**works, "headphones": False, "echo": False}
    assert codes(device, {**works, "microphone": False}) == {"microphone": "must_work"}


def test_who_types_is_not_asked_for_a_microphone(tmp_path: Path) -> None:
    device = steps(study(tmp_path, *EITHER))["device"]
    typed = {"keyboard": True, "way": "keys"}
    assert check_answers(device, typed) == typed
    assert check_answers(device, {**typed, "microphone": "a page left this behind"}) == typed
    assert codes(device, {"keyboard": True, "way": "speech"}) == {"microphone": "missing", "loudspeaker": "missing"}
    assert codes(device, {"keyboard": True}) == {"way": "missing"}


def test_who_has_no_idea_is_not_asked_how_sure(arena: Study) -> None:
    compare = steps(arena)["compare"]
    unsure = {"preference": "2-much", "guess": "unsure"}
    assert check_answers(compare, unsure) == unsure
    assert codes(compare, {**unsure, "guess": "1"}) == {"guess_sure": "missing"}
    assert codes(compare, {**unsure, "guess": "1", "guess_sure": 6}) == {"guess_sure": "not_in_scale"}


@pytest.mark.parametrize("value", ["3-much", "duplex", 1, True, ["1-much"], {}])
def test_a_choice_is_one_of_its_options(arena: Study, value: Any) -> None:
    compare = steps(arena)["compare"]
    assert codes(compare, {**full(compare), "preference": value}) == {"preference": "not_an_option"}


@pytest.mark.parametrize("value", ["30", 30.0, True, float("nan"), [30]])
def test_a_number_is_a_whole_number(arena: Study, value: Any) -> None:
    assert codes(steps(arena)["about"], {"age": value}) == {"age": "not_a_whole_number"}


@pytest.mark.parametrize("value", [17, 121, -30, 10**20])
def test_a_number_has_its_bounds(arena: Study, value: int) -> None:
    assert codes(steps(arena)["about"], {"age": value}) == {"age": "out_of_range"}


def test_questions_about_the_participant_may_stay_empty(arena: Study) -> None:
    about = steps(arena)["about"]
    assert check_answers(about, {}) == {}
    assert check_answers(about, {"age": None, "gender": ""}) == {}


# — text —


def test_a_comment_has_room_for_four_thousand_characters(arena: Study) -> None:
    rate = steps(arena)["rate-1"]
    assert check_answers(rate, {**full(rate), "comment": "字" * 4000})["comment"] == "字" * 4000
    for much in (4001, 100_000):
        assert codes(rate, {**full(rate), "comment": "x" * much}) == {"comment": "too_long"}


@pytest.mark.parametrize("value", [5, True, ["a"], {"a": "b"}, 1.5])
def test_a_comment_is_text(arena: Study, value: Any) -> None:
    rate = steps(arena)["rate-1"]
    assert codes(rate, {**full(rate), "comment": value}) == {"comment": "not_text"}


def test_a_comment_comes_through_as_it_is(arena: Study) -> None:
    rate = steps(arena)["rate-1"]
    comment = "  <script>alert(1)</script>\n=HYPERLINK(1) \N{WAVING HAND SIGN} 很好 "
    assert check_answers(rate, {**full(rate), "comment": comment})["comment"] == comment


def test_characters_that_no_database_takes_are_replaced(arena: Study) -> None:
    rate = steps(arena)["rate-1"]
    taken = check_answers(rate, {**full(rate), "comment": "a\0b\ud800c"})["comment"]
    assert taken == "a\N{REPLACEMENT CHARACTER}b?c"


def test_an_empty_comment_is_none(arena: Study) -> None:
    rate = steps(arena)["rate-1"]
    assert "comment" not in check_answers(rate, {**full(rate), "comment": " \n"})


# — what nobody asked —


def test_unknown_items_are_refused_and_not_all_of_many_are_named(arena: Study) -> None:
    talk = steps(arena)["talk-1-1"]
    assert check_answers(talk, {}) == {}
    assert codes(talk, {"overall": 5}) == {"overall": "unknown_item"}
    assert len(codes(talk, {f"key {n}": 1 for n in range(10_000)})) == 10
    assert codes(talk, {"x" * 100_000: 1}) == {"x" * 80: "unknown_item"}


def test_all_that_is_wrong_is_told_at_once(arena: Study) -> None:
    rate = steps(arena)["rate-1"]
    answers = {**full(rate), "overall": 0, "comment": 3, "secret": 1}
    del answers["factuality"]
    assert codes(rate, answers) == {
        "overall": "not_in_scale",
        "comment": "not_text",
        "secret": "unknown_item",
        "factuality": "missing",
    }


# — attention —


def test_a_wrong_answer_to_a_check_is_taken_and_counted(arena: Study) -> None:
    way = way_of(arena, assign(arena, 0))
    rights = {item.key: item.right for step in way for item in step.items if item.right is not None}
    answers = {step.key: check_answers(step, full(step)) for step in way if step.kind == "rate"}
    assert failed_checks(way, answers) == 2
    answers["rate-1"]["attention-1"] = rights["attention-1"]
    assert failed_checks(way, answers) == 1
    answers["rate-2"]["attention-2"] = rights["attention-2"]
    assert failed_checks(way, answers) == 0


def test_checks_that_were_not_reached_are_not_failed(arena: Study) -> None:
    assert failed_checks(way_of(arena, assign(arena, 0)), {}) == 0


def test_every_code_can_happen() -> None:
    items = (
        Item("agree", "flag", "t"),
        Item("device", "check", "t"),
        Item("scale", "scale", "t", low=1, high=7),
        Item("number", "number", "t", low=1, high=7),
        Item("choice", "choice", "t", options=("a",)),
        Item("text", "text", "t", longest=3),
    )
    step = Step("all", "all", items=items)
    wrong: list[dict[str, Any]] = [
        {"agree": False, "device": False, "scale": 9, "number": 9, "choice": "b", "text": "long"},
        {"agree": 1, "number": "1", "text": 1, "other": 1},
    ]
    assert {code for answers in wrong for code in codes(step, answers).values()} == set(CODES)
