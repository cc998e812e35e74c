"""SGLang's `/generate` with token ids, over its streaming sessions where the server has them.

    python -m sglang.launch_server --model-path FOLDER --enable-streaming-session

Written from its documentation and sources and tested against a small server of our own that follows them, not
against SGLang. A streaming session keeps a conversation's cache from slice to slice, safe from eviction, and only
takes appends: the server has what it was sent and everything it drew. So

- an answer is never broken off, for an abort frees the session's cache; it is short, and read to its end;
- where the stream is not what the session holds with something behind it (a rollback, or a token drawn that
  nobody wanted), the session is closed and a new one begins with the whole stream;
- without `--enable-streaming-session` whole prompts are sent, and the radix cache finds what is known of them.

`token_ids_logprob` gives exactly p(idle). SGLang reports it after `logit_bias`, so `<idle>` is not banned while the
number is wanted: where it is drawn below the threshold, the answer stops there and the rest is asked for anew.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from typing import Any

from duplex_runtime.engine.remote.kinds import (
    Facts,
    Place,
    first_model,
    get,
    number,
    token_ids,
    tokenize_as_openai,
    whole,
)
from duplex_runtime.engine.remote.turn import Ask, Piece, chance_of
from duplex_runtime.engine.remote.wire import Fault, Unfit, Wire

#: Seconds without a word after which the server may drop a session; the next slice then begins a new one.
SESSION_SECONDS = 900.0


class SGLang:
    """See the module."""

    interruptible = False

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._model = ""
        self._context: int | None = None
        self._sessions = True  # until the server says that it has none

    async def check(self) -> Facts:
        """`/v1/models`: which model, and how long it may read."""
        model = first_model(await self._wire.get("/v1/models"))
        self._model = get(model, "id", str)
        self._context = whole(model, "max_model_len")
        self._sessions = True
        return Facts(context=self._context)

    async def tokenize(self, text: str) -> list[int] | None:
        """`/tokenize`, in newer versions."""
        return await tokenize_as_openai(self._wire, self._model, text)

    async def speak(self, ask: Ask, place: Place) -> AsyncGenerator[Piece, None]:
        """See `Kind`."""
        await self._fit(ask, place)
        body = self._body(ask, place)
        held = place.held
        session, place.session = place.session, None  # it is given back when all went well
        said: list[int] = []
        watching, ended = ask.watch is not None, False
        try:
            async with aclosing(self._wire.events("/generate", body)) as events:
                async for event in events:
                    about = get(event, "meta_info", dict)
                    for token in _new(token_ids(event.get("output_ids")), get(about, "completion_tokens", int), said):
                        said.append(token)
                        yield Piece(token, _watched(ask, about) if watching else None)
                        watching = False
                    ended |= self._ended(about)
            if not ended:
                raise Fault("broke off its answer")
            place.session, place.held = session, (*ask.ids, *said)
        except Fault as fault:
            # versions differ in how they say that a session has timed out: a new one will do
            if session and held and not said and fault.status in (200, 400, 409):
                raise Fault(str(fault), 0.0, fault.status) from None
            raise
        finally:
            if session and not place.session:
                place.session, place.held = session, ()  # nothing is known of it any more: to be closed

    async def leave(self, place: Place) -> None:
        """Close the session."""
        session, place.session, place.held = place.session, None, ()
        if session:
            await self._wire.post_for_text("/close_session", {"session_id": session})

    async def _fit(self, ask: Ask, place: Place) -> None:
        """A session whose ids the ask goes on from, if the server has sessions."""
        held = place.held
        if place.session and held and len(held) < len(ask.ids) and ask.ids[: len(held)] == held:
            return
        with suppress(Fault):  # it may be gone already
            await self.leave(place)
        if not self._sessions or place.number < 0:
            return
        body = {"capacity_of_str_len": self._context or 32768, "streaming": True, "timeout": SESSION_SECONDS}
        try:
            place.session = await self._wire.post_for_text("/open_session", body) or None
        except Fault as fault:
            if not isinstance(fault, Unfit) and fault.status != 400:
                raise
            self._sessions = False  # not enabled, or not known

    def _ended(self, about: dict[str, Any]) -> bool:
        reason = about.get("finish_reason")
        if reason is None:
            return False
        name = reason.get("type") if isinstance(reason, dict) else reason
        if name == "abort":
            # a session that timed out, for one: a new one will do
            raise Fault(f"broke off its answer ({str(reason)[:200]!r})", 0.0)
        return True

    def _body(self, ask: Ask, place: Place) -> dict[str, Any]:
        stops = {ask.eos} if ask.watch is None else {ask.eos, ask.watch}
        banned = ask.banned - {ask.watch}
        body: dict[str, Any] = {
            "input_ids": list(ask.ids[len(place.held) :] if place.session else ask.ids),
            "stream": True,
            "sampling_params": {
                "max_new_tokens": ask.max_new_tokens,
                "temperature": ask.temperature,
                "top_p": ask.top_p,
                "top_k": -1,
                "min_p": 0.0,
                "repetition_penalty": 1.0,
                "stop_token_ids": sorted(stops),
                "logit_bias": {str(token): -1e9 for token in sorted(banned)},
                "skip_special_tokens": False,
                "no_stop_trim": True,
            },
        }
        if ask.watch is not None:
            body |= {"return_logprob": True, "logprob_start_len": -1, "token_ids_logprob": [ask.watch]}
        if place.session:
            body["session_params"] = {"id": place.session}
        return body


def _new(ids: list[int], total: int, said: list[int]) -> list[int]:
    """What an event adds: its ids are all so far, or with `--incremental-streaming-output` the new ones."""
    if len(ids) == total:
        return ids[len(said) :]
    if len(ids) == total - len(said):
        return ids
    raise Fault(f"counts {total} tokens and gives {len(ids)} after {len(said)}")


def _watched(ask: Ask, about: dict[str, Any]) -> float:
    assert ask.watch is not None
    positions = get(about, "output_token_ids_logprobs", list)
    first = positions[0] if positions else None
    if not isinstance(first, list) or not first or not isinstance(first[0], list) or len(first[0]) < 2:
        raise Fault(f"expected the log-probability of token {ask.watch}, got {str(first)[:100]!r}")
    value, token = first[0][:2]
    if token != ask.watch:
        raise Fault(f"expected the log-probability of token {ask.watch}, got that of {str(token)[:100]!r}")
    return chance_of(ask.watch, [(ask.watch, number(value))])
