"""How well speech was recognised: words that were wrong, left out or added, for each word that was said."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from duplex_runtime.speech.words import spoken


@dataclass(frozen=True)
class Errors:
    """Edits that turn what was said into what was recognised, and the number of words said."""

    wrong: int = 0
    missing: int = 0
    added: int = 0
    words: int = 0

    @property
    def rate(self) -> float:
        """Word error rate; above 1 where more words were added than said. 0 for nothing said and nothing heard."""
        edits = self.wrong + self.missing + self.added
        return edits / self.words if self.words else float(edits > 0)

    def __add__(self, other: Errors) -> Errors:
        return Errors(self.wrong + other.wrong, self.missing + other.missing, self.added + other.added,
                      self.words + other.words)  # fmt: skip


def errors(reference: str, hypothesis: str) -> Errors:
    """The fewest edits between two texts, by spoken words: case, punctuation and digits do not count."""
    said, heard = spoken(reference), spoken(hypothesis)
    row = [Errors(added=n) for n in range(len(heard) + 1)]  # nothing said yet
    for i, word in enumerate(said, 1):
        above, row = row, [Errors(missing=i)]
        for j, other in enumerate(heard, 1):
            same = above[j - 1] if word == other else above[j - 1] + Errors(wrong=1)
            row.append(min(same, above[j] + Errors(missing=1), row[j - 1] + Errors(added=1), key=_edits))
    return row[-1] + Errors(words=len(said))


def word_error_rate(reference: str, hypothesis: str) -> float:
    """Edits for each word of `reference`, see `Errors.rate`."""
    return errors(reference, hypothesis).rate


def total(pairs: Iterable[Sequence[str]]) -> Errors:
    """Of many (reference, hypothesis): the errors together, so that long sentences weigh more than short ones."""
    return sum((errors(reference, hypothesis) for reference, hypothesis in pairs), Errors())


def _edits(e: Errors) -> int:
    return e.wrong + e.missing + e.added
