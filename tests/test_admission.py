"""Places and the queue before them, on an event loop whose seconds cost no time."""

import asyncio
import random
import selectors
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

import pytest

from duplex_runtime.errors import BadInput, DuplexError
from webapp.admission import Admission, Limits, Place

T = TypeVar("T")


class _Selector(selectors.DefaultSelector):
    loop: "Timeless"

    def select(self, timeout: float | None = None) -> list[Any]:
        events = super().select(0)
        if not events:
            assert timeout is not None, "everybody waits, and nothing will ever happen"
            self.loop.now += max(0.0, timeout)
        return events


class Timeless(asyncio.SelectorEventLoop):
    """Where a real loop would sleep, the clock jumps."""

    def __init__(self) -> None:
        self.now = 0.0
        selector = _Selector()
        selector.loop = self
        super().__init__(selector)

    def time(self) -> float:
        return self.now


def run(test: Callable[[], Coroutine[Any, Any, T]]) -> T:
    with asyncio.Runner(loop_factory=Timeless) as runner:
        return runner.run(test())


def clock() -> float:
    return asyncio.get_running_loop().time()


def admission(**limits: Any) -> Admission:
    return Admission(Limits(**{"places": 1, "per_person": None} | limits), clock)


class Guest:
    """Somebody who comes, and stays inside until told to go."""

    def __init__(self, hall: Admission, name: str = "", stays: float | None = None) -> None:
        self.queue: list[tuple[int, int, int | None]] = []
        self.events: list[tuple[float, dict[str, Any]]] = []
        self.place: Place | None = None
        self.went_in: float | None = None
        self.error: str | None = None
        self.go = asyncio.Event()
        self._hall, self._name, self._stays = hall, name or str(id(self)), stays
        self.task = asyncio.create_task(self._visit())

    def _told(self, event: dict[str, Any]) -> None:
        assert event["type"] == "duplex.queue"
        self.queue.append((event["position"], event["waiting"], event["estimate_seconds"]))

    async def _visit(self) -> None:
        try:
            async with self._hall.place(self._name, self._told) as self.place:
                self.went_in = clock()
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._stays):
                        await self.go.wait()
        except DuplexError as error:
            self.error = error.code

    async def watched(self) -> list[tuple[float, str, Any, Any]]:
        """Everything the place tells, to its end: when, what, seconds and why; then leave."""
        assert self.place
        told: list[tuple[float, str, Any, Any]] = []
        while not told or told[-1][1] != "duplex.ended":
            event = await self.place.watch()
            told.append((clock(), event["type"], event.get("seconds"), event.get("why")))
        self.go.set()
        await self.task
        return told


async def settle() -> None:
    """Let everybody do what they can do now."""
    for _ in range(20):
        await asyncio.sleep(0)


def test_whoever_finds_a_free_place_does_not_wait_and_hears_of_no_queue() -> None:
    async def test() -> None:
        hall = admission(places=2)
        guests = [Guest(hall), Guest(hall)]
        await settle()
        assert [g.went_in for g in guests] == [0.0, 0.0]
        assert [g.queue for g in guests] == [[], []]
        assert (hall.taken, hall.waiting) == (2, 0)
        for guest in guests:
            guest.go.set()
            await guest.task
        assert (hall.taken, hall.waiting) == (0, 0)

    run(test)


def test_first_come_first_served_and_positions_move_up() -> None:
    async def test() -> None:
        hall = admission()
        inside = Guest(hall)
        await settle()
        queue = []
        for _ in range(3):
            queue.append(Guest(hall))
            await settle()
        assert [g.queue[-1][:2] for g in queue] == [(1, 3), (2, 3), (3, 3)]
        assert queue[0].queue == [(1, 1, None), (1, 2, None), (1, 3, None)], "the length of the queue is told as well"
        leaving = inside
        for n, guest in enumerate(queue):
            leaving.go.set()
            await settle()
            assert guest.went_in is not None
            assert [g.queue[-1][0] for g in queue[n + 1 :]] == list(range(1, len(queue) - n))
            leaving = guest
        assert (hall.taken, hall.waiting) == (1, 0)
        leaving.go.set()
        await leaving.task

    run(test)


