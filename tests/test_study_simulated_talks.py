from pathlib import Path

import numpy as np
import pytest

from duplex_runtime.evaluation.interaction import count
from duplex_runtime.evaluation.talks import talk_of
from duplex_runtime.recording import read_log
from tests.study_files import study
from webapp.study.simulated import Mind
from webapp.study.simulated_talks import ANSWERS_AFTER, write_talk
from webapp.study.truth import Truth


class Steady(Mind):
    """To whom every system answers as it does on average."""

    def reaction(self, mean: float, spread: float) -> float:
        return mean


@pytest.mark.parametrize("system", ["duplex", "strict", "barge-in"])
def test_a_talk_says_what_was_put_in(tmp_path: Path, system: str) -> None:
    path = tmp_path / "recordings" / "one.jsonl"
    mind = Steady(Truth(), np.random.default_rng(0))
    assert write_talk(path, system, mind, study(tmp_path)) == (5, 1)
    (log,) = read_log(path).values()
    talk = talk_of(log, "one.jsonl")
    counts = count(talk)
    assert talk.system == system and counts.turns == 5
    assert sorted(counts.offsets)[len(counts.offsets) // 2] == pytest.approx(ANSWERS_AFTER[system][0], abs=0.01)
    yielded, interruptions = counts.of["R_Y"]
    assert (interruptions, yielded) == (1, 0 if system == "strict" else 1)
    assert len(talk.unheard) == len(talk.yields) == (0 if system == "strict" else 1)
