"""The token stream of a time-sliced conversation, as in arXiv 2406.15718.

    <s> ‹user› u1 ‹model› a1 </s> ‹user› u2 ‹model› a2 </s> … ‹user› uN ‹model›      ← decode here

Each side says words or `<idle>`. Training and serving both build their ids here, so they cannot disagree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


class Vocabulary(Protocol):
    """Text to token ids and back, without special tokens."""

    def encode(self, text: str) -> list[int]:
        """Ids of `text`."""

    def decode(self, ids: Sequence[int]) -> str:
        """Text of `ids`; an incomplete character at the end comes out as U+FFFD."""


#: Tokens of an answer that can still be taken back; more than the longest slice has.
_SPOKEN = 400


class Spoken:
    """Turns token ids into text deltas; a character that is not complete yet waits for its next byte."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._ids: list[int] = []
        self._start = 0  # decoding begins here: a few tokens of context are enough for spaces and characters
        self._text = ""  # of the ids from `_start` on, as far as told
        self._last = ""  # the last character told
        self._gap = False  # does the next text begin a slice of its own?

    def push(self, token: int) -> str:
        """The text that `token` adds."""
        self._ids.append(token)
        text = self._vocabulary.decode(self._ids[self._start :])
        if text.endswith("\ufffd"):
            return ""
        delta, self._text = text[len(self._text) :], text
        if self._gap and delta:
            self._gap = False
            if self._last.isascii() and delta[0].isalnum() and delta[0].isascii() and not self._last.isspace():
                delta = " " + delta
        self._last = delta[-1:] or self._last
        if len(self._ids) - self._start > 16:
            self._begin_near_end()
        return delta

    def begin_slice(self) -> None:
        """The next token begins another slice: a space belongs between, unless the script writes none."""
        self._gap = self._last != ""

    def forget(self, tokens: int) -> None:
        """The last `tokens` were never said."""
        del self._ids[len(self._ids) - tokens :]
        self._begin_near_end()

    def _begin_near_end(self) -> None:
        if len(self._ids) > 2 * _SPOKEN:
            del self._ids[:-_SPOKEN]
        self._start = max(0, len(self._ids) - 8)
        self._text = self._vocabulary.decode(self._ids[self._start :]).rstrip("\ufffd")


@dataclass(frozen=True)
class Layout:
    """Ids of the markers around every slice.

    `apart`: slices are words by themselves, so a space belongs between them (the release was trained on stripped
    slices; the embedded model says its own spaces).
    `keep`: the token with which the model begins an answer to something that it shall not forget (`duplex.Memory`).
    `fold_case`: the person's words are lower-cased before encoding (the embedded model is uncased on that side).
    """

    bos: int
    eos: int
    idle: int
    user_marker: tuple[int, ...]
    model_marker: tuple[int, ...]
    keep: int | None = None
    fold_case: bool = False
    apart: bool = False

    def user(self, vocabulary: Vocabulary, text: str, most: int | None = None) -> list[int]:
        """Ids of the person's half of a pair, up to where the model decides; empty text is silence.

        Of more than `most` ids of words the last are kept: no single slice can fill a model's memory.
        """
        words = " ".join(text.split())
        ids = vocabulary.encode(words.lower() if self.fold_case else words) if words else [self.idle]
        return [*self.user_marker, *(ids if most is None else ids[-most:]), *self.model_marker]

    def close(self, ids: Sequence[int]) -> list[int]:
        """Ids of the model's half of a pair; no ids is silence."""
        return [*(ids or [self.idle]), self.eos]


#: MiniCPM-duplex as released: `<用户>` and `<AI>` are plain text to its tokenizer, `<idle>` is id 122753.
MINICPM_DUPLEX = Layout(
    bos=1,
    eos=2,
    idle=122753,
    user_marker=(95396, 4194, 95388),
    model_marker=(95396, 10850, 95388),
    apart=True,
)

#: The embedded model: the same stream with one token for each marker (the first ids of its vocabulary).
EMBEDDED = Layout(bos=1, eos=2, idle=3, user_marker=(4,), model_marker=(5,), keep=6, fold_case=True)
