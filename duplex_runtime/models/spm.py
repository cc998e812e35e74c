"""A sentencepiece file (`tokenizer.model`, BPE) as a tokenizer of the tokenizers library, with the same ids.

    pieces = read(path)
    tokenizer = to_tokenizer(pieces, added=[("<idle>", 122753)])

Needs neither sentencepiece nor protobuf: the file is a protobuf message of a few known fields (numbers from
sentencepiece_model.proto of google/sentencepiece), read here byte by byte.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from duplex_runtime.errors import ModelError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
_BPE = 2
_SPACE = "\u2581"  # sentencepiece writes a space as this character


@dataclass(frozen=True)
class Piece:
    """One token: its text, its score (the highest is merged first) and its type."""

    text: str
    score: float
    type: int


@dataclass(frozen=True)
class Pieces:
    """What a sentencepiece file says."""

    pieces: tuple[Piece, ...]
    byte_fallback: bool

    def id_of(self, text: str) -> int | None:
        """Id of the piece `text`, None if there is none."""
        return next((i for i, piece in enumerate(self.pieces) if piece.text == text), None)

    @property
    def unknown(self) -> int:
        """Id of the unknown piece."""
        return next(i for i, piece in enumerate(self.pieces) if piece.type == UNKNOWN)


def _fields(data: bytes) -> Iterator[tuple[int, Any]]:
    """(number, value) of every field of a protobuf message; raises ValueError where the bytes are none."""
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            if at >= len(data) or shift > 63:
                raise ValueError(f"a number is cut off at byte {at}")
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(data):
        key = varint()
        kind = key & 7
        if kind == 0:
            yield key >> 3, varint()
            continue
        length = {1: 8, 5: 4}.get(kind)
        if kind == 2:
            length = varint()
        if length is None or at + length > len(data):
            raise ValueError(f"field {key >> 3} is cut off or of unknown kind at byte {at}")
        yield key >> 3, data[at : at + length]
        at += length


def read(data: bytes, name: str = "tokenizer.model") -> Pieces:
    """Read a sentencepiece file; raises ModelError for what is no BPE model, or normalises text.

    A model that rewrites text before it cuts it (NFKC and the like) is refused: it could not be said exactly here.
    """
    try:
        return _read(data)
    except (ValueError, TypeError, struct.error) as error:  # TypeError: a field of another kind than the schema's
        raise ModelError(f"{name}: expected a sentencepiece file ({error})") from None


def _read(data: bytes) -> Pieces:
    pieces: list[Piece] = []
    trainer: dict[int, Any] = {}
    normalizer: dict[int, Any] = {}
    for number, value in _fields(data):
        if number == 1:
            piece = dict(_fields(value))
            score = struct.unpack("<f", piece[2])[0] if 2 in piece else 0.0
            pieces.append(Piece(bytes(piece.get(1, b"")).decode("utf-8"), score, piece.get(3, NORMAL)))
        elif number == 2:
            trainer = dict(_fields(value))
        elif number == 3:
            normalizer = dict(_fields(value))
    if not pieces:
        raise ValueError("it holds no pieces")
    if len({piece.text for piece in pieces}) != len(pieces):
        raise ValueError("two pieces have the same text")
    if sum(piece.type == UNKNOWN for piece in pieces) != 1:
        raise ValueError("expected exactly one piece of the type UNKNOWN")
    if any(piece.type not in (NORMAL, UNKNOWN, CONTROL, USER_DEFINED, BYTE) for piece in pieces):
        raise ValueError("a piece is of a type that is not supported (UNUSED, or one newer than this program)")
    # defaults of the schema where a field is absent
    wanted = {
        "a BPE model": trainer.get(3, 1) == _BPE,
        "no treat_whitespace_as_suffix": not trainer.get(24, 0),
        "no normalisation of the text (precompiled_charsmap)": not normalizer.get(2, b""),
        # the other library would put the space before every part between two user-defined pieces as well
        "add_dummy_prefix off": not normalizer.get(3, 1),
        "remove_extra_whitespaces off": not normalizer.get(4, 1),
        "escape_whitespaces on": bool(normalizer.get(5, 1)),
    }
    wrong = [what for what, holds in wanted.items() if not holds]
    if wrong:
        raise ValueError(f"expected {', '.join(wrong)}")
    fallback = bool(trainer.get(35, 0))
    if fallback and sum(piece.type == BYTE for piece in pieces) != 256:
        raise ValueError("byte_fallback is on, but there are not 256 byte pieces")
    return Pieces(tuple(pieces), fallback)


def to_tokenizer(pieces: Pieces, added: Sequence[Mapping[str, Any]] = (), add_bos: int | None = None) -> Tokenizer:
    """The same tokenizer for the tokenizers library.

    added: tokens behind the pieces, in the order of their ids: `content`, and the flags of an AddedToken.
    add_bos: id put before a text that is encoded with special tokens.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, processors

    vocabulary = {piece.text: i for i, piece in enumerate(pieces.pieces)}
    tokenizer = Tokenizer(
        models.BPE(
            vocab=vocabulary,
            merges=_merges(pieces),
            unk_token=pieces.pieces[pieces.unknown].text,
            fuse_unk=True,
            byte_fallback=pieces.byte_fallback,
        )
    )
    tokenizer.normalizer = normalizers.Replace(" ", _SPACE)
    tokenizer.decoder = decoders.Sequence([decoders.Replace(_SPACE, " "), decoders.ByteFallback(), decoders.Fuse()])
    # control pieces are special; user-defined ones are found in the text before anything is merged
    specials = [p.text for p in pieces.pieces if p.type in (CONTROL, UNKNOWN)]
    tokenizer.add_special_tokens([AddedToken(text, normalized=False, special=True) for text in specials])
    own = [p.text for p in pieces.pieces if p.type == USER_DEFINED] + _of_lone_characters(pieces)
    # normalized: their text holds the sign for a space, and so does what they are looked for in
    tokenizer.add_tokens([AddedToken(text, normalized=_SPACE in text, special=False) for text in own])
    tokenizer.add_tokens([AddedToken(**dict(token)) for token in added])
    if add_bos is not None:
        bos = pieces.pieces[add_bos].text
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", pair=f"{bos} $A {bos} $B", special_tokens=[(bos, add_bos)]
        )
    return tokenizer


