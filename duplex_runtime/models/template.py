"""The token stream of a chat model that was never trained for duplex, from its own chat template.

    layout = layout_from_template(tokenizer, vocabulary_size=151936, ends={151645})

A small conversation is rendered with words that stand nowhere else; the ids between these words are the markers.
Such a model waits for its turn as it always did. In duplex it never learned to be silent: see `pick_idle`.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection, Sequence
from typing import Any

from duplex_runtime.errors import ModelError
from duplex_runtime.layout import Layout

#: Said in the rendered conversation: user and model by turns, the user last.
WORDS = ("zebra", "violin", "copper", "lantern", "orchid")
_RESERVED = re.compile(r"reserved|unused|extra_id|placeholder|dummy|not_?used", re.IGNORECASE)


def layout_from_template(tokenizer: Any, vocabulary_size: int, ends: Collection[int]) -> Layout:
    """Markers and turn end of a tokenizer of the transformers library.

    ends: ids that end an answer, as generation_config.json says. Raises ModelError where there is no template, or
    where it lays turns out in a way that is no stream of pairs. A system text that the template adds is left out.
    """
    gaps = _gaps(tokenizer, _render(tokenizer))
    answer, again = gaps[1], gaps[2]
    if not answer or gaps[3] != answer or gaps[4] != again:
        raise ModelError(
            "the chat template writes the second turn unlike the first; expected fixed markers around each turn"
        )
    answer = _where_it_speaks(tokenizer, answer, gaps[5])
    own_end = tokenizer.eos_token_id
    ends = {*ends, *([own_end] if own_end is not None else [])}
    at = next((i for i, token in enumerate(again) if token in ends), None)
    if at is None and own_end is None:
        raise ModelError("the tokenizer has no token that ends a turn; expected an eos_token")
    eos = own_end if at is None else again[at]
    user = tuple(again if at is None else again[at + 1 :])
    bos = tokenizer.bos_token_id
    # where each turn begins with it, or there is none, the stream goes on as if a turn had just ended
    first = eos if bos is None or bos in user[:1] else bos
    return Layout(first, eos, pick_idle(tokenizer, vocabulary_size, {first, eos, *user, *answer}), user, tuple(answer))


def _where_it_speaks(tokenizer: Any, answer: list[int], prompt: list[int]) -> list[int]:
    """The end of the rendered text, before the word that the model shall say, may hold more than stands before what it
    has said, such as the empty thought of a model that thinks; or less, for it says the space itself. A template that
    knows no generation prompt ends with the person's turn."""
    more = prompt[: len(answer)] == answer
    space = prompt == answer[: len(prompt)] and bool(prompt) and not tokenizer.decode(answer[len(prompt) :]).strip()
    return prompt if more or space else answer


def _render(tokenizer: Any) -> str:
    if not getattr(tokenizer, "chat_template", None):
        raise ModelError(
            "it has no chat template: expected a chat model (often named Instruct or Chat), not a base model"
        )
    roles = ("user", "assistant")
    messages = [{"role": roles[i % 2], "content": word} for i, word in enumerate(WORDS)]
    try:
        # templates that do not think about thinking ignore the option
        text = tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=True, enable_thinking=False
        )
    except Exception as error:  # a program from outside: every fault of it becomes one message
        raise ModelError(f"its chat template does not run ({type(error).__name__}: {error})") from None
    return str(text)


def _gaps(tokenizer: Any, text: str) -> list[list[int]]:
    """Ids before, between and behind `WORDS`; a token that reaches into a word belongs to it."""
    if not getattr(tokenizer, "is_fast", False):
        raise ModelError("its tokenizer does not say where tokens lie in a text; expected one with a tokenizer.json")
    starts = [text.find(word) for word in WORDS]
    if -1 in starts or starts != sorted(starts) or any(text.count(word) != 1 for word in WORDS):
        raise ModelError(
            "its chat template does not write every turn once, in order; expected user and assistant turns"
        )
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    edges = [(0, 0), *((s, s + len(w)) for s, w in zip(starts, WORDS, strict=True)), (len(text), len(text))]
    gaps: list[list[int]] = [[] for _ in range(len(WORDS) + 1)]
    for token, (start, end) in zip(encoded["input_ids"], encoded["offset_mapping"], strict=True):
        for gap, ((_, after), (before, _)) in zip(gaps, itertools.pairwise(edges), strict=True):
            if after <= start and end <= before:
                gap.append(token)
                break
    return gaps


def pick_idle(tokenizer: Any, vocabulary_size: int, used: Collection[int]) -> int:
    """An id to stand for silence: `<idle>`, or one that nobody says.

    First a token whose name says that it is reserved, then a row of the embeddings that no token has, then the last
    token of the vocabulary, which is among the rarest. The model gives it next to no probability, so it answers
    whatever it is asked: only the rules of the conversation keep it silent.
    """
    vocabulary = tokenizer.get_vocab()
    if "<idle>" in vocabulary:
        return int(vocabulary["<idle>"])
    special = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
    special |= set(tokenizer.all_special_tokens)
    taken = {vocabulary[text] for text in special if text in vocabulary} - _reserved(special, vocabulary)
    taken |= set(used)
    free = {text: i for text, i in vocabulary.items() if i < vocabulary_size and i not in taken}
    if reserved := _reserved(free, free):
        return min(reserved)
    if rest := set(range(vocabulary_size)) - set(vocabulary.values()):
        return max(rest)
    if not free:
        raise ModelError("its vocabulary has no token left that could stand for silence")
    return max(free.values())


def _reserved(texts: Collection[str] | Sequence[str], ids: dict[str, int]) -> set[int]:
    return {ids[text] for text in texts if text[:1] in "<[" and _RESERVED.search(text) and text in ids}
