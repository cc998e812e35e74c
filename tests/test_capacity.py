"""How many conversations are in time: the queueing law against a simulation, and measuring with real networks."""

import heapq
import random
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from duplex_runtime.engine.engine import SlotEngine
from duplex_runtime.engine.requests import Sampling, SliceRequest
from duplex_runtime.errors import DuplexError
from duplex_runtime.layout import EMBEDDED
from tests.fakes import FakeEngine, Words
from tests.web_fakes import tiny_loaded
from webapp import capacity
from webapp.capacity import LIMIT, MARGIN, Capacity, measure, served, slowest

PERIOD = 2.0
#: Seconds of the embedded model on two cores.
LISTENING = {1: 0.007, 4: 0.014, 16: 0.043, 64: 0.18}
SPEAKING = {1: 0.04, 4: 0.072, 16: 0.196, 64: 0.66}


def line(times: Mapping[int, float], rows: int) -> float:
    """The straight line through the last two."""
    (n, first), (m, second) = sorted(times.items())[-2:]
    return first + (second - first) * (rows - n) / (m - n)


# — the law —


@pytest.mark.parametrize("conversations", [20, 100, 200])
def test_the_law_is_that_of_a_simulated_machine(conversations: int) -> None:
    """All in work share the machine; each slice is shown for a period from its first word, then the next is due."""
    listening, speaking = {1: 0.01, 64: 0.18}, {1: 0.04, 64: 0.66}
    dice, now = random.Random(conversations), 0.0
    free = [dice.uniform(0, PERIOD) for _ in range(conversations)]  # when each is due
    heapq.heapify(free)
    work: list[list[float]] = []  # [share of it done, begun]
    took: list[float] = []
    while len(took) < 20_000:
        together = line(speaking, len(work)) if work else 1.0
        over = now + (1 - max(w[0] for w in work)) * together if work else float("inf")
        until = min(over, free[0] if free else float("inf"))
        for each in work:
            each[0] += (until - now) / together
        now = until
        if until < over:
            heapq.heappop(free)
            work.append([0.0, now])
        else:
            done = max(work)
            work.remove(done)
            took.append(now - done[1])
            # by chance, as pauses of people are; the mean is that of the law
            wait = PERIOD - line(speaking, len(work) + 1) + line(listening, len(work) + 1)
            heapq.heappush(free, now + dice.expovariate(1 / wait))
    simulated = sorted(took[2000:])[int(0.99 * (len(took) - 2000))]
    assert slowest(listening, speaking, PERIOD, conversations) == pytest.approx(simulated, rel=0.2)


def test_one_conversation_takes_what_one_slice_takes() -> None:
    assert slowest(LISTENING, SPEAKING, PERIOD, 1) == SPEAKING[1]


def test_the_more_talk_the_later_their_slices() -> None:
    seconds = [slowest(LISTENING, SPEAKING, PERIOD, n) for n in range(1, 300, 7)]
    assert seconds == sorted(seconds) and seconds[-1] > 10 * seconds[0]


def test_served_is_the_last_number_that_is_in_time() -> None:
    found = served(LISTENING, SPEAKING, PERIOD)
    assert (
        slowest(LISTENING, SPEAKING, PERIOD, found) <= LIMIT * PERIOD < slowest(LISTENING, SPEAKING, PERIOD, found + 1)
    )
    assert 100 < found < 400


def test_half_the_speed_serves_about_half_as_many() -> None:
    slow = {rows: 2 * seconds for rows, seconds in SPEAKING.items()}
    assert 0.35 < served(LISTENING, slow, PERIOD) / served(LISTENING, SPEAKING, PERIOD) < 0.6


def test_a_machine_too_slow_for_one_serves_nobody_in_time() -> None:
    assert served({1: 0.5}, {1: 3.0}, PERIOD) == 0


def test_from_one_time_alone_nothing_is_hoped_of_togetherness() -> None:
    assert 1 <= served({1: 0.1}, {1: 0.5}, PERIOD) <= 4


def test_a_machine_that_nothing_slows_serves_as_many_as_are_asked_for() -> None:
    assert served({1: 0.001, 64: 0.001}, {1: 0.001, 64: 0.001}, PERIOD, most=500) == 500


# — measuring —


def tiny(slots: int = 64) -> tuple[dict[str, Any], dict[str, SlotEngine]]:
    models = {system: tiny_loaded() for system in ("duplex", "turns")}
    return models, {system: model.engine(slots) for system, model in models.items()}


