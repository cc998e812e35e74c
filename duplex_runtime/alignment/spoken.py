"""What people say to the embedded model, as plain sentences: the recogniser's language model is built from them.

    python -c "from duplex_runtime.alignment.spoken import store; store()"      # after the corpus has changed

Only the training side of the hold-out is in it, so that what is measured with held-out wordings is honest.
"""

from __future__ import annotations

import gzip
import itertools
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from duplex_runtime.alignment import dialogues, noise
from duplex_runtime.alignment.corpus import MODEL_PHRASES, Corpus, load
from duplex_runtime.alignment.dialogues import Source
from duplex_runtime.speech.sphinx import SENTENCES
from duplex_runtime.speech.words import spoken

#: How often a wording with places to fill in is filled.
_FILLED = 6
#: One sentence in so many is also said with an opening word, and with a closing one.
_OPENED = 12
#: What people say while the model speaks, and how often for each time that they ask something.
_OFTEN = ("stop", "wait", "backchannels")
_TIMES = 15


def spoken_sentences(corpus: Corpus) -> list[str]:
    """Sentences of spoken words (`speech.words.spoken`) in the order of the alphabet; each once, but for those that
    people say often."""
    whole = {" ".join(spoken(text)) for text in (*_written(corpus), *_steering(corpus), *_filled(corpus))}
    whole.discard("")
    source = Source(corpus)
    often = {" ".join(spoken(text)) for kind in _OFTEN for text in source.phrases(kind)} - {""}
    return sorted([*(whole | set(_opened(sorted(whole)))), *(_TIMES - 1) * sorted(often)])


def store(path: Path = SENTENCES) -> None:
    """Write the sentences of the corpus to the file that the recogniser reads."""
    text = "\n".join(spoken_sentences(load()))
    path.write_bytes(gzip.compress(text.encode(), 9, mtime=0))


def _written(corpus: Corpus) -> Iterator[str]:
    for exchange in (*corpus.facts, *corpus.talk, *corpus.long):
        for entry in (exchange, *exchange.inner):
            yield from (*entry.asks(held_out=False), *entry.leaning)


def _steering(corpus: Corpus) -> Iterator[str]:
    source = Source(corpus)
    for kind in (*corpus.phrases, *corpus.manners):
        if kind not in MODEL_PHRASES | {"noises"}:
            yield from (text.replace("{new}", "") for text in source.phrases(kind))
    for kind, texts in corpus.stories.items():
        if kind == "steer_mood":
            for mood, wordings in texts.items():
                yield from source.said(wordings, f"steer_{mood}")
        elif kind == "steer_end":
            yield from source.said(texts, kind)
    yield from (text.rstrip(",") for text in (*noise._BEFORE, *noise._OPENERS, *noise._AFTER))


def _filled(corpus: Corpus) -> Iterator[str]:
    """Wordings with places to fill in, with values that take turns so that each of them is said by somebody."""
    source = Source(corpus)
    numbers = [dialogues.words(n) for n in range(31)]
    slots: dict[str, Sequence[str]] = {
        **{name: source.said(values, name) for name, values in corpus.unknown["slots"].items()},
        **{"a": numbers, "b": numbers[1:], "op": ("plus", "minus", "times")},
        **{name: [c[name] for c in corpus.stories["characters"]] for name in ("long", "short")},
        "place": corpus.stories["places"],
    }
    for name, wordings in (("sum", dialogues._SUM), ("count", dialogues._COUNT), ("count_from", dialogues._COUNT_FROM),
                           ("count_back", dialogues._COUNT_BACK)):  # fmt: skip
        yield from _fill(source.said(wordings, name), slots, 5 * _FILLED)
    yield from _fill(source.said(corpus.stories["ask"], "story_ask"), slots, _FILLED)
    for name in ("steer_place", "steer_character"):
        yield from _fill(source.said(corpus.stories[name], name), slots, _FILLED)
    for name, values in (("opposite_asks", [w for pair in corpus.words["opposites"] for w in pair]),
                         ("spelling_asks", corpus.words["spelling"])):  # fmt: skip
        yield from _fill(source.said(corpus.words[name], name), {"word": values}, 4 * _FILLED)
    for about in ("name", *source.personal):
        lines = source.remember(about)
        yield from _fill(lines["tell"], {"value": lines["values"]}, _FILLED)
        yield from lines["ask"]
    slots["place"] = source.said(corpus.unknown["slots"]["place"], "place")
    yield from _fill(source.said(corpus.unknown["templates"], "templates"), slots, 3)
    yield from _fill(source.said(corpus.unknown["statements"], "statements"), slots, 2)


def _fill(wordings: Sequence[str], slots: dict[str, Sequence[str]], times: int) -> Iterator[str]:
    turns = {name: itertools.cycle(values) for name, values in slots.items()}
    for wording in wordings:
        for _ in range(times if "{" in wording else 1):
            yield re.sub(r"\{(\w+)\}", lambda m: next(turns[m[1]]), wording)


def _opened(sentences: Sequence[str]) -> Iterator[str]:
    before = itertools.cycle((*noise._BEFORE, *(" ".join(spoken(text)) for text in noise._OPENERS)))
    after = itertools.cycle(noise._AFTER)
    for number, sentence in enumerate(sentences):
        if number % _OPENED == 0:
            yield f"{next(before)} {sentence}"
        elif number % _OPENED == _OPENED // 2:
            yield f"{sentence} {next(after)}"
