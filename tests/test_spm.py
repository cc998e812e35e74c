"""A sentencepiece file gives the same ids here as in sentencepiece itself."""

import heapq
import itertools
import struct
from random import Random

import pytest

from duplex_runtime.errors import ModelError
from duplex_runtime.models import spm
from tests import minicpm_folder as standin

#: Said by sentencepiece 0.2.3 for the file of the stand-in.
GOLDEN = {
    "Can you tell me about volcanoes?": [456, 275, 284, 358, 319, 311, 407, 9],
    "你好，今天天气怎么样？ I like 喝茶.": [
        305, 252, 201, 153, 306, 304, 333, 252, 201, 172, 285, 490, 478, 475, 477, 471, 490, 338, 7],
    "  two  spaces\tand\n\nlines ": [490, 269, 488, 481, 490, 293, 482, 467, 469, 300, 4, 275, 470, 3, 3, 478, 475, 480,
                                    300, 490],
    "<用户>hello<AI>Hi!...": [452, 287, 454, 474, 286, 481, 452, 429, 454, 459, 475, 8, 10],
    "😀 naïve ﬁ": [253, 172, 165, 141, 317, 467, 208, 188, 487, 471, 490, 252, 185, 142],
    "a    b   c ▁ d": [467, 432, 468, 431, 272, 431, 490, 470],
    "the the theatre": [485, 474, 471, 281, 281, 302, 296],
    "><><AI><用户>": [430, 430, 429, 430, 287, 454],
}  # fmt: skip
EVERY = [*GOLDEN, "", " ", "\n", "<0x41>", "\u2581", "\x00", "a" * 200, "...。。。......"]


@pytest.fixture(scope="module")
def pieces() -> spm.Pieces:
    return spm.read(standin.sentencepiece_file(standin.pieces()))


def by_the_book(pieces: spm.Pieces, text: str) -> list[int]:
    """Byte-pair encoding as sentencepiece describes it: user-defined pieces first, then the best neighbours."""
    ids = {p.text: i for i, p in enumerate(pieces.pieces)}
    score = {p.text: p.score for p in pieces.pieces if p.type == spm.NORMAL}
    own = sorted((p.text for p in pieces.pieces if p.type == spm.USER_DEFINED), key=len, reverse=True)
    text = text.replace(" ", "\u2581")
    parts: list[tuple[str, bool]] = []
    while text:
        fixed = next((o for o in own if text.startswith(o)), None)
        parts.append((fixed or text[0], fixed is not None))
        text = text[len(parts[-1][0]) :]
    while True:
        heap = [
            (-score[a + b], at)
            for at, ((a, fixed_a), (b, fixed_b)) in enumerate(itertools.pairwise(parts))
            if not fixed_a and not fixed_b and a + b in score
        ]
        if not heap:
            break
        at = heapq.nsmallest(1, heap)[0][1]
        parts[at : at + 2] = [(parts[at][0] + parts[at + 1][0], False)]
    out: list[int] = []
    for part, _ in parts:
        out += [ids[part]] if part in ids else [ids[f"<0x{byte:02X}>"] for byte in part.encode()]
    return out


@pytest.mark.parametrize("text", GOLDEN)
def test_ids_are_those_of_sentencepiece(pieces: spm.Pieces, text: str) -> None:
    assert spm.to_tokenizer(pieces).encode(text, add_special_tokens=False).ids == GOLDEN[text]
    assert by_the_book(pieces, text) == GOLDEN[text]


def test_any_text_gives_the_ids_that_the_book_gives(pieces: spm.Pieces) -> None:
    tokenizer, rng = spm.to_tokenizer(pieces), Random(0)
    texts = EVERY + [
        "".join(rng.choices("aeinorst hecat  \n.!?<>AI用户你好01\t😀", k=rng.randint(1, 30))) for _ in range(400)
    ]
    for text in texts:
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        assert ids == by_the_book(pieces, text), repr(text)
        assert tokenizer.decode(ids, skip_special_tokens=False) == text.replace("\u2581", " ")


