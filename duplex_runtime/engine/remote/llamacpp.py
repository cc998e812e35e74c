"""llama.cpp's own server: `/completion` with token ids, `id_slot` and `cache_prompt`.

    llama-server -m model.gguf -np 8 -c 16384        # 8 conversations of 2048 tokens

Tested against the real server (the one inside xllamacpp 2026.10). Each conversation has a slot of the server to
itself; what the prompt has in common with the slot's cache is not computed again, so an append costs its own
tokens and a rollback nothing. Two things that its documentation does not say, found by trying:

- A token that ends within a character is not streamed, nor are its probabilities: only the count jumps. What is
  missing is then asked for in one piece, which has every token.
- Numbers are of the model's distribution, before `logit_bias` and samplers, and the drawn token always has its own.
  So where no word is wanted `<idle>` is forced: that gives exactly p(idle), and nothing is decoded.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from duplex_runtime.engine.remote.kinds import Facts, Place, first_model, get, number, token_ids, whole
from duplex_runtime.engine.remote.turn import TOP, Ask, Piece, chance_of
from duplex_runtime.engine.remote.wire import Fault, Wire


class LlamaCpp:
    """See the module."""

    interruptible = True

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    async def check(self) -> Facts:
        """`/props` and `/v1/models`."""
        model = first_model(await self._wire.get("/v1/models"))
        props = await self._wire.get("/props")
        return Facts(
            vocabulary=whole(model.get("meta"), "n_vocab"),
            context=whole(props.get("default_generation_settings"), "n_ctx"),
            places=whole(props, "total_slots"),
        )

    async def tokenize(self, text: str) -> list[int] | None:
        """`/tokenize`."""
        body = {"content": text, "add_special": False, "parse_special": True}
        return token_ids((await self._wire.post("/tokenize", body)).get("tokens"))

    async def speak(self, ask: Ask, place: Place) -> AsyncGenerator[Piece, None]:
        """See `Kind`."""
        if ask.listen:
            yield Piece(None, await self._chance(ask, place))
            return
        said: list[int] = []
        watching = ask.watch is not None
        async with aclosing(self._wire.events("/completion", self._body(ask, place, stream=True))) as events:
            async for event in events:
                ended = get(event, "stop", bool)
                tokens = token_ids(event.get("tokens"))
                if get(event, "tokens_predicted", int) != len(said) + len(tokens):
                    break
                for token in tokens:
                    yield Piece(token, self._watched(ask, event) if watching else None)
                    watching = False
                    said.append(token)
                if ended:
                    return
            else:
                raise Fault("broke off its answer")
        chance = await self._chance(ask, place) if watching else None
        answer = await self._wire.post("/completion", self._body(ask, place, stream=False, behind=said))
        rest = token_ids(answer.get("tokens"))
        for token in rest:
            yield Piece(token, chance)
            chance = None

    async def leave(self, place: Place) -> None:
        """Nothing to do: whoever takes the slot next overwrites it."""

    async def _chance(self, ask: Ask, place: Place) -> float | None:
        if ask.watch is None:
            return None
        forced = {"n_predict": 1, "n_probs": 1, "logit_bias": [[ask.watch, 10_000.0]]}
        answer = await self._wire.post("/completion", self._body(ask, place, stream=False) | forced)
        numbers = get(answer, "completion_probabilities", list)
        drawn: dict[str, Any] = numbers[0] if numbers and isinstance(numbers[0], dict) else {}
        if drawn.get("id") != ask.watch:
            raise Fault(f"expected the number of token {ask.watch}, got {str(drawn)[:100]!r}")
        return chance_of(ask.watch, [(ask.watch, number(drawn.get("logprob")))])

    def _watched(self, ask: Ask, event: dict[str, Any]) -> float:
        assert ask.watch is not None
        numbers = get(event, "completion_probabilities", list)
        likeliest = get(numbers[0] if numbers else None, "top_logprobs", list)
        return chance_of(ask.watch, [(get(t, "id", int), number(t.get("logprob"))) for t in likeliest])

    def _body(self, ask: Ask, place: Place, stream: bool, behind: list[int] | None = None) -> dict[str, Any]:
        behind = behind or []
        return {
            "prompt": [*ask.ids, *behind],
            "n_predict": ask.max_new_tokens - len(behind),
            "stream": stream,
            "return_tokens": True,
            "cache_prompt": True,
            "id_slot": place.number,
            "n_probs": TOP if ask.watch is not None and not behind else 0,
            "post_sampling_probs": False,
            # in our order, and nothing else: no penalties, whatever the server was started with
            "samplers": ["temperature", "top_p"],
            "temperature": ask.temperature,
            "top_p": ask.top_p,
            "min_keep": 1,
            "seed": ask.seed,
            "logit_bias": [[token, False] for token in sorted(ask.banned)],
        }
