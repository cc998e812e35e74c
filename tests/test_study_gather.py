from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from numpy.random import default_rng

from tests.study_exports import Crowd
from tests.study_files import study as study_of
from webapp.study.database import Database
from webapp.study.gather import Gathered, allowed, gather
from webapp.study.service import Service
from webapp.study.simulate import fill
from webapp.study.simulated import Mind
from webapp.study.simulated_talks import write_talk
from webapp.study.truth import Truth


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crowd]:
    crowd = Crowd(tmp_path_factory.mktemp("crowd"))
    yield crowd
    crowd.close()


@pytest.fixture(scope="module")
def everybody(crowd: Crowd) -> Gathered:
    return gather(crowd.study, crowd.database, "all")


def of(gathered: Gathered, table: str, **values: Any) -> list[dict[str, Any]]:
    return [row for row in gathered.rows[table] if values.items() <= row.items()]


def test_the_flow_counts_everybody(crowd: Crowd, everybody: Gathered) -> None:
    counts = {"came": 6, "left": 1, "withdrew": 1, "excluded": 1, "unfinished": 1, "exported": 4}
    assert {key: everybody.flow[key] for key in counts} == counts
    # the same low answers everywhere: both fail the attention checks
    assert everybody.flow["inattentive"] + everybody.flow["analysed"] == 2
    assert gather(crowd.study, crowd.database, "public").flow["exported"] == 2
    assert allowed(crowd.study, crowd.database, "public") == {crowd.open.id, crowd.stopped.id}


def test_a_participant_is_told_as_the_server_drew_them(crowd: Crowd, everybody: Gathered) -> None:
    (row,) = of(everybody, "participants", participant=crowd.open.id)
    assert (row["block"], row["place"], row["publish"], row["audio"], row["language"]) == (0, 0, True, True, "en")
    assert sorted(row["order"].split()) == ["duplex", "strict"] and row["order"].startswith(row["begins"])
    assert sorted(row["labels"].split()) == ["A", "B"] and sorted(row["sides"].split()) == ["1", "2"]
    assert row["lost_focus"] == 1 and row["step"] == "done"


def test_answers_are_told_with_their_system_and_as_numbers_where_they_are(crowd: Crowd, everybody: Gathered) -> None:
    (person,) = of(everybody, "participants", participant=crowd.open.id)
    mine = {"participant": crowd.open.id}
    (scale,) = of(everybody, "answers", step="rate-2", item="overall", **mine)
    assert (scale["value"], scale["number"], scale["position"]) == ("1", 1, 2)
    assert scale["system"] == person["order"].split()[1]
    (agree,) = of(everybody, "answers", item="agree", **mine)
    assert (agree["value"], agree["number"], agree["position"], agree["system"]) == ("true", None, None, None)
    checks = [row for row in of(everybody, "answers", **mine) if row["item"].startswith("attention")]
    assert [row["right"] for row in checks] == [False, False]
    assert all(row["right"] is None for row in of(everybody, "answers", **mine) if row not in checks)


def test_ratings_are_one_row_a_system(crowd: Crowd, everybody: Gathered) -> None:
    first, second = of(everybody, "ratings", participant=crowd.open.id)
    assert (first["position"], second["position"]) == (1, 2) and first["system"] != second["system"]
    assert first["overall"] == 1 and first["comment"].startswith("=HYPERLINK") and second["comment"] is None
    assert of(everybody, "ratings", participant=crowd.stopped.id) == []


def test_a_guess_of_somebody_unsure_leaves_others_whole(crowd: Crowd, everybody: Gathered) -> None:
    from dataclasses import replace

    from webapp.study.frames import frames_of, people_of
    from webapp.study.gather import _records

    people = [person for person in people_of(crowd.study, crowd.database) if person.id == crowd.open.id]
    unsure = replace(people[0], id="p-z", answers={**people[0].answers, "compare": {"guess": "unsure"}})
    rows = _records(frames_of(crowd.study, [*people, unsure]).guesses)
    sure = {row["participant"]: row["sure"] for row in rows}
    assert sure == {crowd.open.id: 1, "p-z": None} and type(sure[crowd.open.id]) is int


def test_notes_say_when_and_on_which_page_and_no_more(crowd: Crowd, everybody: Gathered) -> None:
    device, blur = of(everybody, "notes", participant=crowd.open.id)
    assert (device["kind"], device["step"]) == ("device", "device")
    assert (blur["kind"], blur["step"]) == ("blur", None)  # no page is called so


def test_about_is_one_row_with_a_column_a_question(crowd: Crowd, everybody: Gathered) -> None:
    (row,) = of(everybody, "about", participant=crowd.open.id)
    assert row == {
        "participant": crowd.open.id,
        "about_age": 41,
        "about_gender": "other",
        "about_english": None,
        "about_assistants": None,
    }


def test_a_talk_without_a_recording_says_so(crowd: Crowd, everybody: Gathered) -> None:
    first, *others = of(everybody, "talks", participant=crowd.open.id)
    assert len(others) == 3
    assert first["talk"] == f"{crowd.open.id}-1-1-1" and (first["seconds"], first["turns"]) == (60.0, 5)
    assert first["problem"] == f"{first['talk']}: no such log file" and first["answer_s"] is None


def test_a_talk_that_was_taken_up_again_has_parts(tmp_path: Path) -> None:
    crowd = Crowd(tmp_path)
    crowd.looker.answer()
    crowd.looker.go_to("talk-1-1")
    for _ in range(2):
        crowd.looker.talk()
    rows = of(gather(crowd.study, crowd.database, "all"), "talks", participant=crowd.looker.id)
    crowd.close()
    assert [(row["talk"][11:], row["part"]) for row in rows] == [("1-1-1", 1), ("1-1-2", 2)]


def test_recordings_are_measured(tmp_path: Path) -> None:
    study = study_of(tmp_path / "study")
    database = Database(study.database_url)
    fill(study, database, Truth(), careful=1, seed=5)
    gathered = gather(study, database, "all")
    database.close()
    duplex, strict = (of(gathered, "talks", system=system)[0] for system in ("duplex", "strict"))
    assert duplex["problem"] is None and duplex["asked"] == duplex["answered"] == 4
    assert 0 < duplex["answer_s"] < strict["answer_s"] < 4
    assert (duplex["broken_into"], duplex["yielded"], strict["yielded"]) == (1, 1, 0)
    assert duplex["unheard"] > 0 and duplex["yield_s"] is not None and strict["yield_s"] is None


def test_a_talk_is_named_by_what_it_is_and_not_by_its_file(tmp_path: Path) -> None:
    study = study_of(tmp_path / "study")
    database = Database(study.database_url)
    service = Service(study, database)
    fill(study, database, Truth(), careful=1, seed=5)
    gathered = gather(service.study, database, "public")
    database.close()
    stems = {file.stem for file in study.recordings.iterdir()}
    assert gathered.talks and {talk.file.stem for talk in gathered.talks} == stems
    assert not [stem for stem in stems if any(stem in str(row) for row in gathered.rows["talks"])]
    mind = Mind(Truth(), default_rng(0))
    broken = gathered.talks[0].file
    write_talk(broken, "duplex", mind, study)
    broken.write_bytes(b'{"kind"\n' + broken.read_bytes())
    database = Database(study.database_url)
    (problem,) = [row["problem"] for row in gather(study, database, "public").rows["talks"] if row["problem"]]
    database.close()
    assert problem.startswith(f"{gathered.talks[0].name} line 1: expected")
