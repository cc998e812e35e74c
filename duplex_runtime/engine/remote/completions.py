"""An OpenAI-compatible `/v1/completions` that takes and gives token ids: vLLM 0.10.2 or newer.

    vllm serve FOLDER --enable-prefix-caching        # the default; `--logprobs-mode raw_logprobs` is so as well

Written from vLLM's documentation and tested against a small server of our own that follows it, not against vLLM.
Prefix caching keeps what the prompt has in common with earlier ones, in whole blocks (16 tokens): an append
computes at most 15 tokens twice, a rollback nothing. Answers that nobody wants any more are broken off, which
leaves the cache as it is.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from duplex_runtime.engine.remote.kinds import Facts, Place, first_model, get, number, tokenize_as_openai, whole
from duplex_runtime.engine.remote.kinds import token_ids as ids_of
from duplex_runtime.engine.remote.turn import TOP, Ask, Piece, chance_of
from duplex_runtime.engine.remote.wire import Fault, Unfit, Wire

#: How vLLM writes a token's id where the protocol has its text (`return_tokens_as_token_ids`).
_MARK = "token_id:"


class Completions:
    """See the module."""

    interruptible = True

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._model = ""

    async def check(self) -> Facts:
        """`/v1/models`: which model, and how long it may read. The vocabulary's size is not told."""
        model = first_model(await self._wire.get("/v1/models"))
        self._model = get(model, "id", str)
        return Facts(context=whole(model, "max_model_len"))

    async def tokenize(self, text: str) -> list[int] | None:
        """`/tokenize`, which vLLM has."""
        return await tokenize_as_openai(self._wire, self._model, text)

    async def speak(self, ask: Ask, place: Place) -> AsyncGenerator[Piece, None]:
        """See `Kind`."""
        watching, ended = ask.watch is not None, False
        async with aclosing(self._wire.events("/v1/completions", self._body(ask))) as events:
            async for event in events:
                choices = get(event, "choices", list)
                if not choices:  # a last event with nothing but the usage
                    continue
                choice = choices[0]
                tokens = _tokens(choice)
                for token in tokens:
                    yield Piece(token, _watched(ask, choice) if watching else None)
                    watching = False
                reason = choice.get("finish_reason")
                if reason == "stop" and tokens[-1:] != [ask.eos]:  # some leave the end token out
                    yield Piece(ask.eos, _watched(ask, choice) if watching else None)
                elif reason not in (None, "stop", "length"):
                    raise Fault(f"ended its answer with {str(reason)[:100]!r}")
                ended |= reason is not None
        if not ended:
            raise Fault("broke off its answer")

    async def leave(self, place: Place) -> None:
        """Nothing to do: the cache is the server's."""

    def _body(self, ask: Ask) -> dict[str, Any]:
        return {
            "model": self._model,
            "prompt": list(ask.ids),
            "max_tokens": ask.max_new_tokens,
            "stream": True,
            "temperature": ask.temperature,
            "top_p": ask.top_p,
            # whatever the model's generation_config.json says
            "top_k": 0,
            "min_p": 0.0,
            "repetition_penalty": 1.0,
            "seed": ask.seed,
            "stop_token_ids": [ask.eos],
            "min_tokens": int(ask.begins),  # bans the end token as the first, and only there
            "logit_bias": {str(token): -100.0 for token in sorted(ask.banned)},
            "logprobs": TOP if ask.watch is not None else None,
            "return_token_ids": True,
            "return_tokens_as_token_ids": True,
            "skip_special_tokens": False,
        }


def _tokens(choice: Any) -> list[int]:
    if not isinstance(choice, dict):
        raise Fault(f"expected an object in choices, got {str(choice)[:100]!r}")
    if choice.get("token_ids") is not None:
        return ids_of(choice["token_ids"])
    if choice.get("text") or choice.get("logprobs"):
        raise Unfit("gives no token ids; expected vLLM 0.10.2 or newer, which knows return_token_ids")
    return []


def _watched(ask: Ask, choice: dict[str, Any]) -> float:
    assert ask.watch is not None
    tops = get(choice.get("logprobs"), "top_logprobs", list)
    first = tops[0] if tops else None
    if not isinstance(first, dict):
        raise Fault("gives no probabilities of the first token; they are needed to know when the model is silent")
    likeliest = []
    for name, value in first.items():
        digits = name.removeprefix(_MARK)
        if digits == name or not digits.isdecimal() or len(digits) > 9:
            raise Unfit(f"names tokens by their text ({name[:50]!r}); expected vLLM with return_tokens_as_token_ids")
        likeliest.append((int(digits), number(value)))
    return chance_of(ask.watch, likeliest)