def test_whoever_comes_while_a_place_is_handed_over_cannot_overtake() -> None:
    async def test() -> None:
        hall = admission()
        inside, first = Guest(hall), Guest(hall)
        await settle()
        inside.go.set()
        late = Guest(hall)  # before anybody has been told
        await settle()
        assert first.went_in is not None and late.went_in is None
        first.go.set()
        late.go.set()
        await late.task

    run(test)


def test_whoever_leaves_the_queue_frees_the_position_at_once() -> None:
    async def test() -> None:
        hall = admission()
        inside = Guest(hall)
        await settle()
        first, second = Guest(hall), Guest(hall)
        await settle()
        first.task.cancel()
        await settle()
        assert second.queue[-1][:2] == (1, 1)
        assert (hall.taken, hall.waiting) == (1, 1)
        inside.go.set()
        await settle()
        assert second.went_in is not None
        second.go.set()
        await second.task
        assert hall.taken == 0

    run(test)


def test_whoever_is_cancelled_with_the_place_in_hand_gives_it_on() -> None:
    async def test() -> None:
        hall = admission()
        inside, first, second = Guest(hall), Guest(hall), Guest(hall)
        await settle()
        inside.go.set()
        while not hall._queue or len(hall._queue) == 2:  # first has it, and does not know yet
            await asyncio.sleep(0)
        assert first.place is None
        first.task.cancel()
        await settle()
        assert second.went_in is not None and hall.taken == 1
        second.go.set()
        await second.task
        assert (hall.taken, hall.waiting, dict(hall._of_person)) == (0, 0, {})

    run(test)


def test_an_error_inside_gives_the_place_back_and_goes_on_to_whoever_entered() -> None:
    async def test() -> None:
        hall = admission()
        with pytest.raises(ValueError, match="mine"):
            async with hall.place("p", print):
                raise ValueError("mine")
        assert hall.taken == 0

    run(test)


def test_a_position_is_told_again_every_fifteen_seconds() -> None:
    async def test() -> list[tuple[int, int, int | None]]:
        hall = admission()
        inside, waiting = Guest(hall, stays=50.0), Guest(hall, stays=0.0)
        await asyncio.gather(inside.task, waiting.task)
        assert clock() == 50.0
        return waiting.queue

    assert run(test) == [(1, 1, None)] * 4  # at 0, 15, 30 and 45 s


def test_two_hundred_may_wait_and_the_next_is_told_that_the_queue_is_full() -> None:
    async def test() -> None:
        hall = admission(waiting=3)
        inside = Guest(hall)
        queue = [Guest(hall) for _ in range(3)]
        late = Guest(hall)
        await settle()
        assert late.error == "full" and hall.waiting == 3
        for guest in (inside, *queue):
            guest.task.cancel()
        await settle()
        assert (hall.taken, hall.waiting) == (0, 0)
        Guest(hall, stays=0.0)
        await settle()

    run(test)
    assert Limits().waiting == 200


def test_without_a_queue_a_free_place_is_still_given() -> None:
    async def test() -> None:
        hall = admission(waiting=0)
        one, two = Guest(hall, stays=1.0), Guest(hall)
        await asyncio.gather(one.task, two.task)
        assert (one.error, two.error) == (None, "full")

    run(test)


def test_one_person_holds_and_waits_for_so_many_places_and_others_are_not_concerned() -> None:
    async def test() -> None:
        hall = admission(places=1, per_person=2)
        inside, waiting, third = (Guest(hall, "ann") for _ in range(3))
        other = Guest(hall, "bob")
        await settle()
        assert (inside.error, waiting.error, third.error, other.error) == (None, None, "too_many", None)
        inside.go.set()
        await settle()
        again = Guest(hall, "ann")  # one has ended: she may wait once more
        await settle()
        assert again.error is None and again.queue[-1][0] == 2
        for guest in (waiting, other, again):
            guest.go.set()
            await guest.task
        assert dict(hall._of_person) == {}

    run(test)


# — when a session ends —


