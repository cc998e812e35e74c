"""What of a text can be spoken, and where a speaker takes a breath. Pure text, no sound.

speakable("**Sure!** See https://example.org/a 🙂")    # "Sure! See example.org", and where each character came from
breath("Cats sleep, mostly. They")                     # 19: the first phrase is "Cats sleep, mostly."
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection
from dataclasses import dataclass

#: Scripts that an English voice has sounds for, as Unicode names its letters.
LATIN = frozenset({"LATIN"})

#: A comma ends a phrase of at least so many words: shorter ones are said in the breath of what follows.
COMMA_WORDS = 5

# Only such as hardly ever end a sentence.
_ABBREVIATIONS = frozenset(
    "approx capt cf dept dr e.g eg fig gov i.e ie jr lt mr mrs ms mt nos pp prof rev sgt sr st vol vs".split()  # noqa: SIM905
)
_SAID = {
    "&": " and ", "+": " plus ", "=": " equals ", "×": " times ", "÷": " divided by ", "±": " plus or minus ",
    "→": " to ", "⇒": " so ", "≈": " about ", "≤": " at most ", "≥": " at least ", "≠": " is not ", "<": " less than ",
    ">": " more than ", "%": " percent", "°C": " degrees Celsius", "°F": " degrees Fahrenheit", "°": " degrees",
    "²": " squared", "³": " cubed", "½": " one half", "¼": " one quarter", "¾": " three quarters", "@": " at ",
    "\u2018": "'", "\u2019": "'", "\u201c": "", "\u201d": "", '"': "", "«": "", "»": "", "…": ",", "|": ",",
    "—": ", ", "–": ", ", "−": " minus ", "/": "/", "#": " number ", "*": "", "_": " ", "~": "", "`": "", "\\": "",
}  # fmt: skip

# Tried from left to right at every place; what none of them takes is looked at character by character.
_MARKUP = re.compile(
    r"(?P<fence>```.*?(?:```|\Z))"
    r"|(?P<link>!?\[(?P<label>[^\]\n]*)\]\([^)\s]*\))"
    r"|(?P<url>(?:https?://|www\.)(?P<host>[\w.-]*\w)(?:[:/?#][^\s<>()\[\]]*[\w/=])?)"
    r"|(?P<tag></?[A-Za-z][^<>\n]*>)"
    r"|(?P<line>(?:^|(?<=\n))[ \t]*(?:\#{1,6}[ \t]+|>[ \t]?|[-*+•][ \t]+|[-*_]{3,}[ \t]*(?=\n|$)))"
    r"|(?P<range>(?<=\d)[–-](?=\d))"
    r"|(?P<times>(?<=\d)[ ]?\*[ ]?(?=\d))"
    r"|(?P<newline>\s*\n\s*)"
    r"|(?P<hyphen>(?<=\s)-(?=\s))"
    r"|(?P<sign>°[CF]\b|[&+=×÷±→⇒≈≤≥≠<>%°²³½¼¾@\u2018\u2019\u201c\u201d\"«»…|—–−#*_~`\\])",
    re.S,
)
# Nothing ends inside these, even while they are still being written.
_WHOLE = re.compile(r"```.*?(?:```|\Z)|!?\[[^\]\n]*(?:\]\([^)\s]*\)?|\Z)|(?:https?://|www\.)\S*", re.S)
_STOP = re.compile(r"[.?!;:,…]+[\"')\]*_\u201d\u2019]*(?=\s|\Z)|\s*\n")
_WORD_CHARACTER = re.compile(r"\w")


@dataclass(frozen=True)
class Speakable:
    """`text` for a voice. `sources[i]` is where character i of it came from in the original, `sources[-1]` where the
    original ends: one more than `text` has characters. `unspoken` are spans of the original that have no sound."""

    text: str
    sources: tuple[int, ...]
    unspoken: tuple[tuple[int, int], ...]

    @property
    def silent(self) -> bool:
        """Is there no word to be heard?"""
        return not _WORD_CHARACTER.search(self.text)


class _Writer:
    """Collects spoken characters with their sources; white space is written once."""

    def __init__(self) -> None:
        self.characters: list[str] = []
        self.sources: list[int] = []
        self.unspoken: list[tuple[int, int]] = []

    def write(self, text: str, source: int, step: int = 0) -> None:
        """`text`, all of it from `source` (step 0) or character by character from there on (step 1)."""
        for number, character in enumerate(text):
            if character.isspace():
                character = " "
                if not self.characters or self.characters[-1] == " ":
                    continue
            elif character in ",.?!;:" and self.characters[-1:] == [" "]:
                self.characters.pop()
                self.sources.pop()
                if self.characters[-1:] and self.characters[-1] in ",.?!;:" and character == ",":
                    self.write(" ", source)
                    continue
            self.characters.append(character)
            self.sources.append(source + number * step)

    def skip(self, begin: int, end: int) -> None:
        """This part has no sound."""
        if self.unspoken and self.unspoken[-1][1] == begin:
            begin = self.unspoken.pop()[0]
        self.unspoken.append((begin, end))


def speakable(text: str, scripts: Collection[str] = LATIN) -> Speakable:
    """What a voice for `scripts` can say of a text.

    Marks of Markdown, code blocks, tags, emoji and letters of other scripts have no sound; a link is its label, an
    address its host; signs between words get their names; a new line ends a sentence.
    """
    writer = _Writer()
    position = 0
    for found in _MARKUP.finditer(text):
        _plain(text, position, found.start(), scripts, writer)
        _marked(text, found, scripts, writer)
        position = found.end()
    _plain(text, position, len(text), scripts, writer)
    while writer.characters and writer.characters[-1] == " ":
        writer.characters.pop()
        writer.sources.pop()
    return Speakable("".join(writer.characters), (*writer.sources, len(text)), tuple(writer.unspoken))


def _marked(text: str, found: re.Match[str], scripts: Collection[str], writer: _Writer) -> None:
    begin, end = found.span()
    match found.lastgroup:
        case "fence" | "tag":
            writer.skip(begin, end)
            writer.write(" ", begin)
        case "link":
            _plain(text, *found.span("label"), scripts, writer)
        case "url":
            _plain(text, *found.span("host"), scripts, writer)
        case "range":
            writer.write(" to ", begin)
        case "times":
            writer.write(" times ", begin)
        case "newline":
            before = "".join(writer.characters).rstrip()[-1:]
            writer.write(" " if not before or before in ".?!;:," else ". ", begin)
        case "hyphen":
            writer.write(", ", begin)
        case "sign":
            writer.write(_SAID[found["sign"]], begin)
        case _:  # the marks at the beginning of a line
            pass


def _plain(text: str, begin: int, end: int, scripts: Collection[str], writer: _Writer) -> None:
    """Characters one by one: keeps letters of `scripts`, digits and marks of writing."""
    kept = False  # was the letter before kept? Then accents on it are as well
    for position in range(begin, end):
        character = text[position]
        kind = unicodedata.category(character)
        if kind[0] == "L":
            script = unicodedata.name(character, "?").split()[0]
            kept = script in scripts
            if not kept and script == "GREEK" and _alone(text, position):
                writer.write(f" {unicodedata.name(character).split()[3].lower()} ", position)
                continue
        elif kind[0] == "M":
            kept = kept and character != "\ufe0f"
        elif kind == "Nd":
            kept = True
            if not character.isascii():
                writer.write(str(unicodedata.digit(character)), position)
                continue
        else:
            kept = character.isspace() or kind[0] in "ZP" or character in "$€£"
        if kept:
            writer.write(character, position, 1)
        else:
            writer.skip(position, position + 1)


def _alone(text: str, position: int) -> bool:
    around = text[max(0, position - 1) : position] + text[position + 1 : position + 2]
    name = unicodedata.name(text[position]).split()
    return len(name) == 4 and name[2] == "LETTER" and not any(c.isalpha() for c in around)


# — breaths —


def breath(text: str, comma_words: int = COMMA_WORDS) -> int:
    """How many characters the first complete phrase of a growing text has; 0: none is complete yet.

    A phrase ends at . ? ! ; : and at the end of a line, and at a comma once it has `comma_words` words. It never ends
    inside a number, an abbreviation, a link, an address or code, nor where one of them may still be coming.
    """
    spans = [found.span() for found in _WHOLE.finditer(text)]
    for found in _STOP.finditer(text):
        stop = found.start()
        inside = [span for span in spans if span[0] <= stop < span[1]]
        if any(stop < end - 1 or end == len(text) for _, end in inside):
            continue
        if not text[:stop].strip():
            continue
        if text[stop] in ".,:" and not _ends_here(text[: stop + 1], found.end() == len(text)):
            continue
        if text[stop] == "," and len(text[:stop].split()) < comma_words:
            continue
        return found.end()
    return 0


def _ends_here(text: str, newest: bool) -> bool:
    """Does the mark that ends `text` end a phrase? newest: nothing has come behind it yet."""
    word = text[:-1].split()[-1].lstrip("(\"'[\u201c*_") if text[:-1].split() else ""
    if newest and word[-1:].isdigit():
        return False  # 3. may become 3.5
    if newest and word.lower() in ("http", "https"):
        return False
    if text[-1] != ".":
        return True
    if word.isdigit():  # the number of a list: "1. Boil water"
        line = text[:-1].rpartition("\n")[2].strip()
        return line != word
    if word.lower() in _ABBREVIATIONS:
        return False
    return not (len(word.rpartition(".")[2]) == 1 and word[-1:].isalpha())  # J. Bach, U.S.


def whole(text: str) -> int:
    """How many characters of an unfinished tail are whole words: the last one may still go on."""
    end = len(text)
    for found in _WHOLE.finditer(text):
        if found.end() == len(text):
            end = found.start()
    if end == len(text) and text[-1:].strip() and not re.search(r"(?<!\d)[.,:]\Z|[?!;)\]…]\Z", text):
        end = max(text.rfind(" "), text.rfind("\n")) + 1
    return end if text[:end].strip() else 0


def mark_at_end(text: str) -> str:
    """The mark that ends a phrase, one of . ? ! ; : , or "" if it is open."""
    stripped = text.rstrip().rstrip("\"')]*_\u201d\u2019")
    mark = stripped[-1:]
    if not mark or mark not in ".?!;:,…" or (mark in ".:," and not _ends_here(stripped, False)):
        return ""
    return "," if mark == "…" else mark
