"""The servers of an engine: which of them are fit, how many conversations each has, who goes where."""

from __future__ import annotations

import asyncio
import logging
import math
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from duplex_runtime.engine.remote.background import detach
from duplex_runtime.engine.remote.kinds import Facts, Kind, Numbers, Place, detect, make_kind
from duplex_runtime.engine.remote.turn import Ask
from duplex_runtime.engine.remote.wire import Fault, Unfit, Wire

LOG = logging.getLogger(__name__)

#: Seconds in which a server must say that it is there, and for which a failure to do so is believed.
CHECK_SECONDS = 5.0
FAILED_SECONDS = 1.0


@dataclass(frozen=True)
class Wanted:
    """What every server must have. `known`: texts, and the ids that they must be encoded as."""

    kind: str
    idle: int | None
    eos: int
    max_length: int
    vocabulary: int | None
    known: Mapping[str, Sequence[int]]
    timeout_seconds: float


@dataclass(eq=False)
class Server:
    """One server. What has to do with the network runs on the event loop; `load` and `numbers` are guarded by
    the fleet's lock."""

    wire: Wire
    wanted: Wanted
    kind: Kind | None = None
    facts: Facts = field(default_factory=Facts)
    ready: bool = False
    load: int = 0
    numbers: Numbers = field(default_factory=Numbers)
    _check: asyncio.Task[None] | None = None
    _failed: Fault | None = None
    _failed_at: float = -math.inf

    @property
    def url(self) -> str:
        return self.wire.url

    async def usable(self) -> Kind:
        """How to speak to it, once it has shown that it is what is wanted; raises Fault. Many may wait for one
        check, and a server that did not answer is left alone for a moment: a dead one costs each of them little."""
        if not self.ready:
            now = asyncio.get_running_loop().time()
            if self._failed and (wait := self._failed_at + FAILED_SECONDS - now) > 0:
                raise Fault(str(self._failed), wait, self._failed.status)
            if self._check is None or self._check.done():
                self._check = detach(self._checked())
                self._check.add_done_callback(
                    lambda task: task.cancelled() or task.exception()
                )  # seen, if by nobody else
            await asyncio.shield(self._check)
        assert self.kind
        return self.kind

    def failed(self) -> None:
        """It is asked about itself again before it is used: it may come back as another model."""
        self.ready = False

    async def _checked(self) -> None:
        try:
            async with asyncio.timeout(min(CHECK_SECONDS, self.wanted.timeout_seconds)):
                self.kind, facts = await self._ask_about_itself()
            async with asyncio.timeout(self.wanted.timeout_seconds):  # a first token may take long
                await self._examine(self.kind, facts)
            self.facts = facts
        except (Fault, TimeoutError) as error:
            self._failed = error if isinstance(error, Fault) else Fault("did not answer in time")
            self._failed_at = asyncio.get_running_loop().time()
            raise self._failed from None
        self.numbers.count = self.facts.places
        self.ready, self._failed = True, None

    async def _ask_about_itself(self) -> tuple[Kind, Facts]:
        name = await detect(self.wire) if self.wanted.kind == "auto" else self.wanted.kind
        kind = make_kind(name, self.wire)
        return kind, await kind.check()

    async def _examine(self, kind: Kind, facts: Facts) -> None:
        """Raises Unfit if the server is not what is wanted."""
        wanted = self.wanted
        if facts.context is not None and facts.context < wanted.max_length:
            raise Unfit(
                f"reads {facts.context} tokens, a conversation may have {wanted.max_length}; give it a longer context"
            )
        if None not in (facts.vocabulary, wanted.vocabulary) and facts.vocabulary != wanted.vocabulary:
            raise Unfit(
                f"serves a model with {facts.vocabulary} tokens, expected {wanted.vocabulary}: it is another model"
            )
        for text, ids in wanted.known.items():
            given = await kind.tokenize(text)
            if given is not None and list(given) != list(ids):
                raise Unfit(f"encodes {text!r} as {given[:20]}, expected {list(ids)}: it is another model")
        await self._probe(kind)

    async def _probe(self, kind: Kind) -> None:
        """One token for the highest id that there should be, and are its numbers those of the model itself?

        SGLang scales them by the temperature unless told otherwise, vLLM can be set up to.
        """
        ids = (self.wanted.eos, (self.wanted.vocabulary or self.wanted.eos + 1) - 1)
        try:
            token, _ = await _first(kind, Ask(ids, 1, self.wanted.eos, watch=self.wanted.idle))
        except Fault as fault:
            if fault.status == 400:
                raise Unfit(f"refuses token ids up to {max(ids)}; it may be another model ({fault})") from None
            raise
        if self.wanted.idle is None:
            return
        _, plain = await _first(kind, Ask(ids, 1, self.wanted.eos, watch=token))
        _, scaled = await _first(kind, Ask(ids, 1, self.wanted.eos, watch=token, temperature=3.0))
        if abs(math.log(max(plain, 1e-9) / max(scaled, 1e-9))) > 0.3:
            raise Unfit(
                "gives probabilities that change with the temperature; start SGLang with "
                "SGLANG_RETURN_ORIGINAL_LOGPROB=1, vLLM with --logprobs-mode raw_logprobs"
            )


