"""What the loop sees: the `Engine` protocol, with a thread behind it on which all slots' requests run at once.

The stream of every slot is kept here, so any server can take a conversation over by reading it once. A conversation
stays with its server, which has its cache, until that server fails.

How long a bad world may take: a server that is not there is found out within 5 seconds (and known for one), one
that answers too slowly after `timeout_seconds` for a slice, or for every SLICE_TOKENS of a longer answer; then the
next server has the same time. One that
closes a connection before it answers is asked once more; one that is too busy (HTTP 429), or was found dead a
moment ago, after half a second to a second, if no other can help. When all have failed, the slot gets an Output
with `error`, and nobody else is concerned.
"""

from __future__ import annotations

import asyncio
import queue
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from contextlib import aclosing, suppress
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Literal

from duplex_runtime.engine.remote.background import Background, detach
from duplex_runtime.engine.remote.fleet import LOG, Fleet, Home, Server, Wanted
from duplex_runtime.engine.remote.kinds import Place
from duplex_runtime.engine.remote.turn import Turn
from duplex_runtime.engine.remote.wire import Fault, Wire, base_url
from duplex_runtime.engine.requests import Output, Sampling, SliceRequest
from duplex_runtime.errors import BadInput, DuplexError

#: More tokens than any slice has.
SLICE_TOKENS = 20

KINDS = ("auto", "llamacpp", "openai", "sglang")


@dataclass(eq=False)
class _Row(Home):
    """One conversation. From `stream` on it belongs to the caller's thread."""

    slot: int
    sampling: Sampling
    turns: asyncio.Lock = field(default_factory=asyncio.Lock)
    stream: list[int] = field(default_factory=list)
    length: int = 0
    request: SliceRequest | None = None
    requests: int = 0  # how many there were: the number of the newest
    said: int = 0
    stopping: bool = False
    work: Future[None] | None = None


