import math

import pandas as pd
import pytest

from webapp.study.preference import bang, blinding, reference_of, shares, sides, strengths
from webapp.study.statistics import Estimate

BOTH = ("strict", "duplex")
THREE = ("duplex", "strict", "barge-in")
COLUMNS = ["participant", "first", "second", "preferred", "strength", "earlier", "left"]


def votes(*won: tuple[str, str], strength: int = 2) -> pd.DataFrame:
    """One participant for each pair of the preferred system and the other."""
    rows = [(f"p-{n}", *sorted(pair), pair[0], strength, n % 2 == 0, n % 3 == 0) for n, pair in enumerate(won)]
    return pd.DataFrame(rows, columns=COLUMNS)


def many(duplex: int, strict: int) -> pd.DataFrame:
    return votes(*[("duplex", "strict")] * duplex, *[("strict", "duplex")] * strict)


# — Bradley-Terry —


def test_of_two_systems_it_is_the_log_odds() -> None:
    found = strengths(many(30, 10), BOTH)
    assert list(found) == ["duplex"]  # strict is the reference
    assert found["duplex"].value == pytest.approx(math.log(30.5 / 10.5), abs=1e-6)
    # the binomial of 40 with 3/4 has 24 and 35 at its 2.5 % and 97.5 %
    assert found["duplex"].low == pytest.approx(math.log(24.5 / 16.5), abs=0.12)
    assert found["duplex"].high == pytest.approx(math.log(35.5 / 5.5), abs=0.35)


def test_of_three_systems_it_finds_strengths_that_fit_every_pair() -> None:
    """Preferences whose odds, with the halves that are added, are exactly 4, 2 and 2."""
    pairs = [("duplex", "strict", 80, 20), ("duplex", "barge-in", 40, 20), ("barge-in", "strict", 40, 20)]
    won = [
        duel
        for a, b, wins, losses in pairs
        for duel in [(a, b)] * int(wins * 10) + [(b, a)] * int(losses * 10)
    ]  # fmt: skip
    found = strengths(votes(*won), THREE, rounds=10)
    assert found["duplex"].value == pytest.approx(math.log(4), abs=0.01)
    assert found["barge-in"].value == pytest.approx(math.log(2), abs=0.01)


def test_a_unanimous_preference_is_finite() -> None:
    found = strengths(many(20, 0), BOTH)["duplex"]
    assert found.value == found.low == found.high == pytest.approx(math.log(20.5 / 0.5), abs=1e-6)


def test_participants_are_drawn_with_all_their_preferences() -> None:
    """Each of 10 likes all or nothing: drawn one by one, their 30 preferences would look certain."""
    rows = []
    for person in range(10):
        for _ in range(3):
            first = person < 7
            rows.append((f"p-{person}", "duplex", "strict", "duplex" if first else "strict", 1, True, True))
    clustered = strengths(pd.DataFrame(rows, columns=COLUMNS), BOTH)["duplex"]
    alone = strengths(many(21, 9), BOTH)["duplex"]
    assert clustered.value == pytest.approx(alone.value)
    assert clustered.low is not None and alone.low is not None and clustered.low < alone.low - 0.3


def test_the_seed_decides_and_the_order_of_rows_does_not() -> None:
    frame = many(17, 9)
    turned = frame.sample(frac=1, random_state=2).assign(participant=[f"q-{n}" for n in range(26)])
    assert strengths(frame, BOTH, seed=5) == strengths(turned, BOTH, seed=5)
    three = votes(*[("duplex", "strict")] * 7, *[("strict", "barge-in")] * 5, *[("duplex", "barge-in")] * 6)
    assert strengths(three, THREE, 50, seed=1) == strengths(three[::-1], THREE, 50, seed=1)
    assert strengths(three, THREE, 50, seed=1) != strengths(three, THREE, 50, seed=2)


