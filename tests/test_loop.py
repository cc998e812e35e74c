from collections.abc import Sequence

import pytest
from fakes import FakeEngine, Talk, Words, answering, silent

from duplex_runtime.baseline import TurnConversation
from duplex_runtime.clock import SimulatedClock
from duplex_runtime.duplex import MAX_TYPED, DuplexConversation
from duplex_runtime.engine.requests import Output, Sampling, SliceRequest
from duplex_runtime.errors import BadInput, DuplexError
from duplex_runtime.events import Delta, Enter, Event, Input, Paced, ResponseCreated, UserText
from duplex_runtime.layout import EMBEDDED
from duplex_runtime.loop import Loop, Observer, Session
from duplex_runtime.slices import Slicing

WORDS = Words()


def hello_loop(count: int, **options: object) -> tuple[Loop, SimulatedClock, list[Talk]]:
    """`count` conversations over one engine and clock."""
    words = WORDS
    engine = FakeEngine(answering({"hello": "hi you"}, words), **options)  # type: ignore[arg-type]
    loop, clock = Loop(engine), SimulatedClock()
    talks = [Talk(DuplexConversation(EMBEDDED, words), engine, clock, loop) for _ in range(count)]
    return loop, clock, talks


def spin(loop: Loop) -> None:
    while loop.turn():
        pass


def test_many_conversations_share_one_engine_step() -> None:
    loop, clock, talks = hello_loop(5)
    for talk in talks:
        talk.hear(UserText("hello."))
    clock.move_to(0.3)
    spin(loop)
    assert [t.shown for t in talks] == ["hi you"] * 5
    assert loop.engine.steps == 3  # two words and the end, for all together


def test_both_systems_run_side_by_side() -> None:
    words = Words()
    engine = FakeEngine(answering({"hello": "hi you"}, words))
    loop, clock = Loop(engine), SimulatedClock()
    talks = [Talk(kind(EMBEDDED, words), engine, clock, loop) for kind in (DuplexConversation, TurnConversation)]
    for talk in talks:
        talk.hear(UserText("hello.")).hear(Enter())
    spin(loop)
    assert [t.shown for t in talks] == ["hi you", "hi you"]


class Breaks(DuplexConversation):
    def apply(self, output: Output, at: float) -> None:
        raise RuntimeError("out of luck")


class BreaksWhenDue(DuplexConversation):
    def due(self, now: float) -> SliceRequest | None:
        raise BadInput("not this one")


@pytest.mark.parametrize("kind", [Breaks, BreaksWhenDue])
def test_a_conversation_that_raises_does_not_end_the_others(kind: type[DuplexConversation]) -> None:
    loop, clock, (good,) = hello_loop(1)
    failures: list[DuplexError] = []
    bad = loop.add(kind(EMBEDDED, WORDS), clock, Sampling(), failed=failures.append)
    good.hear(UserText("hello."))
    loop.hear(bad, UserText("hello."), 0.0)
    clock.move_to(0.3)
    spin(loop)
    assert good.shown == "hi you"
    assert len(failures) == 1
    assert not loop.engine.busy


def test_the_error_of_a_conversation_says_what_broke() -> None:
    loop, clock, _ = hello_loop(0)
    failures: list[DuplexError] = []
    bad = loop.add(Breaks(EMBEDDED, WORDS), clock, Sampling(), failed=failures.append)
    loop.hear(bad, UserText("hello."), 0.0)
    clock.move_to(0.3)
    spin(loop)
    assert failures[0].code == "conversation_failed"
    assert "out of luck" in str(failures[0])
    assert isinstance(failures[0].__cause__, RuntimeError)


def test_a_conversation_that_broke_gives_its_place_back() -> None:
    loop, clock, _ = hello_loop(0, slots=1)
    bad = loop.add(Breaks(EMBEDDED, WORDS), clock, Sampling(), failed=lambda error: None)
    loop.hear(bad, UserText("hello."), 0.0)
    clock.move_to(0.3)
    spin(loop)
    loop.add(DuplexConversation(EMBEDDED, WORDS), clock, Sampling())


def test_a_failure_may_remove_other_conversations_at_once() -> None:
    loop, clock, _ = hello_loop(0)
    sessions: list[Session] = []

    def close_all(error: DuplexError) -> None:
        for session in sessions:
            loop.remove(session)

    sessions += [loop.add(Breaks(EMBEDDED, WORDS), clock, Sampling(), failed=close_all) for _ in range(2)]
    for session in sessions:
        loop.hear(session, UserText("hello."), 0.0)
    clock.move_to(0.3)
    spin(loop)
    assert loop.quiet


def test_a_full_engine_refuses_and_has_room_when_somebody_left() -> None:
    loop, clock, talks = hello_loop(2, slots=2)
    with pytest.raises(DuplexError) as caught:
        loop.add(DuplexConversation(EMBEDDED, WORDS), clock, Sampling())
    assert caught.value.code == "full"
    loop.remove(talks[0].session)
    loop.add(DuplexConversation(EMBEDDED, WORDS), clock, Sampling())


