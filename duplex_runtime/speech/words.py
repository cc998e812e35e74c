"""Text as it is spoken: lower-case words with their apostrophes, numbers in words, nothing else.

spoken("What's 7 + 5?")      # ["what's", "seven", "plus", "five"]
"""

from __future__ import annotations

import re
import unicodedata

_ONES = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
    *("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
)
_TENS = ("", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_SCALES = ((1_000_000_000, "billion"), (1_000_000, "million"), (1_000, "thousand"), (100, "hundred"))
_SIGNS = {"+": "plus", "*": "times", "=": "equals", "%": "percent", "&": "and"}
#: A number (a dot or comma only between digits), a word, or a sign that has a name.
_PIECE = re.compile(r"\d+(?:[.,]\d+)*|[a-z]+(?:'[a-z]+)*'?|[+*=%&]")
#: Between two numbers a dash is a minus.
_MINUS = re.compile(r"(?<=\d)\s*[-−–]\s*(?=\d)")


def number_words(number: int) -> list[str]:
    """A number from 0 to 999,999,999,999 as one says it, without "and": 120 is one hundred twenty."""
    for size, name in _SCALES:
        if number >= size:
            rest = number % size
            return [*number_words(number // size), name, *(number_words(rest) if rest else ())]
    if number < 20:
        return [_ONES[number]]
    return [_TENS[number // 10], *([_ONES[number % 10]] if number % 10 else ())]


def spoken(text: str) -> list[str]:
    """The words of `text` as they are spoken; "" and mere signs have none."""
    text = _MINUS.sub(" minus ", text.lower().replace("’", "'").replace("×", "*"))
    text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()  # é is e
    words: list[str] = []
    for piece in _PIECE.findall(text):
        if piece[0].isdigit():
            words += _number(piece)
        elif piece in _SIGNS:
            words.append(_SIGNS[piece])
        else:
            words.append(piece.rstrip("'"))
    return words


def _number(digits: str) -> list[str]:
    whole, _, fraction = digits.replace(",", "").partition(".")
    if len(whole) > 12 or (len(whole) > 1 and whole[0] == "0"):  # no quantity: a telephone number, a code
        words = [_ONES[int(d)] for d in whole]
    else:
        words = number_words(int(whole))
    return [*words, *(("point", *(_ONES[int(d)] for d in fraction if d.isdigit())) if fraction else ())]
