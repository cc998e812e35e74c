"""What the kinds of inference servers have in common, and which kind one is."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from duplex_runtime.engine.remote.turn import Ask, Piece
from duplex_runtime.engine.remote.wire import Fault, Unfit, Wire

T = TypeVar("T")


@dataclass(frozen=True)
class Facts:
    """What a server says about itself, None where it does not: `vocabulary` and `context` in tokens, `places`:
    conversations that it keeps apart."""

    vocabulary: int | None = None
    context: int | None = None
    places: int | None = None


@dataclass
class Place:
    """Where one conversation lives on one server: `number` for llama.cpp, `session` and the ids `held` for SGLang."""

    number: int = -1
    session: str | None = None
    held: tuple[int, ...] = ()


class Kind(Protocol):
    """How one kind of server is spoken to. Every failure is a Fault."""

    #: May an answer be broken off? Otherwise it is read to its end, though nobody wants it.
    interruptible: bool

    async def check(self) -> Facts:
        """Ask the server about itself."""

    async def tokenize(self, text: str) -> list[int] | None:
        """Ids of `text` without special tokens around them; None if the server cannot tell."""

    def speak(self, ask: Ask, place: Place) -> AsyncGenerator[Piece, None]:
        """The tokens behind `ask.ids`, as they come."""

    async def leave(self, place: Place) -> None:
        """The conversation is over, or lives elsewhere from now on."""


async def detect(wire: Wire) -> str:
    """`llamacpp`, `sglang` or `openai`, from whom the server's list of models says they belong to."""
    owner = first_model(await wire.get("/v1/models")).get("owned_by")
    return {"llamacpp": "llamacpp", "sglang": "sglang"}.get(str(owner), "openai")


def make_kind(name: str, wire: Wire) -> Kind:
    """The kind called `name`."""
    from duplex_runtime.engine.remote.completions import Completions
    from duplex_runtime.engine.remote.llamacpp import LlamaCpp
    from duplex_runtime.engine.remote.sglang import SGLang

    makers: Mapping[str, Callable[[Wire], Kind]] = {"llamacpp": LlamaCpp, "openai": Completions, "sglang": SGLang}
    return makers[name](wire)


def first_model(listing: Mapping[str, Any]) -> dict[str, Any]:
    """The model that a server serves, from its `/v1/models`."""
    models = listing.get("data")
    if not isinstance(models, list) or not models or not isinstance(models[0], dict):
        raise Unfit("lists no model in /v1/models; expected an inference server with one")
    return models[0]


def get(values: Any, key: str, kind: type[T]) -> T:
    """`values[key]`, which must be of `kind`; raises Fault otherwise."""
    value = values.get(key) if isinstance(values, dict) else None
    wrong_bool = isinstance(value, bool) and kind is not bool
    if not isinstance(value, kind) or wrong_bool:
        raise Fault(f"expected {key} to be of type {kind.__name__} in its answer, got {str(value)[:100]!r}")
    return value


def whole(values: Any, key: str) -> int | None:
    """`values[key]` if it is a whole number over 0, else None."""
    value = values.get(key) if isinstance(values, dict) else None
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def number(value: Any) -> float:
    """`value` as a number; raises Fault if it is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Fault(f"expected a number, got {str(value)[:100]!r}")
    try:
        return float(value)
    except OverflowError:
        raise Fault("expected a number, got one of hundreds of digits") from None


def token_ids(values: Any) -> list[int]:
    """`values` as a list of token ids; raises Fault if it is none."""
    if not isinstance(values, list) or not all(isinstance(v, int) and not isinstance(v, bool) for v in values):
        raise Fault(f"expected a list of token ids, got {str(values)[:100]!r}")
    return values


async def tokenize_as_openai(wire: Wire, model: str, text: str) -> list[int] | None:
    """Ids from `/tokenize` as vLLM and SGLang have it."""
    try:
        answer = await wire.post("/tokenize", {"model": model, "prompt": text, "add_special_tokens": False})
    except Unfit:
        return None
    return token_ids(answer.get("tokens"))


@dataclass
class Numbers:
    """Gives out 0, 1, 2 … below `count` (None: without end), the lowest free one first."""

    count: int | None = None
    taken: set[int] = field(default_factory=set)

    def take(self) -> int:
        """A free number, -1 if there is none."""
        free = 0
        while free in self.taken:
            free += 1
        if self.count is not None and free >= self.count:
            return -1
        self.taken.add(free)
        return free

    def give(self, number: int) -> None:
        """It is free again."""
        self.taken.discard(number)
