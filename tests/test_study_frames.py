from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from tests.study_files import THREE, study
from tests.study_people import person
from webapp.study.database import Answer, Database, Note, Participant
from webapp.study.definition import Exclude
from webapp.study.frames import FATES, Frames, Person, fate_of, frames_of, people_of
from webapp.study.simulate import fill
from webapp.study.truth import Truth

RULES = Exclude(attention_failed=2, min_minutes=5)


# — fates —


@pytest.mark.parametrize(
    ("given", "fate", "detail"),
    [
        ({}, "analysed", ""),
        ({"status": "begun"}, "left", ""),
        ({"status": "withdrawn", "failed_checks": 2}, "withdrew", ""),
        ({"status": "excluded", "excluded_because": "was a colleague"}, "excluded", "was a colleague"),
        ({"status": "excluded"}, "excluded", "no reason given"),
        ({"status": "consented", "step": "rate-1", "failed_checks": 2}, "unfinished", "stopped at rate-1"),
        ({"failed_checks": 2, "minutes": 1.0}, "inattentive", "2 checks failed"),
        ({"failed_checks": 1}, "analysed", ""),
        ({"minutes": 4.94}, "hurried", "4.9 minutes, at least 5 needed"),
        ({"minutes": 5.0}, "analysed", ""),
        ({"minutes": None}, "analysed", ""),
    ],
)
def test_what_becomes_of_a_participant(given: dict[str, Any], fate: str, detail: str) -> None:
    assert fate in FATES
    assert fate_of(person("p-1", **given), RULES) == (fate, detail)


def test_a_rule_that_is_switched_off_excludes_nobody() -> None:
    off = Exclude(attention_failed=0, min_minutes=0)
    assert fate_of(person("p-1", failed_checks=9, minutes=0.1), off) == ("analysed", "")


# — frames of values —


def frames(tmp_path: Path, *people: Person) -> Frames:
    return frames_of(study(tmp_path), people)


def test_ratings_go_to_the_system_of_their_page(tmp_path: Path) -> None:
    found = frames(tmp_path, person("p-1", duplex=6, strict=2, begins="strict")).ratings
    assert len(found) == 10
    duplex = found[found["system"] == "duplex"]
    assert set(duplex["value"]) == {6} and set(duplex["position"]) == {2}


@pytest.mark.parametrize(
    ("begins", "choice", "sides", "preferred", "strength", "earlier", "left"),
    [
        ("duplex", "1-much", (1, 2), "duplex", 3, True, True),
        ("duplex", "2-slightly", (1, 2), "strict", 1, False, False),
        ("strict", "1-more", (2, 1), "strict", 2, True, False),
        ("strict", "2-more", (2, 1), "duplex", 2, False, True),
    ],
)
def test_preferences(
    tmp_path: Path, begins: str, choice: str, sides: tuple[int, int], preferred: str, strength: int, earlier: bool,
    left: bool,
) -> None:  # fmt: skip
    one = person("p-1", begins=begins, sides=sides, compare={"preference": choice})
    row = frames(tmp_path, one).preferences.iloc[0]
    assert (row["first"], row["second"]) == ("duplex", "strict")
    assert (row["preferred"], row["strength"], row["earlier"], row["left"]) == (preferred, strength, earlier, left)


def test_three_systems_have_three_preferences(tmp_path: Path) -> None:
    given = {"preference-1-2": "2-more", "preference-1-3": "1-much", "preference-2-3": "3-slightly"}
    one = person("p-1", order=("strict", "barge-in", "duplex"), sides=(3, 1, 2), compare=given)
    found = frames_of(study(tmp_path, *THREE), [one]).preferences
    rows = {(row["first"], row["second"]): (row["preferred"], row["left"]) for _, row in found.iterrows()}
    assert rows == {
        ("barge-in", "strict"): ("barge-in", False),
        ("duplex", "strict"): ("strict", False),
        ("barge-in", "duplex"): ("duplex", True),
    }


@pytest.mark.parametrize(
    ("given", "outcome"),
    [
        ({"guess": "2", "guess_sure": 4}, "right"),
        ({"guess": "1", "guess_sure": 4}, "wrong"),
        ({"guess": "unsure", "guess_sure": 4}, "unsure"),
    ],
)
def test_guesses(tmp_path: Path, given: dict[str, Any], outcome: str) -> None:
    row = frames(tmp_path, person("p-1", begins="strict", compare=given)).guesses.iloc[0]
    assert (row["begins"], row["outcome"]) == ("strict", outcome)