def test_a_piece_of_characters_that_are_no_pieces_is_found() -> None:
    """As the flags and some emoji of the release."""
    more = [("🇫🇷", -900.0, standin.NORMAL), ("👍🏽", -901.0, standin.NORMAL)]
    pieces = spm.read(standin.sentencepiece_file([*standin.pieces(), *more]))
    tokenizer = spm.to_tokenizer(pieces)
    for text in ("hello 🇫🇷", "🇫🇷", "a👍🏽b", "🇫 🇷", "👍"):
        assert tokenizer.encode(text, add_special_tokens=False).ids == by_the_book(pieces, text), text
    assert len(tokenizer.encode("🇫🇷", add_special_tokens=False)) == 1


def test_control_pieces_are_never_made_of_letters(pieces: spm.Pieces) -> None:
    tokenizer = spm.to_tokenizer(pieces)
    tokenizer.encode_special_tokens = True
    assert not {0, 1, 2} & set(tokenizer.encode("<s>x</s><unk>", add_special_tokens=False).ids)


def test_added_tokens_stand_behind_the_pieces_and_bos_before_the_text(pieces: spm.Pieces) -> None:
    count = len(pieces.pieces)
    tokenizer = spm.to_tokenizer(pieces, [{"content": "<idle>", "normalized": False, "special": False}], add_bos=1)
    assert tokenizer.encode("<idle>").ids == [1, count]
    assert tokenizer.decode([1, count]) == "<idle>"


FILE = standin.sentencepiece_file(standin.pieces())
SOME = [("<unk>", 0.0, standin.UNKNOWN), ("a", -1.0, standin.NORMAL)]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "no pieces"),
        (b"hello, this is text", "sentencepiece file"),
        (FILE[:-5], "cut off"),
        (FILE[: len(FILE) // 2], "expected"),
        (b"\xff" * 20, "cut off"),
        (standin.sentencepiece_file(standin.pieces(), trainer={3: 1}), "a BPE model"),
        (standin.sentencepiece_file(standin.pieces(), normalizer={2: b"rules"}), "no normalisation"),
        (standin.sentencepiece_file(standin.pieces(), normalizer={3: 1}), "add_dummy_prefix off"),
        (standin.sentencepiece_file(standin.pieces(), normalizer={4: 1}), "remove_extra_whitespaces off"),
        (standin.sentencepiece_file(SOME), "256 byte pieces"),
        (standin.sentencepiece_file([*SOME, ("a", -2.0, standin.NORMAL)], trainer={35: 0}), "same text"),
        (standin.sentencepiece_file(SOME[1:], trainer={35: 0}), "UNKNOWN"),
        (standin.sentencepiece_file([*SOME, ("b", -2.0, 5)], trainer={35: 0}), "UNUSED"),
        (standin.field(1, standin.field(1, b"\xff\xfe") + standin.field(2, 0.0)), "sentencepiece file"),
        (standin.field(1, standin.field(1, 7)), "sentencepiece file"),
        (standin.field(1, 7), "sentencepiece file"),
    ],
)  # fmt: skip
def test_a_file_of_another_kind_is_refused(data: bytes, says: str) -> None:
    with pytest.raises(ModelError, match=says):
        spm.read(data)


def test_random_damage_never_ends_in_anything_but_words() -> None:
    rng = Random(1)
    for _ in range(60):
        data = bytearray(FILE)
        for _ in range(3):
            data[rng.randrange(len(data))] = rng.randrange(256)
        try:
            spm.to_tokenizer(spm.read(bytes(data)))
        except ModelError as error:
            assert "tokenizer.model" in str(error)


def test_a_score_is_a_number_of_four_bytes() -> None:
    data = standin.field(1, standin.field(1, b"a") + standin.field(2, b"abcdefgh"))
    with pytest.raises(ModelError, match="sentencepiece file"):
        spm.read(data)
    assert struct.unpack("<f", standin.field(2, -3.5)[1:]) == (-3.5,)