def test_real_networks_are_timed_in_waves_and_given_back_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    models, engines = tiny()
    starts: list[int] = []
    forward = engines["duplex"].network.forward

    def seen(parts: Any) -> Any:
        starts.extend(part.start for part in parts)
        return forward(parts)

    monkeypatch.setattr(engines["duplex"].network, "forward", seen)
    monkeypatch.setattr(capacity, "_REPEAT_SECONDS", 0.0)
    monkeypatch.setattr(capacity, "ROWS", (1, 4, 16))
    found = measure(models, engines)
    assert list(found.speaking) == list(found.listening) == [1, 4, 16]
    assert all(0 < found.listening[n] < found.speaking[n] for n in found.speaking)
    assert found.speaking[16] > found.speaking[1]
    assert min(starts) == models["duplex"].memory.limit // 2, "behind a history"
    assert (found.slots, found.in_time) == (64, True)
    assert 1 <= found.places <= 64
    for engine in engines.values():
        assert not engine.busy
        assert [engine.open(Sampling()) for _ in range(64)] == list(range(64)), "every slot is free again"


def test_a_conversation_after_it_says_what_it_says_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capacity, "_REPEAT_SECONDS", 0.0)

    def said(engine: SlotEngine) -> list[int | None]:
        slot, found = engine.open(Sampling(idle_threshold=2.0)), []
        engine.submit(slot, SliceRequest(0, (1, 40, 41, 42), 10))
        while engine.busy:
            found += [output.token for output in engine.step()]
        return found

    models, engines = tiny(slots=4)
    measure(models, engines)
    assert said(engines["duplex"]) == said(tiny(slots=4)[1]["duplex"])


def test_there_are_never_more_places_than_slots_nor_waves_of_more_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capacity, "_REPEAT_SECONDS", 0.0)
    found = measure(*tiny(slots=5))
    assert list(found.speaking) == [1, 4]
    assert found.places <= 5 == found.slots


def test_the_slower_system_counts_and_a_wave_that_would_take_long_is_not_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that each pass of one system moves on."""
    models, engines = tiny()
    now = [0.0]
    forward = engines["turns"].network.forward

    def slow(parts: Any) -> Any:
        now[0] += 0.005 * len(parts)  # ten tokens: 0.05 s for each slice in the wave
        return forward(parts)

    monkeypatch.setattr(engines["turns"].network, "forward", slow)
    monkeypatch.setattr(capacity, "_clock", lambda: now[0])
    found = measure(models, engines)
    assert list(found.speaking) == [1, 4, 16], "sixty-four would take 3.2 s, twice"
    assert found.speaking[16] == pytest.approx(0.8)
    assert found.places == max(1, int(MARGIN * served(found.listening, found.speaking, PERIOD)))
    assert 5 < found.places < 20


def test_a_machine_that_is_too_slow_serves_one_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    models, engines = tiny()
    now = [0.0]
    forward = engines["duplex"].network.forward

    def slow(parts: Any) -> Any:
        now[0] += 0.3
        return forward(parts)

    monkeypatch.setattr(engines["duplex"].network, "forward", slow)
    monkeypatch.setattr(capacity, "_clock", lambda: now[0])
    found = measure(models, engines)
    assert (found.places, found.in_time, list(found.speaking)) == (1, False, [1])
    assert "too slow" in str(found)


def test_engines_of_other_kinds_are_timed_as_they_are() -> None:
    model: Any = SimpleNamespace(layout=EMBEDDED, vocabulary=Words(), where="http://127.0.0.1:1")
    engines = {system: FakeEngine(slots=8) for system in ("duplex", "turns")}
    found = measure(dict.fromkeys(engines, model), engines)
    assert found.slots == 8 and 1 <= found.places <= 8


def test_a_slot_that_is_taken_is_told_and_nobody_waits_for_ever() -> None:
    model: Any = SimpleNamespace(layout=EMBEDDED, vocabulary=Words(), where="http://127.0.0.1:1")
    engines = {system: FakeEngine(slots=4) for system in ("duplex", "turns")}
    engines["turns"].open(Sampling())
    with pytest.raises(DuplexError, match="taken"):
        measure(dict.fromkeys(engines, model), engines)
    assert not engines["duplex"]._rows, "the others are free"


def test_a_pass_that_fails_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    models, engines = tiny(slots=4)

    def broken(parts: Any) -> Any:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(engines["turns"].network, "forward", broken)
    with pytest.raises(DuplexError, match="out of memory"):
        measure(models, engines)


def test_what_was_found_is_one_readable_line() -> None:
    text = str(Capacity(64, 64, True, LISTENING, SPEAKING, PERIOD))
    assert text.startswith("64 conversations at once") and "64: 0.66 s" in text and "\n" not in text