def test_a_study_without_duplex_has_no_right_guess(tmp_path: Path) -> None:
    one = person("p-1", order=("barge-in", "strict"), compare={"guess": "1"})
    assert not len(frames(tmp_path, one).guesses)


def test_only_those_who_are_analysed_are_kept(tmp_path: Path) -> None:
    about = {"age": 30}
    people = [
        person("p-3", status="consented", comment="half", about=about),
        person("p-1", comment="whole", about=about),
        person("p-2", failed_checks=2, about=about),
    ]
    found = frames(tmp_path, *people)
    assert found.people["participant"].tolist() == ["p-1", "p-2", "p-3"]
    kept = found.analysed()
    for name in ("people", "ratings", "preferences", "guesses", "comments", "about"):
        assert set(getattr(kept, name)["participant"]) == {"p-1"}
        assert set(getattr(found, name)["participant"]) > {"p-1"}


def test_nothing_depends_on_who_came_first(tmp_path: Path) -> None:
    people = [person(f"p-{n}", duplex=1 + n, comment=f"text {n}") for n in range(6)]
    forth, back = frames(tmp_path, *people), frames(tmp_path, *people[::-1])
    for name in ("people", "ratings", "preferences", "guesses", "comments"):
        assert getattr(forth, name).equals(getattr(back, name))


def test_nobody_came(tmp_path: Path) -> None:
    found = frames(tmp_path)
    assert not len(found.analysed().ratings)
    assert list(found.ratings.columns) == ["participant", "system", "position", "scale", "value"]


# — the database —


def test_everybody_in_the_database(tmp_path: Path) -> None:
    made = study(tmp_path)
    database = Database(made.database_url)
    came = fill(made, database, Truth(careless=0.3, withdraws=0.2, leaves=0.2, looks=0.1), careful=3, seed=6)
    people = people_of(made, database)
    found = frames_of(made, people)
    fates = found.people["fate"].value_counts()
    expected = {"careful": "analysed", "careless": "inattentive", "withdraws": "withdrew", "leaves": "unfinished"}
    assert {kind: int(fates.get(fate, 0)) for kind, fate in expected.items()} == {
        kind: came.get(kind, 0) for kind in expected
    }
    kept = found.analysed()
    assert len(kept.ratings) == 3 * 2 * 5 and len(kept.preferences) == len(kept.guesses) == 3
    assert len(kept.talks) == 3 * 2 * 3 and set(kept.talks["turns"]) == {5}
    assert set(kept.people["minutes"].round()) == {25.0}
    assert set(kept.about["question"]) == {"age", "gender", "english", "assistants"}
    withdrew = found.people["participant"][found.people["fate"] == "withdrew"]
    assert not set(withdrew) & set(found.ratings["participant"])
    database.close()


def test_focus_exclusion_and_a_clock_that_went_back(tmp_path: Path) -> None:
    made = study(tmp_path)
    database = Database(made.database_url)
    fill(made, database, Truth(careless=0, withdraws=0, leaves=0, looks=0), careful=2, seed=1)
    one, other = sorted(each.id for each in people_of(made, database))
    with database.writing() as session:
        session.add_all(
            [Note(participant=one, kind=kind, detail={}, at="2026-01-01") for kind in ("blur", "blur", "focus")]
        )
        because = update(Participant).where(Participant.id == one)
        session.execute(because.values(status="excluded", excluded_because="<b>a friend</b>"))
        later = update(Answer).where(Answer.participant == other, Answer.step == "consent")
        session.execute(later.values(at="2999-01-01T00:00:00.000+00:00"))
    found = {each.id: each for each in people_of(made, database)}
    assert (found[one].lost_focus, found[other].lost_focus) == (2, 0)
    assert found[other].minutes is None
    assert fate_of(found[one], RULES) == ("excluded", "<b>a friend</b>")
    database.close()


def test_another_study_in_the_same_database_is_not_read(tmp_path: Path) -> None:
    made = study(tmp_path)
    database = Database(made.database_url)
    fill(made, database, Truth(), careful=1, seed=1)
    assert people_of(replace(made, name="another"), database) == []
    database.close()
