from pathlib import Path

import pandas as pd

from tests.study_files import study
from tests.study_people import person
from webapp.study.analysis import analyse, findings_of
from webapp.study.database import Database
from webapp.study.frames import frames_of
from webapp.study.simulate import fill
from webapp.study.truth import Truth


def test_everything_is_of_those_who_are_analysed(tmp_path: Path) -> None:
    made = study(tmp_path)
    people = [
        person(f"p-{n}", duplex=5 + n % 3, strict=2 + n % 2, begins=("duplex", "strict")[n % 2]) for n in range(8)
    ]
    spoilt = [person(f"q-{n}", duplex=1, strict=7, failed_checks=2) for n in range(8)]
    found = findings_of(made, frames_of(made, [*people, *spoilt]))
    alone = findings_of(made, frames_of(made, people))
    assert found.n == 8 and len(found.everybody.people) == 16
    assert found.comparisons == alone.comparisons and found.described == alone.described
    assert found.shares == alone.shares and found.strengths == alone.strengths and found.blinding == alone.blinding
    assert found.comparisons[0].mean and found.comparisons[0].mean.value > 3


def test_the_unaware_are_those_who_did_not_guess_right(tmp_path: Path) -> None:
    guesses = ("1", "2", "unsure", "1", "2")  # all began with duplex
    people = [
        person(
            f"p-{n}", compare={"preference": "1-more" if guess == "1" else "2-more", "guess": guess, "guess_sure": 3}
        )
        for n, guess in enumerate(guesses)
    ]
    made = study(tmp_path)
    found = findings_of(made, frames_of(made, people))
    assert (found.shares[0].n, found.shares[0].prefer_first) == (5, 2)
    assert (found.unaware[0].n, found.unaware[0].prefer_first) == (3, 0)


def test_it_reads_database_recordings_and_mark(tmp_path: Path) -> None:
    made = study(tmp_path)
    database = Database(made.database_url)
    fill(made, database, Truth(), careful=4, seed=2)
    first, again = analyse(made, database), analyse(made, database)
    database.close()
    assert first.mark and first.mark["seed"] == 2
    assert set(first.measured.panels) == {"duplex", "strict"} and not first.measured.missing
    assert first.comparisons == again.comparisons and first.correlations == again.correlations
    pd.testing.assert_frame_equal(first.frames.ratings, again.frames.ratings)


def test_nobody(tmp_path: Path) -> None:
    made = study(tmp_path)
    found = findings_of(made, frames_of(made, []))
    assert found.n == 0 and found.mark is None and found.strengths == {} and found.correlations == []
    assert all(row.mean is None for row in found.comparisons)