def test_removing_twice_is_harmless() -> None:
    loop, _, (talk,) = hello_loop(1)
    loop.remove(talk.session)
    loop.remove(talk.session)
    assert loop.quiet


def test_somebody_may_leave_in_the_middle_of_an_answer() -> None:
    loop, clock, talks = hello_loop(2)
    for talk in talks:
        talk.hear(UserText("hello."))
    clock.move_to(0.3)
    loop.turn()
    loop.remove(talks[0].session)
    spin(loop)
    assert talks[0].shown == "hi"
    assert talks[1].shown == "hi you"


def test_it_waits_until_the_next_conversation_is_due() -> None:
    loop, clock, (first, second) = hello_loop(2)
    assert loop.wait_seconds() is None
    first.hear(UserText("hello."))
    assert loop.wait_seconds() == pytest.approx(0.3)
    clock.move_to(0.2)
    second.hear(UserText("hello."))
    assert loop.wait_seconds() == pytest.approx(0.1)
    clock.move_to(5.0)
    assert loop.wait_seconds() == 0.0


def test_it_does_not_wait_while_the_engine_works() -> None:
    loop, clock, (talk,) = hello_loop(1)
    talk.hear(UserText("hello."))
    clock.move_to(0.3)
    assert loop.turn()
    assert loop.wait_seconds() == 0.0


def test_when_it_wakes_as_late_as_it_said_something_is_done() -> None:
    loop, clock, (talk,) = hello_loop(1)
    clock.move_to(0.1 + 0.2)  # a number that is not exact
    talk.hear(UserText("hello."))
    clock.move_to(clock.now() + (loop.wait_seconds() or 0.0))
    assert loop.turn() or (loop.wait_seconds() or 0.0) > 0.0


def test_each_conversation_has_its_own_clock() -> None:
    loop, _, _ = hello_loop(0)
    late, early = SimulatedClock(), SimulatedClock()
    late.move_to(100.0)
    talks = [Talk(DuplexConversation(EMBEDDED, WORDS), loop.engine, c, loop) for c in (late, early)]
    talks[0].hear(UserText("hello."))
    late.move_to(100.3)
    spin(loop)
    assert [at for at, _ in talks[0].requests] == [100.3]
    assert talks[1].requests == []


class Diary:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def heard(self, event: Input, at: float) -> None:
        self.lines.append("heard")

    def asked(self, now: float, request: SliceRequest | None) -> None:
        self.lines.append("asked" if request else "nothing to ask")

    def answered(self, output: Output, at: float) -> None:
        self.lines.append("answered")

    def happened(self, events: Sequence[Event]) -> None:
        self.lines += [type(e).__name__ for e in events if isinstance(e, Delta | ResponseCreated)]


def test_an_observer_sees_everything_in_order() -> None:
    loop, clock, _ = hello_loop(0)
    diary = Diary()
    observers: list[Observer] = [diary]
    session = loop.add(DuplexConversation(EMBEDDED, WORDS), clock, Sampling(), observers)
    loop.hear(session, UserText("hello."), 0.0)
    clock.move_to(0.3)
    spin(loop)
    clock.move_to(5.0)
    spin(loop)
    assert diary.lines == [
        *("heard", "asked", "answered", "ResponseCreated", "Delta", "answered", "Delta", "answered"),
        "nothing to ask",
    ]


def test_refused_input_is_not_in_the_observers_book() -> None:
    loop, clock, _ = hello_loop(0)
    diary = Diary()
    session = loop.add(DuplexConversation(EMBEDDED, WORDS), clock, Sampling(), [diary])
    with pytest.raises(BadInput):
        loop.hear(session, UserText("x" * (MAX_TYPED + 1)), 0.0)
    assert diary.lines == []


def test_a_script_ends_when_everybody_is_quiet() -> None:
    _, _, (talk,) = hello_loop(1)
    talk.play([(1.0, UserText("hello."))], patience=1000)
    assert talk.clock.now() < 10


def test_a_script_ends_with_its_patience() -> None:
    engine = FakeEngine(silent)
    loop, clock = Loop(engine), SimulatedClock()
    conversation = DuplexConversation(EMBEDDED, Words(), Slicing.parse(2))
    talk = Talk(conversation, engine, clock, loop)
    talk.play([(1.0, UserText("hello and"))], patience=2.0)
    assert clock.now() <= 3.0


class SlowEngine(FakeEngine):
    """Every step takes a second of the clock."""

    clock: SimulatedClock

    def step(self) -> Sequence[Output]:
        self.clock.move_to(self.clock.now() + 1.0)
        return super().step()


def slow_loop(count: int) -> tuple[Loop, SimulatedClock, list[Talk]]:
    engine, clock = SlowEngine(answering({"hello": "hi you"}, WORDS)), SimulatedClock()
    engine.clock = clock
    loop = Loop(engine)
    return loop, clock, [Talk(DuplexConversation(EMBEDDED, WORDS), engine, clock, loop) for _ in range(count)]


