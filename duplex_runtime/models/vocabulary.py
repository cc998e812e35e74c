"""The vocabularies behind `layout.Vocabulary`: a tokenizer.json read by the tokenizers library alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from duplex_runtime.errors import ModelError


class TokenizerFile:
    """A `tokenizer.json`; imports tokenizers (30 ms) when made, not transformers."""

    def __init__(self, path: Path) -> None:
        from tokenizers import Tokenizer

        try:
            self._tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises bare Exception for every fault of the file
            raise ModelError(f"{path}: expected a tokenizer.json of the tokenizers library ({error})") from None

    def __len__(self) -> int:
        return self._tokenizer.get_vocab_size()

    def encode(self, text: str) -> list[int]:
        """Ids of `text`; words get a space in front, no special token is added or recognised."""
        return self._tokenizer.encode(text, add_special_tokens=False).ids if text else []

    def decode(self, ids: Sequence[int]) -> str:
        """Text of `ids`."""
        return self._tokenizer.decode(list(ids), skip_special_tokens=True)