class RemoteEngine:
    """An engine over the inference servers at `urls` (http or https; all with the same model).

    kind: of the servers, `auto` asks each. idle: None for a model that is never silent. slots: most conversations
    at once; llama.cpp's servers set their own limit as well. max_length: tokens of a conversation. vocabulary: how
    many token ids there are. known: texts with the ids that they must be encoded as, which tells one model from
    another. api_key: sent to every server as a bearer token. step_seconds: how long `step` waits for something.

    The constructor asks all servers about themselves and raises DuplexError if one serves another model or none
    answers. Not thread-safe: one thread owns it. `shutdown` ends its thread; a `with` block does so by itself.
    """

    def __init__(
        self,
        urls: Sequence[str],
        *,
        idle: int | None,
        eos: int,
        kind: Literal["auto", "llamacpp", "openai", "sglang"] = "auto",
        slots: int = 64,
        max_length: int = 1024,
        vocabulary: int | None = None,
        known: Mapping[str, Sequence[int]] | None = None,
        api_key: str | None = None,
        timeout_seconds: float = 20.0,
        step_seconds: float = 0.01,
    ) -> None:
        if isinstance(urls, str) or not urls:
            raise BadInput(f"expected a list of addresses of inference servers, got {urls!r}")
        if kind not in KINDS:
            raise BadInput(f"expected one of {', '.join(KINDS)} as the kind of server, got {kind!r}")
        if api_key is not None and not (api_key.isascii() and api_key.isprintable() and api_key.strip()):
            raise BadInput("expected an API key of printable characters without line breaks")
        if not timeout_seconds > 0:
            raise BadInput(f"expected a time limit over 0 seconds, got {timeout_seconds}")
        addresses = list(dict.fromkeys(base_url(url) for url in urls))
        wanted = Wanted(kind, idle, eos, max_length, vocabulary, known or {}, timeout_seconds)
        self.idle, self.eos, self.slots, self.max_length = idle, eos, slots, max_length
        self.timeout_seconds, self.step_seconds = timeout_seconds, step_seconds
        self._fleet = Fleet([Server(Wire(url, api_key, timeout_seconds), wanted) for url in addresses])
        self._arrived: queue.SimpleQueue[tuple[int, Output]] = queue.SimpleQueue()
        self._rows: dict[int, _Row] = {}
        self._next = 0
        self._ended = False
        self._leaving: set[_Row] = set()
        self._parting: set[asyncio.Task[None]] = set()
        self._background = Background("remote-engine")
        try:
            self._background.start(self._fleet.start()).result()
        except Fault as fault:
            self.shutdown()
            raise DuplexError(
                "server_unfit",
                f"cannot use the inference servers: {fault}. Check that each runs, that its address is right "
                "and that it serves this model",
            ) from None
        except BaseException:
            self.shutdown()
            raise
        sizes = {s.facts.vocabulary for s in self._fleet.servers} - {None}
        self._vocabulary = vocabulary if vocabulary is not None else next(iter(sizes)) if len(sizes) == 1 else None

    def __enter__(self) -> RemoteEngine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.shutdown()

    def shutdown(self) -> None:
        """End all requests, connections and the thread. Safe to call twice."""
        self._ended = True
        rows, self._rows = [*self._rows.values(), *self._leaving], {}
        self._background.stop(self._farewell(rows))

    async def _farewell(self, rows: Sequence[_Row]) -> None:
        await asyncio.gather(*(_part(row.server, row.place, 1.0) for row in rows))
        await self._fleet.close()

    @property
    def busy(self) -> bool:
        """Is any request unfinished?"""
        return any(row.request for row in self._rows.values())

    def open(self, sampling: Sampling) -> int:
        """A new empty slot; raises DuplexError `full` if all are taken."""
        if self._ended:
            raise DuplexError("engine_ended", "the engine was shut down; make a new one")
        home = self._fleet.home() if len(self._rows) < self.slots else None
        if home is None:
            raise DuplexError("full", f"all {len(self._rows)} places are taken; try again when somebody has left")
        slot, self._next = self._next, self._next + 1
        self._rows[slot] = _Row(*home, slot, sampling)
        return slot

    def close(self, slot: int) -> None:
        """Give the slot back; what is still on its way for it is dropped."""
        row = self._rows.pop(slot, None)
        if row:
            self._break_off(row)
            self._fleet.leave(row)
            self._leaving.add(row)
            self._background.start(self._leave(row))

    def stop(self, slot: int) -> None:
        """Say no more for the request in work; whether it speaks at all is still waited for."""
        row = self._rows[slot]
        row.stopping = row.request is not None

    def _break_off(self, row: _Row) -> None:
        kind = row.server.kind
        if row.work and (kind is None or kind.interruptible):
            row.work.cancel()

    def submit(self, slot: int, request: SliceRequest) -> None:
        """Queue a request; raises ValueError if it does not fit the slot."""
        row = self._rows[slot]
        if row.request:
            raise ValueError(f"slot {slot} has an unfinished request")
        request.check_fit(row.length, self.max_length)
        del row.stream[request.truncate_to :]
        row.stream += request.ids
        row.length, row.request, row.requests = len(row.stream), request, row.requests + 1
        row.said, row.stopping = 0, False
        # every request draws anew, and the same conversation draws the same again
        seed = (row.sampling.seed * 1_000_003 + row.requests * 8_191) % 2**31
        turn = Turn(
            slot, tuple(row.stream), request, row.sampling, self.idle, self.eos, self._vocabulary, seed, row.requests
        )
        row.work = self._background.start(self._serve(row, turn))

    def step(self) -> Sequence[Output]:
        """What has arrived. Waits at most `step_seconds` for the first of it, and not at all if nothing is asked."""
        outputs = [self._cut(row) for row in self._rows.values() if row.stopping and row.said]
        while self.busy:
            try:
                number, output = self._arrived.get(not outputs, self.step_seconds)
            except queue.Empty:
                break
            row = self._rows.get(output.slot)
            if row is None or row.request is None or row.requests != number:
                continue  # its conversation has left, or was stopped
            row.length = output.length
            if output.token is not None:
                row.stream.append(output.token)
                row.said += 1
            if output.done:
                row.request, row.stopping = None, False
            outputs.append(output)
        return outputs

    def _cut(self, row: _Row) -> Output:
        self._break_off(row)
        row.request, row.stopping = None, False
        return Output(row.slot, None, True, row.length, stopped=True)

    # — on the event loop —

    async def _serve(self, row: _Row, turn: Turn) -> None:
        try:
            async with row.turns:  # the answer before may still be read to its end
                await self._try_servers(row, turn)
        except Exception as error:
            # the edge of one conversation: whatever happens to it, it must not wait for ever
            LOG.exception("slot %d failed", row.slot)
            self._fail(turn, f"the request failed ({type(error).__name__}: {error})")

    def _fail(self, turn: Turn, message: str) -> None:
        if not turn.done:
            turn.done = True
            length = len(turn.ids) + len(turn.said)
            error = DuplexError("server_lost", message)
            self._arrived.put((turn.number, Output(turn.slot, None, True, length, error=error)))

    async def _try_servers(self, row: _Row, turn: Turn) -> None:
        servers = [row.server, *self._fleet.others(row.server)]
        for _ in range(2):
            faults = []
            for server in servers:
                fault = await self._try(server, row, turn)
                if fault and fault.retry_seconds == 0.0 and not turn.done:
                    fault = await self._try(server, row, turn)
                if not fault or turn.done:
                    return
                faults.append((server, fault))
            if not (waits := [f.retry_seconds for _, f in faults if f.retry_seconds]):
                break
            await asyncio.sleep(min(waits))
            servers = [s for s, f in faults if f.retry_seconds]
        why = "; ".join(f"{server.url} {fault}" for server, fault in faults)
        self._fail(turn, f"no inference server answered: {why}. Check that it runs and can be reached")

    async def _try(self, server: Server, row: _Row, turn: Turn) -> Fault | None:
        """Let one server do what is left of the turn, and the conversation live there if it does."""
        moving = server is not row.server
        place = self._fleet.take(server)[1] if moving else row.place
        served = False
        # the answer of a whole turn may take as much longer as it is longer
        seconds = self.timeout_seconds * max(1.0, turn.request.max_new_tokens / SLICE_TOKENS)
        try:
            async with asyncio.timeout(seconds):
                await self._speak(server, place, turn)
            served = True
        except (Fault, TimeoutError) as error:
            fault = error if isinstance(error, Fault) else Fault(f"took longer than {seconds:g} s")
            if fault.status != 429:
                server.failed()
                self._forget(server, place)
            LOG.warning("the inference server %s %s", server.url, fault)
            return fault
        finally:
            if moving and served:
                self._fleet.move(row, server, place)
            elif moving:
                self._fleet.give(server, place)
        return None

    async def _speak(self, server: Server, place: Place, turn: Turn) -> None:
        kind = await server.usable()
        while not turn.done:
            ask, before, heard, unwanted = turn.ask(), turn.progress, 0, False
            async with aclosing(kind.speak(ask, place)) as pieces:
                async for piece in pieces:
                    heard += 1
                    if not unwanted:
                        output = turn.hear(piece)
                        if output:
                            self._arrived.put((turn.number, output))
                        unwanted = output is None or turn.done
                    ends = heard == ask.max_new_tokens or piece.token == self.eos
                    if unwanted and not ends and kind.interruptible:
                        break  # a connection that is read to its end can be used again
            if turn.progress == before:
                raise Fault("gave nothing")

    async def _leave(self, row: _Row) -> None:
        async with row.turns:
            await _part(row.server, row.place, self.timeout_seconds)
        self._leaving.discard(row)

    def _forget(self, server: Server, place: Place) -> None:
        """Begin anew at this place; nobody waits until the server has forgotten what was there."""
        if place.session:
            old = replace(place)
            place.session, place.held = None, ()
            task = detach(_part(server, old, self.timeout_seconds))
            self._parting.add(task)
            task.add_done_callback(self._parting.discard)


async def _part(server: Server, place: Place, seconds: float) -> None:
    """Tell a server that a conversation is over; if that fails it will forget by itself, in time."""
    with suppress(Fault, TimeoutError):
        async with asyncio.timeout(seconds):
            if server.kind:
                await server.kind.leave(place)
