"""How a person types a sentence: words at a human pace, with pauses where they think.

at, script = 0.5, []
at = type_text(script, "tell me about whales", at, rng)      # the time of the last key
"""

from __future__ import annotations

from random import Random

from duplex_runtime.events import Input, UserText

#: Seconds a word takes: a beginning, and a share for each letter (about 60 to 90 words a minute).
_WORD, _LETTER = (0.12, 0.3), (0.05, 0.09)


def type_text(
    script: list[tuple[float, Input]],
    text: str,
    at: float,
    rng: Random,
    pauses: dict[int, float] | None = None,
    space: bool = False,
) -> float:
    """Append `text` word by word from `at` on; returns when the last key was pressed.

    pauses: seconds of thinking before the word of that number. space: a space is typed behind the last word.
    """
    words = text.split()
    for number, word in enumerate(words):
        at += (pauses or {}).get(number, 0.0)
        if number:
            at += rng.uniform(*_WORD) + len(word) * rng.uniform(*_LETTER)
        last = number == len(words) - 1
        script.append((round(at, 3), UserText(word if last and not space else f"{word} ")))
    return round(at, 3)