def keep_late(loop: Loop, clock: SimulatedClock, talks: list[Talk], level: int) -> None:
    while loop.strain.level < level:
        for talk in talks:
            talk.hear(UserText("hello. "))
        clock.move_to(clock.now() + 5.0)
        spin(loop)


def test_a_loop_that_falls_behind_slows_everybody_down_in_the_stated_order() -> None:
    loop, clock, talks = slow_loop(4)
    keep_late(loop, clock, talks, 1)
    assert [t.conversation.slicing for t in talks] == [Slicing().paced(1)] * 4
    assert [(e.level, e.system) for e in talks[2].of(Paced)] == [(1, "duplex")]
    keep_late(loop, clock, talks, 2)
    assert {t.conversation.slicing.tokens_per_second for t in talks} == {2.5}
    loop.add(DuplexConversation(EMBEDDED, WORDS), clock, Sampling())  # there is still room for others
    keep_late(loop, clock, talks, 3)
    with pytest.raises(DuplexError, match="cannot keep up") as caught:
        loop.add(DuplexConversation(EMBEDDED, WORDS), clock, Sampling())
    assert caught.value.code == "busy"


def test_who_comes_to_a_slow_loop_is_slow_from_the_start() -> None:
    loop, clock, talks = slow_loop(4)
    keep_late(loop, clock, talks, 1)
    late = Talk(DuplexConversation(EMBEDDED, WORDS), loop.engine, clock, loop)
    assert late.conversation.slicing == Slicing().paced(1)
    assert [e.level for e in late.of(Paced)] == [1]


def test_a_loop_that_everybody_left_begins_on_time() -> None:
    loop, clock, talks = slow_loop(4)
    keep_late(loop, clock, talks, 3)
    for talk in talks:
        loop.remove(talk.session)
    assert loop.strain.level == 0
    assert Talk(DuplexConversation(EMBEDDED, WORDS), loop.engine, clock, loop).of(Paced) == []


def test_a_loop_in_time_paces_nobody() -> None:
    loop, clock, talks = hello_loop(3)
    for _ in range(60):
        for talk in talks:
            talk.hear(UserText("hello. "))
        talks[0].until(clock.now() + 5.0)
    assert loop.strain.late == pytest.approx(0.0)
    assert all(t.of(Paced) == [] for t in talks)


LONG = " ".join(f"w{i}" for i in range(9))


def long_talk(kind: type = DuplexConversation) -> tuple[Loop, Talk]:
    """A model that has said three of nine words of its slice."""
    words, clock = Words(), SimulatedClock()
    engine = FakeEngine(answering({"tell me": LONG}, words))
    talk = Talk(kind(EMBEDDED, words), engine, clock, loop := Loop(engine))
    talk.hear(UserText("tell me. ")).hear(Enter())
    for _ in range(3):
        loop.turn()
    return loop, talk


def test_a_barge_in_is_honoured_at_the_next_token() -> None:
    loop, talk = long_talk()
    talk.hear(UserText("stop."))
    steps = loop.engine.steps
    loop.turn()
    assert loop.engine.steps == steps + 1
    assert not talk.conversation.quiet
    assert len(talk.of(Delta)) == 3
    assert not loop.engine.busy
    assert talk.conversation.next_due() is not None  # the words are now in the conversation


def test_white_space_is_no_barge_in() -> None:
    loop, talk = long_talk()
    talk.hear(UserText(" "))
    spin(loop)
    assert len(talk.of(Delta)) == 9


def test_the_one_that_waits_is_not_stopped() -> None:
    loop, talk = long_talk(TurnConversation)
    talk.hear(UserText("stop."))
    spin(loop)
    assert len(talk.of(Delta)) == 9


def test_words_that_come_while_the_append_is_read_stop_it_at_the_first_token() -> None:
    words, clock = Words(), SimulatedClock()
    engine = FakeEngine(answering({"tell me": LONG}, words))
    talk = Talk(DuplexConversation(EMBEDDED, words), engine, clock, loop := Loop(engine))
    talk.hear(UserText("tell me. ")).hear(Enter())
    session = talk.session
    loop._guard(session, loop._submit, session, clock.now())  # in the engine, not read yet
    talk.hear(UserText("stop."))
    spin(loop)
    assert len(talk.of(Delta)) == 1


class Spoils(FakeEngine):
    """Its third slot fails."""

    def step(self) -> Sequence[Output]:
        error = DuplexError("model_failed", "no room")
        return [Output(o.slot, None, True, 0, error=error) if o.slot == 2 else o for o in super().step()]


def test_an_error_of_one_slot_ends_only_its_conversation() -> None:
    failures: list[DuplexError] = []
    engine, clock = Spoils(answering({"hello": "hi you"}, WORDS)), SimulatedClock()
    loop = Loop(engine)
    talks = [Talk(DuplexConversation(EMBEDDED, WORDS), engine, clock, loop) for _ in range(4)]
    talks[2].session.failed = failures.append
    for talk in talks:
        talk.hear(UserText("hello."))
    clock.move_to(0.3)
    spin(loop)
    assert [t.shown for t in talks] == ["hi you", "hi you", "", "hi you"]
    assert [f.code for f in failures] == ["model_failed"]