def _of_lone_characters(pieces: Pieces) -> list[str]:
    """Pieces made of a character that is no piece itself: flags and emoji with a skin colour, 943 in the release.

    sentencepiece joins characters before it looks them up; the tokenizers library would have made bytes of them
    first. So these pieces are found in the text, as user-defined ones are. Other ids come out only where another
    pair would have been joined first: between flags without a space, and in a space, a thumb and a skin colour.
    """
    known = {p.text for p in pieces.pieces if p.type in (NORMAL, USER_DEFINED)}

    def joined(left: str, right: str) -> bool:
        lone = [part for part in (left, right) if part not in known]
        return bool(lone) and all(len(part) == 1 for part in lone)

    normal = [p.text for p in pieces.pieces if p.type == NORMAL]
    return [text for text in normal if any(joined(text[:cut], text[cut:]) for cut in range(1, len(text)))]


def _merges(pieces: Pieces) -> list[tuple[str, str]]:
    """All ways to make a piece of two others, the best score first.

    sentencepiece merges whichever neighbours give the piece of the highest score, from left to right; the
    tokenizers library wants each pair with a rank of its own.
    """
    scores = {p.text: p.score for p in pieces.pieces if p.type == NORMAL}
    order = {p.text: i for i, p in enumerate(pieces.pieces)}
    found = []
    for text, score in scores.items():
        for cut in range(1, len(text)):
            left, right = text[:cut], text[cut:]
            if left in scores and right in scores:
                found.append((-score, order[text], order[left], order[right], left, right))
    return [(left, right) for *_, left, right in sorted(found)]
