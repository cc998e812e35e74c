"""Loads the written corpus (`corpus/README.md` describes the files).

corpus = load()
corpus.exchanges[0].asks(held_out=False)
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from duplex_runtime.alignment.noise import normal
from duplex_runtime.errors import BadInput

FOLDER = Path(__file__).parent / "corpus"

#: Further wordings by the id of what they ask for: `ask` and `leaning`.
Wordings = Mapping[str, Mapping[str, Sequence[str]]]

#: What people say around the name of a topic.
ABOUT = (
    "Tell me about {name}.",
    "Can you tell me about {name}?",
    "What do you know about {name}?",
    "Can you explain {name}?",
    "Please tell me something about {name}.",
    "I want to know more about {name}.",
    "What can you tell me about {name}?",
    "Explain {name} to me.",
    "Let's talk about {name}.",
    "I would like to hear about {name}.",
    "Could you tell me more about {name}?",
    "How about {name}?",
    "Talk about {name}.",
    "I am curious about {name}.",
    "Tell me everything about {name}.",
    "Would you explain {name}, please?",
)
#: More of the same, for training only: they came later and leave alone which wordings are held out.
MORE_ABOUT = (
    "Give me a short introduction to {name}.",
    "What should I know about {name}?",
    "Any facts about {name}?",
    "I would love to learn about {name}.",
    "Do you know anything about {name}?",
    "Say a few words about {name}.",
    "What is interesting about {name}?",
    "Please give me some information about {name}.",
    "Could we talk about {name}?",
    "My daughter wants to know about {name}.",
    "What's the thing with {name}?",
    "Now {name}, please.",
    "Start with {name}.",
    "I need to write about {name}.",
    "Walk me through {name}.",
    "Help me understand {name}.",
)
MORE_HOWTO = (
    "How do you {name}?",
    "Tell me how to {name}.",
    "How to {name}?",
    "Teach me to {name}.",
    "What do I need to do to {name}?",
    "Show me how to {name}.",
    "I don't know how to {name}.",
    "Is there an easy way to {name}?",
    "How should I {name}?",
    "I want to {name}, how does that work?",
    "Explain to me how I can {name}.",
    "Could you explain how to {name}?",
    "Give me instructions to {name}.",
    "I need to {name} today.",
)
MORE_LIST = (
    "List {name}.",
    "Name {name}.",
    "Can you name {name}?",
    "Give me a list of {name}.",
    "I need a list of {name}.",
    "Could you list {name} for me?",
    "Please tell me {name}.",
    "Say {name}, one after the other.",
)
#: Phrases that the model says; all others are the person's, and the last quarter of those is held out.
MODEL_PHRASES = frozenset(
    ("bridges", "ready", "resume_go_on", "stopped", "hush_ok", "hush_back", "nudge_ok", "nudge"),
)


@dataclass(frozen=True)
class Exchange:
    """A question in many wordings and its answer.

    `parts` are spoken in order; an answer that was cut resumes with the part it was cut in. `inner` are
    questions that a listener may throw in, `more` are wordings for training only, and so are `leaning`, which make
    sense only while their topic is explained ("Do they sleep?").
    """

    id: str
    kind: str
    wordings: tuple[str, ...]
    parts: tuple[str, ...]
    inner: tuple[Exchange, ...] = ()
    more: tuple[str, ...] = ()
    leaning: tuple[str, ...] = ()

    @property
    def answer(self) -> str:
        """The whole answer."""
        return " ".join(self.parts)

    def asks(self, held_out: bool) -> tuple[str, ...]:
        """The wordings for training, or the last quarter, which training never sees."""
        cut = len(self.wordings) - max(1, len(self.wordings) // 4)
        return self.wordings[cut:] if held_out else self.wordings[:cut] + self.more


@dataclass(frozen=True)
class Corpus:
    """Everything that was written, by kind. `more`: further lines of what people say by the name of their list, for
    training only."""

    facts: tuple[Exchange, ...]
    talk: tuple[Exchange, ...]
    topics: tuple[Exchange, ...]
    howtos: tuple[Exchange, ...]
    lists: tuple[Exchange, ...]
    phrases: dict[str, list[str]]
    unknown: dict[str, Any]
    stories: dict[str, Any]
    words: dict[str, Any]
    memory: dict[str, Any]
    manners: dict[str, list[str]]
    heard: dict[str, Any]
    more: dict[str, list[str]]

    @property
    def long(self) -> tuple[Exchange, ...]:
        """Answers long enough to interrupt."""
        return self.topics + self.howtos + self.lists


def split(items: Sequence[str], held_out: bool) -> Sequence[str]:
    """The last quarter of what people say, which training never sees, or the rest; short lists are not split."""
    cut = len(items) - len(items) // 4
    return items if len(items) < 8 else items[cut:] if held_out else items[:cut]


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            yield json.loads(line)
        except json.JSONDecodeError as error:
            raise BadInput(f"{path.name} line {number}: expected a JSON object ({error})") from None


def _spread(items: list[str], shift: int) -> list[str]:
    """Rotate, so that another part of shared templates is held out for each topic."""
    shift %= len(items)
    return items[shift:] + items[:shift]


def _topic(index: int, row: dict[str, Any], further: Wordings) -> Exchange:
    about = _spread([t.format(name=row["name"]) for t in ABOUT], 5 * index)
    # own wordings and shared ones alternate, so that the held-out quarter has both
    own = list(row["ask"])
    per = len(about) // len(own)
    wordings = [w for i, ask in enumerate(own) for w in (*about[i * per : (i + 1) * per], ask)]
    inner = tuple(
        _plain("inner", {"id": f"{row['id']}-{i}", **question}, further) for i, question in enumerate(row["questions"])
    )
    more = tuple(w for template in MORE_ABOUT if (w := template.format(name=row["name"])) not in wordings)
    return Exchange(row["id"], "topic", tuple(wordings), tuple(row["sentences"]), inner, (*more, *_asked(row, further)))


def _list(row: dict[str, Any], further: Wordings) -> Exchange:
    *head, last = row["items"]
    parts = [f"{row['intro']} {head[0]},", *(f"{item}," for item in head[1:]), f"and {last}."]
    return Exchange(row["id"], "list", tuple(row["ask"]), tuple(parts), more=_more(MORE_LIST, row, further))


def _howto(row: dict[str, Any], further: Wordings) -> Exchange:
    return Exchange(
        row["id"], "howto", tuple(row["ask"]), tuple(row["sentences"]), more=_more(MORE_HOWTO, row, further)
    )


def _more(templates: Sequence[str], row: dict[str, Any], further: Wordings) -> tuple[str, ...]:
    """Wordings from templates for training, but for those that the entry has itself: they may be held out."""
    own = {normal(w) for w in (*row["ask"], *_asked(row, further))}
    made = (w for t in templates if normal(w := t.format(name=row["name"])) not in own)
    return (*made, *_asked(row, further))


def _asked(row: dict[str, Any], further: Wordings) -> Sequence[str]:
    return further.get(row["id"], {}).get("ask", ())


def _plain(kind: str, row: dict[str, Any], further: Wordings) -> Exchange:
    leaning = further.get(row["id"], {}).get("leaning", ())
    return Exchange(
        row["id"], kind, tuple(row["ask"]), (row["answer"],), more=tuple(_asked(row, further)), leaning=tuple(leaning)
    )


@cache
def load(folder: Path = FOLDER) -> Corpus:
    """Read the whole corpus; raises BadInput with file and line for text that does not parse."""
    topics = [row for path in sorted(folder.glob("topics_*.jsonl")) for row in _lines(path)]
    facts = [row for path in sorted(folder.glob("facts*.jsonl")) for row in _lines(path)]
    further = {row["id"]: row for row in _lines(folder / "wordings.jsonl")}
    whole = ("phrases", "unknown", "stories", "words", "memory", "manners", "heard", "more")
    rest = {name: json.loads((folder / f"{name}.json").read_text(encoding="utf-8")) for name in whole}
    return Corpus(
        facts=tuple(_plain("fact", row, further) for row in facts),
        talk=tuple(_plain("talk", row, further) for row in _lines(folder / "smalltalk.jsonl")),
        topics=tuple(_topic(i, row, further) for i, row in enumerate(topics)),
        howtos=tuple(_howto(row, further) for row in _lines(folder / "howtos.jsonl")),
        lists=tuple(_list(row, further) for row in _lines(folder / "lists.jsonl")),
        **rest,
    )