async def _first(kind: Kind, ask: Ask) -> tuple[int, float]:
    """The first token and the watched chance of it all."""
    first: tuple[int, float] | None = None
    async for piece in kind.speak(ask, Place()):
        if first is None and piece.token is not None:
            first = piece.token, -1.0 if piece.chance is None else piece.chance
    if first is None or (ask.watch is not None and first[1] < 0):
        raise Fault("gave no first token with its probability")
    return first


@dataclass(eq=False)
class Home:
    """Where a conversation lives; it may move while its requests are served."""

    server: Server
    place: Place
    left: bool = field(default=False, kw_only=True)


class Fleet:
    """All servers. What has to do with places may be called from any thread."""

    def __init__(self, servers: Sequence[Server]) -> None:
        self.servers = tuple(servers)
        self._lock = threading.Lock()

    async def start(self) -> None:
        """Check all servers at once. Raises Fault if one is not what is wanted, or none is there."""
        found = await asyncio.gather(*(s.usable() for s in self.servers), return_exceptions=True)
        faults = [(s, f) for s, f in zip(self.servers, found, strict=True) if isinstance(f, BaseException)]
        for server, fault in faults:
            if not isinstance(fault, Fault):
                raise fault
            if isinstance(fault, Unfit):
                raise Unfit(f"{server.url} {fault}")
        if len(faults) == len(self.servers):
            raise Fault("; ".join(f"{server.url} {fault}" for server, fault in faults))
        for server, fault in faults:
            LOG.warning("going on without the inference server %s: it %s", server.url, fault)

    async def close(self) -> None:
        """Close all connections."""
        for server in self.servers:
            await server.wire.close()

    def home(self) -> tuple[Server, Place] | None:
        """A place for a new conversation where the fewest are; None if there is none."""
        with self._lock:
            room = [s for s in self.servers if s.numbers.count is None or s.load < s.numbers.count]
            if not room:
                return None
            return self._take(min(room, key=lambda s: (not s.ready, s.load)))

    def take(self, server: Server) -> tuple[Server, Place]:
        """A place on `server`, even if it is full: then its conversations share."""
        with self._lock:
            return self._take(server)

    def _take(self, server: Server) -> tuple[Server, Place]:
        server.load += 1
        return server, Place(server.numbers.take())

    def give(self, server: Server, place: Place) -> None:
        """The place is free again."""
        with self._lock:
            self._give(server, place)

    def _give(self, server: Server, place: Place) -> None:
        server.load -= 1
        server.numbers.give(place.number)

    def move(self, home: Home, server: Server, place: Place) -> None:
        """The conversation lives at this place from now on, which it has taken; the old one is free again."""
        with self._lock:
            old = home.server, home.place
            home.server, home.place = server, place
            self._give(*((server, place) if home.left else old))

    def leave(self, home: Home) -> None:
        """The conversation is over."""
        with self._lock:
            home.left = True
            self._give(home.server, home.place)

    def others(self, home: Server) -> Iterator[Server]:
        """Where a conversation may go whose server fails: those that work first, the emptiest first."""
        rest = [s for s in self.servers if s is not home]
        yield from sorted(rest, key=lambda s: (not s.ready, s.load))
