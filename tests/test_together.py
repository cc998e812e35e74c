from collections.abc import Sequence

import pytest
from fakes import Words, answering, keys
from web_fakes import tiny_loaded

from duplex_runtime.engine.requests import Sampling
from duplex_runtime.evaluation import together
from duplex_runtime.evaluation.script import play
from duplex_runtime.evaluation.scripts import Watch
from duplex_runtime.evaluation.together import play_together
from duplex_runtime.events import Enter
from duplex_runtime.slices import Slicing

pytestmark = pytest.mark.usefixtures("one_thread")


class Small:
    """A `LoadedModel` as far as playing needs one, with scripted answers."""

    def __init__(self) -> None:
        self.words = Words()

    def engine(self, slots: int) -> object:
        from fakes import FakeEngine

        return FakeEngine(answering({"tell me": "one two three four", "hello": "hi you"}, self.words), slots)

    def conversation(self, system: str, slicing: Slicing) -> object:
        from duplex_runtime.duplex import DuplexConversation
        from duplex_runtime.layout import EMBEDDED

        return DuplexConversation(EMBEDDED, self.words, slicing)


def seen(watches: Sequence[Watch]) -> list[str]:
    return ["".join(d.delta for d in w.deltas) for w in watches]


def test_each_script_gets_its_own_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(together, "TOGETHER", 3)
    scripts = [keys("hello. " if i % 2 else "tell me. ", at=0.1 * i) for i in range(10)]
    watches = play_together(Small(), "duplex", scripts, Slicing(), Sampling())  # type: ignore[arg-type]
    assert seen(watches) == ["hi you" if i % 2 else "one two three four" for i in range(10)]
    begins = [next(iter(w.begun.values())) for w in watches]
    assert begins == sorted(begins)  # each on its own clock


def test_patience_ends_a_script_that_would_not_end() -> None:
    watches = play_together(Small(), "duplex", [keys("tell me. ")], Slicing(), Sampling(), patience=1.0)  # type: ignore[arg-type]
    assert len(watches[0].deltas) < 5 and play_together(Small(), "duplex", [], Slicing(), Sampling()) == []  # type: ignore[arg-type]


def test_together_is_the_same_as_one_after_the_other() -> None:
    model = tiny_loaded()
    scripts = [[*keys(f"tell me about number {i}?"), (3.0 + i / 10, Enter())] for i in range(5)]
    watches = play_together(model, "duplex", scripts, Slicing(), Sampling(temperature=0.0), patience=8.0)
    for script, watch in zip(scripts, watches, strict=True):
        lines = play(model, "duplex", script, Slicing(), Sampling(temperature=0.0), patience=8.0)
        slices = [(line["user"], line["idle"]) for line in lines if line["type"] == "slice"]
        assert [(s.user, s.idle) for s in watch.slices] == slices
