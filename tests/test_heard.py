"""Two clocks, and what a recording holds."""

import numpy as np
import pytest

from duplex_runtime.errors import DuplexError
from webapp.heard import Clocks, Heard, Told


def test_the_clock_of_sound_goes_in_steps_and_is_read_late() -> None:
    # sound time 0 was page time 100 s; sound moves on every 10 ms, the page reads it a little later
    pairs = [(step / 100, 1000 * (100 + step / 100 + 0.001 * (step % 7))) for step in range(1, 1000)]
    clocks = Clocks(pairs)
    for page in (100.5, 105.0, 109.9):
        assert clocks.sound(page) == pytest.approx(page - 100, abs=1e-6)


def test_the_clock_of_sound_may_drift_or_stand_still() -> None:
    # in the middle nothing was played for half a second
    pairs = [(at - (0.5 if at > 10 else 0), 1000 * at) for at in np.arange(0, 20, 0.02)]
    clocks = Clocks(pairs)
    assert clocks.sound(5.0) == pytest.approx(5.0)
    assert clocks.sound(15.0) == pytest.approx(14.5)


def test_what_was_told_before_there_was_sound_is_placed_by_the_first_pair() -> None:
    assert Clocks([(0.0, 100_000.0), (0.1, 100_100.0)]).sound(90.0) == pytest.approx(-10.0)
    with pytest.raises(DuplexError, match="no clock"):
        Clocks([])


def test_events_are_found_by_type_time_and_value() -> None:
    events = [Told(at, {"type": "a" if at % 2 else "b", "system": "duplex", "n": at}) for at in range(6)]
    none = np.zeros(0, np.float32)
    heard = Heard(48_000, none, none, none, tuple(events), (), ())
    assert [t.at for t in heard.of("a")] == [1, 3, 5]
    assert [t.at for t in heard.of("a", 1.5, 5)] == [3]
    assert [t.at for t in heard.of("b", n=4, system="duplex")] == [4]
    assert heard.of("a", system="turns") == []
    assert Told(0, {"samples": 3}).type == ""
