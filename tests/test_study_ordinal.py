import numpy as np
import pandas as pd
import pytest
from statsmodels.tools.numdiff import approx_fprime

from tests.study_people import ratings
from webapp.study.ordinal import _model_class, fit

#: Ratings of duplex and strict; those with an odd number began with duplex.
PAIRS = (
    (3, 1), (5, 4), (5, 1), (5, 4), (3, 4), (2, 1), (3, 2), (5, 3),
    (3, 5), (3, 3), (3, 1), (2, 2), (3, 1), (4, 3), (1, 1), (4, 1),
)  # fmt: skip
BOTH = ("duplex", "strict")


def test_it_finds_what_clmm_of_r_finds() -> None:
    """ordinal 2022.11: clmm(value ~ system + position + (1 | participant), link = "probit", nAGQ = 15)."""
    fitted = fit(ratings(*PAIRS), BOTH)
    assert fitted.system and fitted.sd and fitted.position_p
    assert fitted.system.value == pytest.approx(1.12247, abs=0.0005)
    assert (fitted.system.high - fitted.system.low) / 2 / 1.959964 == pytest.approx(0.44686, abs=0.0005)
    assert fitted.system.p == pytest.approx(0.012009, abs=0.0001)
    assert fitted.position_p == pytest.approx(0.82022, abs=0.0005)
    assert fitted.sd == pytest.approx(0.80529, abs=0.0005)
    assert fitted.why == ""


def three_systems(opinions: dict[str, float], people: int = 60) -> pd.DataFrame:
    rng, rows = np.random.default_rng(2), []
    systems = list(opinions)
    for number in range(people):
        own, order = rng.normal(), [systems[(number + n) % 3] for n in range(3)]
        for position, system in enumerate(order, 1):
            opinion = own + opinions[system] + rng.normal()
            rows.append((f"p-{number}", system, position, "overall", 1 + int(np.searchsorted([-1, 0, 1, 2], opinion))))
    return pd.DataFrame(rows, columns=["participant", "system", "position", "scale", "value"])


def test_differences_of_three_systems_agree_with_each_other() -> None:
    frame = three_systems({"duplex": 1.0, "barge-in": 0.4, "strict": 0.0})
    found = {pair: fit(frame, pair).system for pair in (BOTH, ("duplex", "barge-in"), ("barge-in", "strict"))}
    values = [effect.value if effect else 0.0 for effect in found.values()]
    assert values[0] == pytest.approx(values[1] + values[2], abs=1e-3)
    assert values[0] == pytest.approx(1.0, abs=0.5)


def test_the_other_way_round_it_is_the_same_with_another_sign() -> None:
    forth, back = fit(ratings(*PAIRS), BOTH).system, fit(ratings(*PAIRS), ("strict", "duplex")).system
    assert forth and back
    assert (back.value, back.low, back.high) == pytest.approx((-forth.value, -forth.high, -forth.low), abs=1e-4)


def test_the_order_of_the_rows_does_not_matter() -> None:
    frame = ratings(*PAIRS)
    assert fit(frame.sample(frac=1, random_state=3), BOTH) == fit(frame, BOTH)


def test_the_slope_is_that_of_the_likelihood() -> None:
    frame = ratings(*PAIRS).sort_values("participant")
    design = np.column_stack([frame["system"] == "duplex", frame["position"] == 2]).astype(float)
    model = _model_class()(frame["value"].to_numpy(), design, frame["participant"].to_numpy())
    params = model.start_params + np.linspace(-0.2, 0.3, len(model.start_params))
    assert model.score(params) == pytest.approx(approx_fprime(params, model.loglike, centered=True), abs=1e-5)


def test_equal_steps_in_a_scale_make_no_difference() -> None:
    """Only the order of the steps counts: 1, 2, 3 as good as 1, 4, 7."""
    frame = ratings(*PAIRS)
    assert fit(frame.assign(value=frame["value"] ** 2), BOTH) == fit(frame, BOTH)


@pytest.mark.parametrize(
    ("pairs", "why"),
    [
        ((), "no ratings of both systems"),
        (((5, 4), (3, 3)), "fewer than three participants"),
        (((4, 4),) * 10, "all ratings are the same"),
        (((6, 2),) * 10, "the ratings do not bound the effect"),
    ],
)
def test_what_cannot_be_estimated_is_said(pairs: tuple[tuple[int, int], ...], why: str) -> None:
    fitted = fit(ratings(*pairs), BOTH)
    assert (fitted.system, fitted.position_p, fitted.sd, fitted.why) == (None, None, None, why)


def test_system_and_position_must_differ() -> None:
    frame = ratings(*PAIRS)
    frame["position"] = (frame["system"] == "strict") + 1
    assert fit(frame, BOTH).why == "system and position cannot be told apart"
