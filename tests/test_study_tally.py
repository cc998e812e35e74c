import threading

from duplex_runtime.clock import SimulatedClock
from duplex_runtime.events import (
    Cut,
    Deaf,
    Delta,
    Edit,
    Enter,
    Event,
    Heard,
    Input,
    Pace,
    Slice,
    SpeechEnd,
    SpeechStart,
    UserText,
)
from webapp.study.tally import ACTIVE_SECONDS, Figures, Tally


class Held:
    """A talk on a clock that moves by hand."""

    def __init__(self) -> None:
        self.clock = SimulatedClock()
        self.tally = Tally(self.clock)

    def does(self, at: float, *inputs: Input) -> None:
        self.clock.move_to(at)
        for each in inputs:
            self.tally.heard(each, at)

    def types(self, begin: float, text: str, pace: float = 0.2) -> None:
        for n, key in enumerate(text):
            self.does(begin + n * pace, UserText(key))

    def says(self, at: float, seconds: float, response: str = "r") -> None:
        """All pieces come at once, to be shown one after the other."""
        self.clock.move_to(at)
        pieces: list[Event] = [Delta("duplex", response, 0, " word", at + n * 0.25) for n in range(int(seconds * 4))]
        self.tally.happened(pieces)

    def by(self, at: float) -> Figures:
        self.clock.move_to(at)
        return self.tally.figures()


def test_nothing_done_is_nothing_counted() -> None:
    held = Held()
    held.does(3.0, Pace(1), Heard("r", 5))
    held.tally.happened([Slice("duplex", 0, 0.0, 2.0, "", True, 0.9), Deaf("turns", 1.0, "x")])
    assert held.by(600.0) == Figures(0.0, 0, 0)


def test_who_types_is_there_and_for_a_while_after() -> None:
    held = Held()
    held.types(10.0, "hello there")
    assert held.by(12.0) == Figures(2.0, 1, 0)
    assert held.by(20.0).seconds == 10.0
    assert held.by(500.0).seconds == 2.0 + ACTIVE_SECONDS


def test_seconds_are_counted_once_however_often_one_asks() -> None:
    held = Held()
    held.types(0.0, "a")
    for at in (1.0, 1.0, 2.5, 2.5):
        assert held.by(at).seconds == at


def test_while_the_partner_speaks_one_may_read() -> None:
    held = Held()
    held.types(0.0, "tell me a story")
    held.says(4.0, 60.0)
    assert held.by(50.0).seconds == 50.0
    assert held.by(500.0).seconds == 4.0 + 60.0 - 0.25 + 1.0  # the last piece and what it takes to read it


def test_what_was_cut_was_not_read() -> None:
    held = Held()
    held.types(0.0, "count")
    held.says(2.0, 60.0)
    held.clock.move_to(20.0)
    held.tally.happened([Cut("duplex", "r", 0, 20.0, "…")])
    assert held.by(500.0).seconds == 20.0


def test_a_window_left_alone_counts_only_to_its_last_key() -> None:
    held = Held()
    held.types(0.0, "hi")
    held.types(1000.0, "hi again")
    assert held.by(1001.4).seconds == round(0.2 + ACTIVE_SECONDS + 1.4, 3)


def test_one_sentence_is_one_turn_with_pauses_for_thought() -> None:
    held = Held()
    held.types(0.0, "what is ")
    held.types(5.0, "seven plus ")
    held.types(11.0, "five?")
    assert held.by(12.0).turns == 1


def test_after_enter_begins_a_turn() -> None:
    held = Held()
    held.types(0.0, "hello")
    held.does(1.0, Enter())
    held.types(1.2, "and another thing")
    assert held.by(10.0).turns == 2


def test_a_long_silence_ends_a_turn_even_if_nobody_answers() -> None:
    """A partner that says nothing keeps nobody from going on."""
    held = Held()
    for n in range(4):
        held.types(n * 8.0, "hello?")
    assert held.by(30.0).turns == 4


def test_an_answer_ends_a_turn() -> None:
    held = Held()
    held.types(0.0, "hello.")
    held.says(1.5, 1.0)
    held.types(4.5, "fine.")
    assert held.by(10.0) == Figures(10.0, 2, 0)


def test_who_types_while_the_partner_speaks_breaks_in_once() -> None:
    held = Held()
    held.types(0.0, "count.")
    held.says(1.5, 30.0)
    held.types(6.0, "stop please now")
    assert held.by(10.0) == Figures(10.0, 2, 1)
    held.types(12.0, "really")
    assert held.by(20.0) == Figures(20.0, 3, 2)


def test_who_goes_on_typing_when_the_partner_begins_does_not_break_in() -> None:
    held = Held()
    held.types(0.0, "hello. and then")
    held.says(1.0, 10.0)
    held.types(3.2, " I went")
    assert held.by(5.0) == Figures(5.0, 1, 0)


def test_a_nod_while_the_partner_speaks_counts_like_any_words() -> None:
    held = Held()
    held.types(0.0, "go on.")
    held.says(1.5, 10.0)
    held.types(4.0, "uh-huh")
    assert held.by(5.0).interruptions == 1


def test_after_a_cut_the_partner_is_silent() -> None:
    held = Held()
    held.types(0.0, "count.")
    held.says(1.5, 30.0)
    held.types(6.0, "stop")
    held.tally.happened([Cut("duplex", "r", 0, 6.6, "…")])
    held.types(12.0, "thanks")
    assert held.by(15.0) == Figures(15.0, 3, 1)


def test_keys_that_say_nothing_are_no_turn() -> None:
    held = Held()
    held.does(0.0, UserText(" "), UserText("…"), Enter(), Edit(1), SpeechStart(), SpeechEnd(0.0))
    assert held.by(1.0) == Figures(1.0, 0, 0)


def test_words_in_another_script_are_words() -> None:
    held = Held()
    held.does(0.0, UserText("你好"))
    assert held.by(1.0).turns == 1


def test_spoken_words_began_when_the_sound_did() -> None:
    """They come when they are certain; by then the partner may have stopped."""
    held = Held()
    held.types(0.0, "count.")
    held.says(1.5, 3.0)
    held.does(3.0, SpeechStart())
    held.does(7.0, UserText("stop now ", spoken=True))
    held.does(7.2, SpeechEnd(6.0), UserText("please ", spoken=True))
    assert held.by(8.0) == Figures(8.0, 2, 1)


def test_two_threads_may_use_it() -> None:
    clock = SimulatedClock()
    tally = Tally(clock)

    def tell() -> None:
        for n in range(300):
            tally.heard(UserText("a"), n * 0.1)
            tally.happened([Delta("duplex", "r", 0, "x", n * 0.1)])

    clock.move_to(30.0)
    threads = [threading.Thread(target=tell), threading.Thread(target=lambda: [tally.figures() for _ in range(300)])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert tally.figures().seconds <= 30.0


def test_what_was_said_long_ago_is_forgotten() -> None:
    held = Held()
    for n in range(100):
        held.types(n * 10.0, "next.")
        held.says(n * 10.0 + 2.0, 3.0, f"r{n}")
    assert len(held.tally._spoken) <= 2
    assert held.by(1000.0).turns == 100