def test_nobody_answered() -> None:
    assert strengths(votes(), BOTH) == {}
    row = shares(votes(), BOTH)[0]
    assert (row.n, row.prefer_first, row.share, row.p) == (0, 0, None, None)
    assert [(side.n, side.share, side.p) for side in sides(votes())] == [(0, None, None)] * 2
    assert [row.index for row in blinding(pd.DataFrame(columns=["participant", "begins", "outcome", "sure"]), 2)] == [
        None
    ]


def test_the_reference_is_what_waits_for_its_turn() -> None:
    assert reference_of(BOTH) == "strict" and reference_of(("duplex", "barge-in")) == "barge-in"


# — shares, sides —


def test_shares_by_hand() -> None:
    frame = pd.concat([votes(("duplex", "strict")), votes(("strict", "duplex"), ("duplex", "strict"), strength=3)])
    row = shares(frame, BOTH)[0]
    assert (row.first, row.second, row.n, row.prefer_first) == ("duplex", "strict", 3, 2)
    assert row.by_strength == ((0, 1, 1), (0, 0, 1))
    assert row.share and row.share.value == pytest.approx(2 / 3)
    assert row.p == pytest.approx(1.0)  # 2 of 3 or more, either way


def test_pairs_of_three_systems_are_told_apart() -> None:
    frame = votes(("duplex", "strict"), ("barge-in", "duplex"), ("barge-in", "strict"), ("strict", "barge-in"))
    found = {(row.first, row.second): (row.n, row.prefer_first) for row in shares(frame, THREE)}
    assert found == {("duplex", "barge-in"): (1, 0), ("duplex", "strict"): (1, 1), ("barge-in", "strict"): (2, 1)}


def test_sides_count_what_stood_there() -> None:
    earlier, left = sides(many(7, 2))
    assert (earlier.name, earlier.count, earlier.n) == ("earlier", 5, 9)
    assert (left.name, left.count) == ("left", 3)
    assert left.p == pytest.approx(260 / 512)  # 2 · (1 + 9 + 36 + 84) / 512


# — Bang's index —


def test_bang_by_hand() -> None:
    # (12 - 6) / 24 = 0.25; variance (18 - 24 · 0.0625) / 23 / 24 = 0.029891; t(23) 2.06866 · 0.17289 = 0.35765
    found = bang(right=12, wrong=6, unsure=6)
    assert found and (found.value, found.low, found.high) == pytest.approx((0.25, -0.10765, 0.60765), abs=1e-4)


def test_bang_is_0_by_chance_for_any_number_of_choices() -> None:
    for choices in (2, 3):
        found = bang(right=10, wrong=10 * (choices - 1), unsure=5, choices=choices)
        assert found and found.value == pytest.approx(0)
    # of three choices: (6 - 4 / 2) / 12 = 1/3; variance (6 + 4 / 4 - 12 / 9) / 11 / 12; t(11) 2.200985
    found = bang(right=6, wrong=4, unsure=2, choices=3)
    assert found and found.low is not None and found.value == pytest.approx(1 / 3)
    assert found.value - found.low == pytest.approx(2.200985 * math.sqrt((7 - 12 / 9) / 11 / 12))


def test_bang_of_guesses_that_are_all_alike_has_no_interval() -> None:
    assert bang(5, 0, 0) == Estimate(1.0) and bang(0, 5, 0) == Estimate(-1.0) and bang(0, 0, 5) == Estimate(0.0)
    assert bang(0, 0, 0) is None


def test_blinding_of_all_and_by_first_system() -> None:
    outcomes = [("duplex", "right"), ("duplex", "right"), ("strict", "wrong"), ("strict", "unsure")]
    frame = pd.DataFrame([(f"p-{n}", *row, 3) for n, row in enumerate(outcomes)]).set_axis(
        ["participant", "begins", "outcome", "sure"], axis=1
    )
    every, duplex, strict = blinding(frame, 2)
    assert (every.begins, every.right, every.wrong, every.unsure) == ("", 2, 1, 1)
    assert (duplex.begins, duplex.index, strict.begins) == ("duplex", Estimate(1.0), "strict")
    assert strict.index and strict.index.value == -0.5