def watched(acts: Callable[[Guest], Coroutine[Any, Any, None]] | None = None, **limits: Any) -> list[Any]:
    async def test() -> list[Any]:
        guest = Guest(admission(**limits))
        await settle()
        acting = asyncio.create_task(acts(guest)) if acts else None
        told = await guest.watched()
        if acting:
            await acting
        return told

    return run(test)


def test_a_session_is_warned_and_ended_after_its_time() -> None:
    assert watched(session_seconds=300.0) == [
        (240.0, "duplex.ending", 60, "time"),
        (300.0, "duplex.ended", None, "time"),
    ]


def test_of_a_short_session_the_warning_comes_half_way() -> None:
    assert watched(session_seconds=40.0) == [
        (20.0, "duplex.ending", 20, "time"),
        (40.0, "duplex.ended", None, "time"),
    ]


def test_who_does_nothing_is_warned_and_ended() -> None:
    assert watched(idle_seconds=180.0) == [
        (120.0, "duplex.ending", 60, "idle"),
        (180.0, "duplex.ended", None, "idle"),
    ]


def test_activity_before_the_warning_puts_it_off_without_a_word() -> None:
    async def acts(guest: Guest) -> None:
        assert guest.place
        for _ in range(100):
            await asyncio.sleep(1.0)
            guest.place.active()

    assert watched(acts, idle_seconds=180.0)[0] == (220.0, "duplex.ending", 60, "idle")


def test_activity_after_the_warning_takes_it_back_at_once_and_it_may_come_again() -> None:
    async def acts(guest: Guest) -> None:
        assert guest.place
        await asyncio.sleep(150.0)
        guest.place.active()

    assert watched(acts, idle_seconds=180.0) == [
        (120.0, "duplex.ending", 60, "idle"),
        (150.0, "duplex.stays", None, None),
        (270.0, "duplex.ending", 60, "idle"),
        (330.0, "duplex.ended", None, "idle"),
    ]


def test_when_the_nearer_end_is_put_off_the_other_one_is_told_in_its_place() -> None:
    async def acts(guest: Guest) -> None:
        assert guest.place
        await asyncio.sleep(250.0)
        guest.place.active()

    told = watched(acts, idle_seconds=260.0, session_seconds=300.0)
    assert told == [
        (200.0, "duplex.ending", 60, "idle"),
        (250.0, "duplex.ending", 50, "time"),
        (300.0, "duplex.ended", None, "time"),
    ]


def test_a_watch_that_was_broken_off_loses_nothing() -> None:
    async def test() -> None:
        guest = Guest(admission(session_seconds=100.0))
        await settle()
        assert guest.place
        for _ in range(49):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(1.0):
                    await guest.place.watch()
        told = await guest.watched()
        assert [t[1] for t in told] == ["duplex.ending", "duplex.ended"]
        assert (await guest.place.watch())["type"] == "duplex.ended"

    run(test)


def test_without_limits_nothing_is_ever_told() -> None:
    async def test() -> None:
        guest = Guest(admission())
        await settle()
        assert guest.place
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1e6):
                await guest.place.watch()
        guest.go.set()
        await guest.task

    run(test)


# — shutdown —


def test_drain_tells_everybody_and_ends_when_the_last_has_gone() -> None:
    async def test() -> None:
        hall = admission(places=2)
        inside, waiting = [Guest(hall), Guest(hall)], Guest(hall)
        await settle()
        draining = asyncio.create_task(hall.drain())
        await settle()
        assert waiting.error == "draining"
        for guest in inside:
            assert guest.place
            assert await guest.place.watch() == {"type": "duplex.ending", "seconds": 19, "why": "shutdown"}
        late = Guest(hall)
        await settle()
        assert late.error == "draining"
        await asyncio.sleep(5.0)
        for guest in inside:
            guest.go.set()
        await draining
        assert clock() == 5.0 and hall.taken == 0

    run(test)


