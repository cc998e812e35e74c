"""What a system is saying: its tokens, and when each is seen or heard by the person."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field


def inside_word(seen: str, unseen: str) -> bool:
    """Does the text of the next token go on with a word of the one before?"""
    return seen[-1:].isalnum() and unseen[:1].isalnum() and (seen[-1:] + unseen[:1]).isascii()


@dataclass
class Saying:
    """What is said in one slice. `shown_at[i]` is when token i is (to be) seen or heard; `begins` counts the
    characters of the answer before it."""

    response_id: str
    slice: int
    begins: int = 0
    tokens: list[int] = field(default_factory=list)
    shown_at: list[float] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    finished: bool = False

    def add(self, token: int, text: str, shown_at: float) -> None:
        """One more token."""
        self.tokens.append(token)
        self.texts.append(text)
        self.shown_at.append(shown_at)

    @property
    def text(self) -> str:
        """All of it."""
        return "".join(self.texts)

    def heard(self, at: float) -> int:
        """How many tokens were seen or heard by `at`."""
        return sum(t <= at for t in self.shown_at)

    def whole_words(self, at: float) -> int:
        """How many of them are whole words: nobody goes on from half a word. (Only in scripts with spaces.)"""
        count = self.heard(at)
        while 0 < count < len(self.texts) and inside_word(self.texts[count - 1], self.texts[count]):
            count -= 1
        return count

    def cut(self, count: int) -> str:
        """Keep the first `count` tokens; the text of the others."""
        unheard = "".join(self.texts[count:])
        for values in (self.tokens, self.shown_at, self.texts):
            del values[count:]
        self.finished = False
        return unheard


def follow_playback(sayings: Iterable[Saying], characters: int, at: float, character_seconds: float) -> float:
    """The first `characters` of an answer have been heard by `at`: what lies before is heard, what lies behind will be,
    at `character_seconds` for each of its characters. Returns when the last of it will have been heard.

    sayings: of one answer, in order; those that lie wholly before may be missing.
    """
    free_at = at
    for saying in sayings:
        end = saying.begins
        for i, text in enumerate(saying.texts):
            end += len(text)
            if end <= characters:
                saying.shown_at[i] = min(saying.shown_at[i], at)
            else:
                free_at += len(text) * character_seconds
                saying.shown_at[i] = free_at
    return free_at
