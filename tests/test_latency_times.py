"""When a conversation was called, from inside the server."""

from fakes import FakeEngine, Talk, Words, answering

from duplex_runtime.clock import SimulatedClock
from duplex_runtime.duplex import DuplexConversation
from duplex_runtime.events import Slice, UserText
from duplex_runtime.layout import EMBEDDED
from duplex_runtime.loop import Loop
from webapp.latency.times import Watched


class Model:
    """As much of a loaded model as is asked for."""

    name = "fake"

    def conversation(self, system: str) -> DuplexConversation:
        assert system == "duplex"
        return DuplexConversation(EMBEDDED, Words())


def test_each_stage_of_a_slice_follows_the_one_before() -> None:
    watched = Watched(Model())  # type: ignore[arg-type]
    conversation = watched.conversation("duplex")
    engine = FakeEngine(answering({"hello": "hi you"}, conversation.vocabulary))
    talk = Talk(conversation, engine, SimulatedClock(), Loop(engine))
    talk.play([(0.0, UserText("hel")), (0.1, UserText("lo. "))])
    (times,) = watched.times
    assert len(times.heard) == 2
    assert [each.tokens for each in times.slices] == [2]
    for each in times.slices:
        assert each.due <= each.closed <= each.laid <= each.decided <= each.done
    told = [event.index for event in talk.of(Slice)]
    assert [each.index for each in times.slices] == list(times.told) == told


def test_all_else_is_the_models() -> None:
    watched = Watched(Model())  # type: ignore[arg-type]
    assert watched.name == "fake"
    assert watched.conversation("duplex").quiet