def test_drain_waits_no_longer_than_it_may_and_sessions_are_told_their_end_before() -> None:
    async def test() -> None:
        hall = admission(drain_seconds=20.0)
        guest = Guest(hall)
        await settle()
        draining = asyncio.create_task(hall.drain())
        await settle()
        assert guest.place
        await guest.place.watch()
        assert await guest.place.watch() == {"type": "duplex.ended", "why": "shutdown"}
        assert clock() == 19.0
        await draining  # it does not go
        assert clock() == 20.0 and hall.taken == 1
        guest.go.set()
        await guest.task

    run(test)


def test_a_place_that_is_left_in_the_moment_of_the_shutdown_is_given_to_nobody() -> None:
    async def test() -> None:
        hall = admission()
        inside, waiting = Guest(hall), Guest(hall)
        await settle()
        draining = asyncio.create_task(hall.drain())
        inside.task.cancel()  # it goes before whoever waits has heard of the shutdown
        await draining
        assert (waiting.went_in, waiting.error) == (None, "draining")
        assert (hall.taken, hall.waiting) == (0, 0)

    run(test)


def test_drain_of_an_empty_hall_takes_no_time() -> None:
    async def test() -> None:
        hall = admission()
        await hall.drain()
        assert clock() == 0.0

    run(test)


# — the estimate —


def test_nothing_is_estimated_before_sessions_have_ended_unless_their_time_is_limited() -> None:
    async def test(**limits: Any) -> list[Any]:
        hall = admission(**limits)
        inside, waiting = Guest(hall, stays=70.0), Guest(hall, stays=0.0)
        await asyncio.gather(inside.task, waiting.task)
        return [estimate for _, _, estimate in waiting.queue]

    assert run(test) == [None] * 5
    assert run(lambda: test(session_seconds=100.0)) == [100, 85, 70, 55, 40]


def test_estimates_are_near_what_people_wait() -> None:
    """A day at a busy hall: what each was told first, against what they waited."""

    async def test() -> list[tuple[int, float]]:
        hall, dice = admission(places=8), random.Random(1)
        guests: list[tuple[float, Guest]] = []
        for _ in range(600):
            await asyncio.sleep(dice.expovariate(1 / 12))
            guests.append((clock(), Guest(hall, stays=min(600.0, dice.expovariate(1 / 100)))))
        await asyncio.gather(*(g.task for _, g in guests))
        told = [(g.queue[0][2], (g.went_in or 0) - came) for came, g in guests if g.queue]
        return [(estimate, waited) for estimate, waited in told if estimate is not None]

    told = run(test)
    assert len(told) > 300
    mean_told = sum(e for e, _ in told) / len(told)
    mean_waited = sum(w for _, w in told) / len(told)
    assert 0.75 < mean_told / mean_waited < 1.25


def test_many_who_come_and_go_leave_nothing_behind() -> None:
    async def test() -> int:
        hall, dice = admission(places=5, waiting=10, per_person=3), random.Random(7)
        most, guests = 0, []
        for n in range(2000):
            await asyncio.sleep(dice.expovariate(1.0))
            guest = Guest(hall, f"p{dice.randrange(30)}", stays=dice.expovariate(1 / 6))
            guests.append(guest)
            if dice.random() < 0.3:
                asyncio.get_running_loop().call_later(dice.expovariate(1 / 3), guest.task.cancel)
            most = max(most, hall.taken)
            assert hall.taken <= 5 and hall.waiting <= 10, n
            assert not hall.waiting or hall.taken == 5, "a place is free while somebody waits"
        await asyncio.gather(*(g.task for g in guests), return_exceptions=True)
        assert (hall.taken, hall.waiting, dict(hall._of_person)) == (0, 0, {})
        went_in = [g.went_in for g in guests if g.went_in is not None]
        assert went_in == sorted(went_in), "first come, first served"
        assert {g.error for g in guests} == {None, "full", "too_many"}
        return most

    assert run(test) == 5


@pytest.mark.parametrize(
    "values",
    [
        {"places": 0},
        {"waiting": -1},
        {"per_person": 0},
        {"session_seconds": 0.0},
        {"idle_seconds": -1.0},
        {"warn_seconds": float("nan")},
        {"drain_seconds": float("inf")},
    ],
)
def test_limits_that_make_no_sense_are_told_by_name(values: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match=next(iter(values))):
        Limits(**values)
