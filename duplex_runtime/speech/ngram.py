"""A small language model for a recogniser: n-grams with interpolated Kneser-Ney smoothing, as an ARPA file.

    lines = arpa([["tell", "me", "more"], …], order=3, words=vocabulary)

Chen and Goodman 1998, "An Empirical Study of Smoothing Techniques for Language Modeling", section 4.1.6: one discount
an order, and what the discount frees goes to the shorter context, whose counts are in how many contexts it was seen.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Sequence

Gram = tuple[str, ...]

_LEAST = -99.0  # log10 of what never happens


def arpa(sentences: Sequence[Sequence[str]], order: int, words: Collection[str]) -> Iterator[str]:
    """Lines of an ARPA file. A sentence is cut where it has a word that is not in `words`: what stands on both sides
    of it is learned, but not across. Words that no sentence has are left out."""
    tables = [*_tables(sentences, order, words)]
    kept = {word for (word,) in tables[0]} - {"<s>"}
    lower: dict[Gram, float] = {}
    probabilities: list[dict[Gram, float]] = []
    weights: list[dict[Gram, float]] = []
    for counts in tables:
        found, weight = _smooth(counts, lower, len(kept))
        probabilities.append(found)
        weights.append(weight)  # of the contexts, which are grams of the order below
        lower = found
    probabilities[0][("<s>",)] = 0.0
    yield "\\data\\"
    for n, table in enumerate(probabilities, 1):
        yield f"ngram {n}={len(table)}"
    for n, table in enumerate(probabilities, 1):
        yield ""
        yield f"\\{n}-grams:"
        back = weights[n] if n < order else {}
        for gram in sorted(table):
            p = math.log10(table[gram]) if table[gram] else _LEAST
            tail = f" {math.log10(back[gram]) if gram in back else 0.0:.4f}" if n < order else ""
            yield f"{p:.4f} {' '.join(gram)}{tail}"
    yield ""
    yield "\\end\\"


def _tables(sentences: Sequence[Sequence[str]], order: int, words: Collection[str]) -> list[Counter[Gram]]:
    """Counts of the grams of each length: of the longest how often, of the shorter after how many words."""
    known = frozenset((*words, "<s>", "</s>"))
    counts: list[Counter[Gram]] = [Counter() for _ in range(order)]
    for sentence in sentences:
        for run in _runs(("<s>", *sentence, "</s>"), known):
            for n in range(1, order + 1):
                counts[n - 1].update(zip(*(run[i:] for i in range(n)), strict=False))
    for n in range(order - 1):
        # a gram at the beginning of a sentence has no word before it: its plain count stands
        seen = Counter({gram: count for gram, count in counts[n].items() if gram[0] == "<s>"})
        seen.update(gram[1:] for gram in counts[n + 1])
        counts[n] = Counter({gram: seen.get(gram, 1) for gram in counts[n]})
    return counts


def _runs(sentence: Sequence[str], known: frozenset[str]) -> Iterator[Sequence[str]]:
    start = 0
    for i, word in enumerate(sentence):
        if word not in known:
            yield sentence[start:i]
            start = i + 1
    yield sentence[start:]


def _smooth(counts: Counter[Gram], lower: dict[Gram, float], size: int) -> tuple[dict[Gram, float], dict[Gram, float]]:
    """(probability of each gram, weight of the shorter gram behind each context). `size`: number of words."""
    once = sum(count == 1 for count in counts.values())
    twice = sum(count == 2 for count in counts.values())
    discount = once / (once + 2 * twice) if once and twice else 0.5
    total: dict[Gram, int] = defaultdict(int)
    kinds: dict[Gram, int] = defaultdict(int)
    for gram, count in counts.items():
        if gram != ("<s>",):  # nothing is followed by the beginning
            total[gram[:-1]] += count
            kinds[gram[:-1]] += 1
    weight = {context: discount * kinds[context] / total[context] for context in total}
    found = {
        gram: (count - discount) / total[gram[:-1]] + weight[gram[:-1]] * (lower[gram[1:]] if gram[1:] else 1 / size)
        for gram, count in counts.items()
        if gram != ("<s>",)
    }
    return found, weight
