import json
import random

import pytest

from webapp.outbox import Outbox


def filled(many: int, **limits: int) -> Outbox:
    outbox = Outbox(**limits)
    for i in range(many):
        assert outbox.add({"type": "t", "i": i}) == i + 1
    return outbox


def test_events_are_numbered_from_one_in_their_order() -> None:
    outbox = filled(3)
    events = [json.loads(outbox.text(number) or "") for number in (1, 2, 3)]
    assert events == [{"type": "t", "i": i, "event_id": f"event_{i + 1}"} for i in range(3)]
    assert (outbox.first, outbox.last) == (1, 3)


def test_what_is_not_there_has_no_text() -> None:
    outbox = filled(2)
    assert outbox.text(0) is None
    assert outbox.text(3) is None
    assert Outbox().text(1) is None


def test_an_event_may_say_anything() -> None:
    outbox = Outbox()
    outbox.add({"type": "t", "text": "😀 été\u2028\ud800"})
    assert json.loads(outbox.text(1) or "")["text"] == "😀 été\u2028\ud800"


def test_what_the_client_has_is_forgotten_and_the_numbers_go_on() -> None:
    outbox = filled(5)
    outbox.forget(3)
    assert (outbox.first, outbox.last, outbox.text(3)) == (4, 5, None)
    assert json.loads(outbox.text(4) or "")["i"] == 3
    outbox.forget(2)  # an old acknowledgement changes nothing
    assert outbox.first == 4
    outbox.forget(99)
    assert (outbox.first, outbox.last) == (6, 5)
    assert outbox.add({"type": "t"}) == 6


@pytest.mark.parametrize(("after", "held"), [(-1, False), (0, False), (1, False), (2, True), (4, True), (5, False)])
def test_a_client_may_come_back_if_all_after_its_last_event_is_kept(after: int, held: bool) -> None:
    outbox = filled(4)
    outbox.forget(2)
    assert outbox.holds(after) == held


def test_before_the_first_event_there_is_nothing_to_miss() -> None:
    assert Outbox().holds(0)
    assert not Outbox().holds(1)


def test_of_too_many_events_the_oldest_are_lost() -> None:
    outbox = filled(10, max_events=4)
    assert (outbox.first, outbox.last) == (7, 10)
    assert outbox.holds(6) and not outbox.holds(5)


def test_of_too_many_bytes_the_oldest_are_lost() -> None:
    outbox = Outbox(max_bytes=1000)
    for _ in range(20):
        outbox.add({"type": "t", "delta": "é" * 100})  # 200 bytes and what is around them
        assert outbox.waiting(0)[1] <= 1000
    assert outbox.waiting(0)[0] == 4
    outbox.add({"type": "t", "delta": "x" * 2000})
    assert outbox.waiting(0) == (0, 0)
    assert outbox.last == 21


def test_what_waits_is_counted_like_one_by_one() -> None:
    rng, outbox, sizes = random.Random(1), Outbox(max_events=50, max_bytes=5000), {}
    for _ in range(500):
        number = outbox.add({"type": "t", "delta": "ü" * rng.randrange(100)})
        sizes[number] = len((outbox.text(number) or "").encode())
        if rng.random() < 0.2:
            outbox.forget(outbox.first + rng.randrange(3))
        after = rng.randrange(outbox.last + 3)
        kept = [n for n in range(max(after + 1, outbox.first), outbox.last + 1)]
        assert outbox.waiting(after) == (len(kept), sum(sizes[n] for n in kept))
