"""How people really type: no capitals, no end mark, informal spelling, slips of the fingers.

Every function is pure: text and a random generator in, text out.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from random import Random

_INFORMAL = (
    (r"\bWhat is\b", "What's"),
    (r"\bwhat is\b", "what's"),
    (r"\byou\b", "u"),
    (r"\b[Pp]lease\b", "pls"),
    (r"\bare\b", "r"),
    (r"\bI am\b", "im"),
    (r"\bdo not\b", "dont"),
    (r"\bgoing to\b", "gonna"),
    (r"\bwant to\b", "wanna"),
    (r"\bbecause\b", "cause"),
    (r"\babout\b", "abt"),
    (r"\b[Tt]ell me\b", "tellme"),
)
#: Keys beside a key.
NEIGHBOURS = {
    "a": "sq", "b": "vn", "c": "xv", "d": "sf", "e": "wr", "f": "dg", "g": "fh", "h": "gj", "i": "uo",
    "j": "hk", "k": "jl", "l": "ko", "m": "n", "n": "bm", "o": "ip", "p": "o", "q": "w", "r": "et",
    "s": "ad", "t": "ry", "u": "yi", "v": "cb", "w": "qe", "x": "zc", "y": "tu", "z": "x",
}  # fmt: skip
_BEFORE = ("hey", "ok", "okay", "so", "um", "hi", "well", "please", "and", "oh", "alright", "hello", "now", "uh")
_OPENERS = (
    "I have a question,",
    "One thing I would like to know,",
    "Do you happen to know,",
    "I was wondering,",
    "I wonder,",
    "My question is,",
    "Maybe you know,",
    "I need your help,",
    "Let me ask you something,",
    "Here is what I want to know,",
    "Could you tell me,",
    "You know what,",
    "I just thought of something,",
    "A friend asked me",
    "Somebody wanted to know",
    "What I mean is",
    "Sorry, but",
    "Right, so",
    "Good,",
    "Listen,",
)
_SMALL = frozenset(("the", "a", "an", "is", "are", "do", "does", "of", "to", "me", "in", "it", "can", "please"))
_AFTER = ("please", "thanks", "then", "for me", "if you can", "now", "again")


def typo(text: str, rng: Random) -> str:
    """One slip: a neighbouring key, a letter lost, doubled or swapped."""
    places = [i for i, c in enumerate(text) if c.isalpha() and i]
    if not places:
        return text
    i = rng.choice(places)
    c = text[i].lower()
    kind = rng.randrange(4)
    if kind == 0:
        return text[:i] + rng.choice(NEIGHBOURS.get(c, "e")) + text[i + 1 :]
    if kind == 1:
        return text[:i] + text[i + 1 :]
    if kind == 2:
        return text[:i] + c + text[i:]
    return text[: i - 1] + text[i] + text[i - 1] + text[i + 1 :] if text[i - 1] != " " else text


def informal(text: str, rng: Random) -> str:
    """Some words in their chat spelling."""
    for pattern, short in _INFORMAL:
        if rng.random() < 0.5:
            text = re.sub(pattern, short, text)
    return text


def misheard(text: str, rng: Random, pairs: Sequence[Sequence[str]]) -> str:
    """One word as a speech recogniser might write it. pairs: (right, heard) in lower case."""
    found = [(right, heard) for right, heard in pairs if re.search(rf"\b{re.escape(right)}\b", text.lower())]
    if not found:
        return text
    right, heard = rng.choice(found)
    return re.sub(rf"\b{re.escape(right)}\b", heard, text, count=1, flags=re.IGNORECASE)


def reworded(text: str, rng: Random, groups: Sequence[Sequence[str]]) -> str:
    """One word by another of its group; with none known, or now and then, a small word is left out."""
    low = text.lower()
    found = [(word, group) for group in groups for word in group if re.search(rf"\b{re.escape(word)}\b", low)]
    if found and rng.random() < 0.7:
        word, group = rng.choice(found)
        other = rng.choice([w for w in group if w != word])
        return re.sub(rf"\b{re.escape(word)}\b", other, text, count=1, flags=re.IGNORECASE)
    words = text.split()
    small = [i for i, w in enumerate(words[:-1]) if w.lower() in _SMALL]
    if small and len(words) > 3:
        del words[rng.choice(small)]
    return " ".join(words)


def bare(text: str) -> str:
    """No end mark, no commas or apostrophes: what a speech recogniser or a hurried person writes."""
    return re.sub(r"[,'’:;]", "", text).rstrip(".?! ") or text


def as_typed(text: str, rng: Random, bare_share: float = 0.4) -> str:
    """A written sentence as somebody might type it; never nothing."""
    written = text
    opening = rng.random()
    if opening < 0.12:
        text = f"{rng.choice(_BEFORE)}{rng.choice((',', ''))} {text}"
    elif opening < 0.2:
        text = f"{rng.choice(_OPENERS)} {text}"
    if rng.random() < 0.07 and text[-1] in ".?":
        text = f"{text[:-1]} {rng.choice(_AFTER)}{text[-1]}"
    if rng.random() < 0.1:
        text = informal(text, rng)
    if rng.random() < bare_share:
        text = bare(text)
    elif rng.random() < 0.15:
        text = text.replace(",", "").replace("'", "")
    if rng.random() < 0.12:
        text = typo(text, rng)
        if rng.random() < 0.3:
            text = typo(text, rng)
    return text if text.strip() else written


def normal(text: str) -> str:
    """Lower case, no punctuation: for comparing sentences."""
    return re.sub(r"[^a-z0-9 ]", "", " ".join(text.lower().split()))


def made_up(rng: Random) -> str:
    """A name that nobody has: two or three syllables."""
    onset, rhyme = (
        "b d f g h j k l m n p r s t v w z br ch cl dr fl gr kr pl sh sl st th tr",
        "a e i o u ai ea ee ia oo",
    )
    ends = ("", "", "", "n", "r", "l", "s", "m", "k", "t", "x", "nd", "tte", "ck")
    syllables = (rng.choice(onset.split()) + rng.choice(rhyme.split()) for _ in range(rng.choice((2, 2, 2, 3))))
    return ("".join(syllables) + rng.choice(ends)).capitalize()


#: Capitalised words at the edge of a sentence that call nobody.
_NOBODY = frozenset(
    """Yes No Sorry Okay Ok Hi Hey Hello Oh Well Thanks Right Good Down Here Now Wait Please Not Alright Yeah Sure Stop
    Look Listen True Great Fine Bye Ah Hm Hmm Duplex""".split()  # noqa: SIM905
)
_CALLED = re.compile(r"^[A-Z][a-z]+(?=,)|(?<=, )[A-Z][a-z]+(?=[.?!]*$)")


def renamed(text: str, rng: Random) -> str:
    """`text` to somebody else: whom it calls by name at its beginning or end gets another one, that nobody has."""
    return _CALLED.sub(lambda found: found[0] if found[0] in _NOBODY else made_up(rng), text)
