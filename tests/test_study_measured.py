from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.study_files import study
from tests.study_people import person
from webapp.study.frames import Talked, frames_of
from webapp.study.measured import Measured, correlations, measured_of
from webapp.study.simulated import Mind
from webapp.study.simulated_talks import write_talk
from webapp.study.truth import Truth

BOTH = ("duplex", "strict")


class Slow(Mind):
    """Everything takes this person so much longer, in seconds."""

    def __init__(self, longer: float) -> None:
        super().__init__(Truth(), np.random.default_rng(0))
        self._longer = longer

    def reaction(self, mean: float, spread: float) -> float:
        return mean + self._longer


def held(tmp_path: Path, people: int, broken: str = "") -> Measured:
    """People with one talk for each system; the later they come, the slower it is. broken: what one recording holds."""
    made, came = study(tmp_path), []
    for number in range(people):
        talks = []
        for position, system in enumerate(BOTH, 1):
            name = f"{number}-{system}.jsonl"
            write_talk(made.recordings / name, system, Slow(number / 10), made)
            talks.append(Talked(position, 1, system, 60.0, 5, 1, name))
        came.append(person(f"p-{number}", talks=tuple(talks)))
    if broken:
        (made.recordings / "0-strict.jsonl").write_text(broken)
    return measured_of(frames_of(made, came).talks, made.recordings)


def test_every_participant_has_figures_of_every_system(tmp_path: Path) -> None:
    found = held(tmp_path, 3)
    duplex = found.each[found.each["system"] == "duplex"].set_index("participant")
    assert duplex["answer_s"].tolist() == pytest.approx([0.5, 0.6, 0.7], abs=0.01)
    assert duplex["yield_s"].notna().all()
    strict = found.each[found.each["system"] == "strict"]
    assert strict["answer_s"].tolist() == pytest.approx([1.3, 1.4, 1.5], abs=0.01)
    assert strict["yield_s"].isna().all()  # it never falls silent
    assert found.missing == ()


def test_a_participant_s_answers_have_their_median(tmp_path: Path) -> None:
    made, talks = study(tmp_path), []
    for session, longer in enumerate((0.8, 0.0, 0.4), 1):
        write_talk(made.recordings / f"{session}.jsonl", "duplex", Slow(longer), made)
        talks.append(Talked(1, session, "duplex", 60.0, 5, 1, f"{session}.jsonl"))
    found = measured_of(frames_of(made, [person("p-1", talks=tuple(talks))]).talks, made.recordings)
    assert found.each["answer_s"].tolist() == pytest.approx([0.5 + 0.4], abs=0.01)


def test_the_panel_is_by_system_and_its_bootstrap_by_participant(tmp_path: Path) -> None:
    panels = held(tmp_path, 3).panels
    assert set(panels) == set(BOTH)
    assert set(panels["duplex"].by_scenario) == {"p-0", "p-1", "p-2"}
    assert panels["duplex"].values()["L_R"] == pytest.approx(0.6, abs=0.1)
    assert panels["strict"].events("R_Y") == 3


@pytest.mark.parametrize("broken", ["{nonsense\n{}\n", '{"kind": "event"}\n{}\n'])
def test_a_recording_that_is_broken_is_named_and_the_rest_read(tmp_path: Path, broken: str) -> None:
    found = held(tmp_path, 2, broken)
    assert len(found.missing) == 1 and found.missing[0].startswith("0-strict.jsonl")
    assert str(tmp_path) not in found.missing[0]
    assert len(found.each) == 3


def test_a_recording_that_is_gone_is_named(tmp_path: Path) -> None:
    made = study(tmp_path)
    talks = frames_of(made, [person("p-1", talks=(Talked(1, 1, "duplex", 60.0, 5, 1, "gone.jsonl"),))]).talks
    found = measured_of(talks, made.recordings)
    assert found.missing == ("gone.jsonl: no such log file",) and not found.panels and not len(found.each)


def test_nobody_talked(tmp_path: Path) -> None:
    found = held(tmp_path, 0)
    assert found == Measured({}, found.each, ()) and not len(found.each)
    assert correlations(frames_of(study(tmp_path), []).ratings, found.each, BOTH, ["overall"], 0) == []


# — correlations —


def felt(people: int, sign: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Ratings of duplex that rise or fall with the seconds to its answer; strict is always the same."""
    ratings, each = [], []
    for number in range(people):
        value = 1 + number if sign > 0 else 7 - number
        ratings += [(f"p-{number}", "duplex", 1, "overall", value), (f"p-{number}", "strict", 2, "overall", 4)]
        each += [(f"p-{number}", "duplex", number / 10, np.nan), (f"p-{number}", "strict", 1.0, np.nan)]
    return (
        pd.DataFrame(ratings, columns=["participant", "system", "position", "scale", "value"]),
        pd.DataFrame(each, columns=["participant", "system", "answer_s", "yield_s"]),
    )


@pytest.mark.parametrize("sign", [1, -1])
def test_a_correlation_of_one(sign: int) -> None:
    found = {row.of: row for row in correlations(*felt(7, sign), BOTH, ["overall", "speed"], seed=0)}
    assert set(found) == {"duplex", "strict", "duplex - strict"}
    assert found["duplex"].rho and found["duplex"].rho.value == pytest.approx(sign)
    difference = found["duplex - strict"].rho
    assert difference and difference.value == pytest.approx(sign) and found["duplex - strict"].n == 7
    assert found["strict"].rho is None  # all alike
    assert {row.figure for row in found.values()} == {"answer_s"}  # nobody has the other one


def test_few_participants_have_no_correlation() -> None:
    assert all(row.rho is None for row in correlations(*felt(5, 1), BOTH, ["overall"], seed=0))


def test_the_order_of_the_rows_does_not_matter() -> None:
    ratings, each = felt(7, 1)
    ratings.loc[0, "value"] = 5
    forth = correlations(ratings, each, BOTH, ["overall"], seed=3)
    assert correlations(ratings[::-1], each[::-1], BOTH, ["overall"], seed=3) == forth
    rho = forth[0].rho
    assert rho and rho.low is not None and rho.high is not None and rho.low < rho.value < rho.high
