import json
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from itertools import pairwise, permutations
from pathlib import Path

import pytest

from tests.study_files import THREE, study
from webapp.study.assignment import Assignment, arms_of, assign, assign_next, shuffled, williams
from webapp.study.definition import Study

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def two(tmp_path: Path) -> Study:
    return study(tmp_path / "two", ("seed = 0", "seed = 20"))


@pytest.fixture
def three(tmp_path: Path) -> Study:
    return study(tmp_path / "three", *THREE)


@pytest.fixture
def paper(tmp_path: Path) -> Study:
    return study(tmp_path / "paper", preset="paper")


# — orders —


@pytest.mark.parametrize("n", range(2, 10))
def test_williams_squares_balance_positions_and_what_follows_what(n: int) -> None:
    rows = williams(n)
    assert len(rows) == (n if n % 2 == 0 else 2 * n)
    assert all(sorted(row) == list(range(n)) for row in rows)
    for position in range(n):
        assert set(Counter(row[position] for row in rows).values()) == {len(rows) // n}
    followed = Counter(pair for row in rows for pair in pairwise(row))
    assert set(followed) == set(permutations(range(n), 2))
    assert set(followed.values()) == {len(rows) // n}


def test_two_and_three_systems_have_all_their_orders(two: Study, three: Study) -> None:
    assert set(arms_of(two)) == set(permutations(two.systems))
    assert set(arms_of(three)) == set(permutations(three.systems))


# — balance —


@pytest.mark.parametrize("which", ["two", "three"])
def test_no_arm_is_ever_further_ahead_than_one_block(which: str, request: pytest.FixtureRequest) -> None:
    some: Study = request.getfixturevalue(which)
    share = some.block // len(arms_of(some))
    seen: Counter[int] = Counter({arm: 0 for arm in range(len(arms_of(some)))})
    for number in range(20 * some.block):
        given = assign(some, number)
        assert given.order == arms_of(some)[given.arm]
        assert (given.block, given.place) == divmod(number, some.block)
        seen[given.arm] += 1
        assert max(seen.values()) - min(seen.values()) <= share
        if given.place == some.block - 1:
            assert len(set(seen.values())) == 1


def test_at_the_end_of_a_block_carry_over_is_balanced(three: Study) -> None:
    orders = [assign(three, number).order for number in range(4 * three.block)]
    followed = Counter(pair for order in orders for pair in pairwise(order))
    assert set(followed) == set(permutations(three.systems, 2))
    assert len(set(followed.values())) == 1


def test_the_order_in_a_block_is_drawn_for_each_block(two: Study) -> None:
    blocks = Counter(tuple(assign(two, 4 * block + place).arm for place in range(4)) for block in range(1200))
    assert len(blocks) == 6  # the ways to put two of each arm in four places
    assert all(150 < times < 250 for times in blocks.values()), blocks


def test_labels_and_sides_are_drawn_evenly_and_apart_from_the_arm(two: Study) -> None:
    given = [assign(two, number) for number in range(4000)]
    seen = Counter((one.arm, one.labels, one.sides) for one in given)
    assert len(seen) == 8
    # 500 expected of each, standard deviation 21
    assert all(410 < times < 590 for times in seen.values()), seen


def test_labels_and_sides_of_three_are_drawn_evenly(three: Study) -> None:
    given = [assign(three, number) for number in range(3600)]
    for seen in (Counter(one.labels for one in given), Counter(one.sides for one in given)):
        assert len(seen) == 6
        # 600 expected of each, standard deviation 22
        assert all(500 < times < 700 for times in seen.values()), seen


def test_another_seed_gives_other_draws(two: Study) -> None:
    def drawn(seed: int) -> list[Assignment]:
        return [assign(replace(two, seed=seed), number) for number in range(40)]

    assert drawn(20) == drawn(20)
    assert len({str(drawn(seed)) for seed in range(10)}) == 10


def test_seeds_of_participants_fit_and_differ(two: Study) -> None:
    seeds = {assign(two, number).seed for number in range(2000)}
    assert len(seeds) == 2000
    assert all(0 <= seed < 2**31 for seed in seeds)


def test_an_assignment_is_the_same_in_another_process(two: Study) -> None:
    code = (
        "from pathlib import Path; from webapp.study.definition import Study; "
        "from webapp.study.assignment import assign; "
        f"study = Study.read(Path({str(two.folder)!r})); "
        "import json; print(json.dumps([assign(study, n).seed for n in range(5)]))"
    )
    environment = {"PYTHONHASHSEED": "7"}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, check=True)
    assert json.loads(done.stdout) == [assign(two, number).seed for number in range(5)]


def test_what_was_given_once_is_given_for_good(two: Study) -> None:
    # a study that runs must not change under its participants when the code does
    assert assign(two, 5) == Assignment(
        block=1, place=1, arm=0, order=("duplex", "strict"), labels=("A", "B"), sides=(1, 2), seed=935031875
    )


# — the paper —


def test_in_the_paper_s_protocol_odd_participants_begin_with_duplex_and_labels_are_fixed(paper: Study) -> None:
    for participant in range(1, 31):
        given = assign(paper, participant - 1)
        assert (given.order[0] == "duplex") == (participant % 2 == 1)
        assert dict(zip(given.order, given.labels, strict=True)) == {"duplex": "A", "strict": "B"}
        assert given.labels[given.sides[0] - 1] == "A"


def test_the_paper_s_protocol_does_not_depend_on_the_order_in_the_file(paper: Study) -> None:
    turned = replace(paper, systems=("strict", "duplex"))
    assert [assign(turned, n).order for n in range(4)] == [assign(paper, n).order for n in range(4)]
    assert [assign(turned, n).labels for n in range(4)] == [assign(paper, n).labels for n in range(4)]


# — places given again —


def test_next_goes_on_where_the_last_one_was(two: Study) -> None:
    seats: list[tuple[int, int, bool]] = []
    for number in range(10):
        given = assign_next(two, seats)
        assert given == assign(two, number)
        seats.append((given.block, given.place, True))


def test_the_place_of_who_left_is_given_again_to_the_same_arm_with_other_draws(two: Study) -> None:
    seats = [(0, 0, True), (0, 1, False), (0, 2, True), (0, 3, False)]
    given = assign_next(two, reversed(seats))
    first = assign(two, 1)
    assert (given.block, given.place, given.arm, given.order) == (0, 1, first.arm, first.order)
    assert given.seed != first.seed
    again = assign_next(two, [*seats, (0, 1, False)])  # who got it left as well
    assert (again.block, again.place) == (0, 1)
    assert len({first.seed, given.seed, again.seed}) == 3
    after = assign_next(two, [*seats, (0, 1, False), (0, 1, True)])
    assert (after.block, after.place) == (0, 3)
    fresh = assign_next(two, [*seats, (0, 1, True), (0, 3, True)])
    assert fresh == assign(two, 4)


def test_whoever_leaves_the_arms_of_those_who_stay_are_balanced(three: Study) -> None:
    seats: list[tuple[int, int, bool]] = []
    for number in range(200):
        given = assign_next(three, seats)
        leaves = shuffled(range(4), "leaves", number)[0] == 0
        seats.append((given.block, given.place, not leaves))
    seen = Counter(assign(three, block * three.block + place).arm for block, place, holds in seats if holds)
    assert max(seen.values()) - min(seen.values()) <= 1
    held = [seat[:2] for seat in seats if seat[2]]
    assert len(held) == len(set(held)), "nobody sits on another's seat"


# — draws —


def test_a_shuffle_keeps_everything_and_depends_on_what_it_is_drawn_for() -> None:
    things = ("a", "b", "b", "c", "d")
    assert sorted(shuffled(things, 1)) == sorted(things)
    assert shuffled(things, 1, "x") == shuffled(things, 1, "x")
    assert len({shuffled("abcdefgh", 1, name) for name in range(50)}) == 50


def test_a_shuffle_is_even() -> None:
    seen = Counter(shuffled("abc", "test", number) for number in range(3000))
    assert len(seen) == 6
    assert all(420 < times < 580 for times in seen.values()), seen
