"""A TOML file read so that every mistake is found at once, each with its line.

notes = Notes.of(Path("study.toml"))
table = notes.table()
sessions = table.child("tasks").number("sessions", 3, low=1, high=20)
table.close()              # names keys that nobody asked for
notes.problems             # (Problem(line=12, key="tasks.sessions", …), …); reading went on with the defaults
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from duplex_runtime.errors import BadInput

LONGEST_TEXT = 20_000
LANGUAGE = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8})*")

_KEY = r"""(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')"""
_DOTTED = rf"{_KEY}(?:\s*\.\s*{_KEY})*"
_HEADER = re.compile(rf"\s*(\[\[?)\s*({_DOTTED})\s*\]")
_ENTRY = re.compile(rf"\s*({_DOTTED})\s*=")

Part = str | int
Where = tuple[Part, ...]


@dataclass(frozen=True)
class Problem:
    """Something that has to be put right. `line` counts from 1, 0 if there is none; `key` is dotted."""

    file: str
    line: int
    key: str
    message: str

    def __str__(self) -> str:
        place = f"{self.file} line {self.line}" if self.line else self.file
        return f"{place}: {self.key}: {self.message}" if self.key else f"{place}: {self.message}"


class Refused(BadInput):
    """A file has mistakes; `problems` are all of them."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = tuple(problems)


@dataclass(frozen=True)
class Words:
    """A text in several languages. `by_language`: pairs of language and text; "" stands for every language."""

    by_language: tuple[tuple[str, str], ...]

    def of(self, language: str) -> str:
        """The text in a language; if there is none, the first that there is."""
        texts = dict(self.by_language)
        return texts.get(language) or texts.get("") or self.by_language[0][1]

    def lacks(self, languages: Sequence[str]) -> tuple[str, ...]:
        """The languages that have no text of their own; one text for all counts only where there is one language."""
        texts = dict(self.by_language)
        if "" in texts:
            return () if len(languages) == 1 else tuple(languages)
        return tuple(language for language in languages if language not in texts)


@dataclass
class Notes:
    """One file: its values, where they stand, and what is wrong with them."""

    file: str
    values: dict[str, Any]
    lines: dict[Where, int]
    problems: list[Problem] = field(default_factory=list)

    @staticmethod
    def of(path: Path) -> Notes:
        """Raises Refused for a file that is not there or is not TOML."""
        try:
            text = path.read_text(encoding="utf-8")
            return Notes(str(path), tomllib.loads(text), lines_of(text))
        except UnicodeDecodeError as error:
            raise Refused([Problem(str(path), 0, "", f"expected UTF-8, got other bytes ({error.reason})")]) from None
        except OSError as error:
            raise Refused([Problem(str(path), 0, "", f"cannot be read: {error.strerror}")]) from None
        except tomllib.TOMLDecodeError as error:
            found = re.search(r"\(at line (\d+)", str(error))
            line = int(found[1]) if found else 0
            raise Refused([Problem(str(path), line, "", f"not TOML: {error}")]) from None

    def table(self) -> Table:
        """The whole file."""
        return Table(self, (), self.values)

    def add(self, path: Where, message: str) -> None:
        """Note a problem of the value at `path`; it stands at its line, or at that of what it belongs to."""
        self.problems.append(Problem(self.file, self.line(path), dotted(path), message))

    def line(self, path: Where) -> int:
        """The line of the value at `path`, or of the nearest table around it; 0 if nothing of it is there."""
        return next((self.lines[path[:n]] for n in range(len(path), 0, -1) if path[:n] in self.lines), 0)


class Table:
    """A table of the file. Each method takes one value, notes what is wrong with it and then returns the default."""

    def __init__(self, notes: Notes, path: Where, values: dict[str, Any]) -> None:
        self._notes, self._path, self._values = notes, path, values
        self._asked: set[str] = set()

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def problem(self, key: str, message: str) -> None:
        """Note that `key` is wrong; "" for the table itself."""
        self._notes.add((*self._path, key) if key else self._path, message)

    def _take(self, key: str, expected: str, kind: type | tuple[type, ...]) -> Any:
        """The value, or None where it is absent or, noted, of another kind."""
        self._asked.add(key)
        value = self._values.get(key)
        if value is None or (isinstance(value, kind) and not (isinstance(value, bool) and kind is not bool)):
            return value
        self.problem(key, f"expected {expected}, got {value!r:.60}")
        return None

    def text(self, key: str, default: str | None, pattern: str = "", expected: str = "text") -> str:
        """A text that is not empty; `pattern` has to match all of it. Without a default it has to be there."""
        value = self._take(key, expected, str)
        if value is None:
            if default is None and key not in self._values:
                self.problem(key, f"expected {expected}, and there is none: add it")
            return default or ""
        wrong = not value.strip() or len(value) > LONGEST_TEXT or (pattern and not re.fullmatch(pattern, value))
        if wrong and not (value == "" and default == ""):
            self.problem(key, f"expected {expected}, got {value!r:.60}")
            return default or ""
        return str(value)

    def number(self, key: str, default: int, low: int, high: int) -> int:
        """A whole number from `low` to `high`."""
        expected = f"a whole number from {low} to {high}"
        value = self._take(key, expected, int)
        if value is not None and not low <= value <= high:
            self.problem(key, f"expected {expected}, got {value}")
            return default
        return default if value is None else int(value)

    def flag(self, key: str, default: bool) -> bool:
        """True or false."""
        value = self._take(key, "true or false", bool)
        return default if value is None else bool(value)

    def choice(self, key: str, default: str, known: Collection[str]) -> str:
        """One of the known words."""
        value = self._take(key, f"one of {', '.join(known)}", str)
        if value is not None and value not in known:
            self.problem(key, f"expected one of {', '.join(known)}, got {value!r:.60}{_meant(value, known)}")
            return default
        return default if value is None else str(value)

    def choices(
        self, key: str, default: tuple[str, ...], known: Collection[str], few: int, many: int
    ) -> tuple[str, ...]:
        """From `few` to `many` of the known words, none twice; of any words if none are known."""
        some = f"{few}" if few == many else f"{few} to {many}"
        expected = f"a list of {some} of {', '.join(known)}" if known else f"a list of {some} words"
        value = self._take(key, expected, list)
        if value is None:
            return default
        for word in value:
            if not isinstance(word, str) or (known and word not in known):
                self.problem(key, f"expected {expected}, got {word!r:.60} in it{_meant(word, known)}")
                return default
        if len(set(value)) < len(value) or not few <= len(value) <= many:
            self.problem(key, f"expected {expected}, each once, got {value!r:.80}")
            return default
        return tuple(value)

    def words(self, key: str) -> Words | None:
        """A text for every language, or a table of one for each, such as `{en = "…", zh = "…"}`; None if absent."""
        expected = 'text, or a table of it by language such as {en = "…", zh = "…"}'
        value = self._take(key, expected, (str, dict))
        if value is None:
            return None
        texts = {"": value} if isinstance(value, str) else value
        for language, text in texts.items():
            if (language and not LANGUAGE.fullmatch(language)) or not isinstance(text, str) or not text.strip():
                self.problem(key, f"expected {expected}, got { ({language: text} if language else text)!r:.60}")
                return None
        if not texts:
            self.problem(key, f"expected {expected}, got an empty table")
            return None
        return Words(tuple(texts.items()))

    def needed_words(self, key: str) -> Words:
        """Words that have to be there."""
        found = self.words(key)
        if found is None and key not in self._values:
            self.problem(key, 'expected text, or a table such as {en = "…", zh = "…"}, and there is none: add it')
        return found or Words((("", "?"),))

    def child(self, key: str) -> Table:
        """A table in this one; empty if absent."""
        return Table(self._notes, (*self._path, key), self._take(key, f"a table [{key}]", dict) or {})

    def children(self, key: str) -> tuple[Table, ...]:
        """A list of tables in this one; empty if absent."""
        entries = self._take(key, f"a list of tables, each under [[{dotted((*self._path, key))}]]", list) or []
        found = []
        for number, entry in enumerate(entries):
            if isinstance(entry, dict):
                found.append(Table(self._notes, (*self._path, key, number), entry))
            else:
                self._notes.add((*self._path, key, number), f"expected a table, got {entry!r:.60}")
        return tuple(found)

    def close(self) -> None:
        """Note every key that nobody asked for."""
        for key in self._values:
            if key not in self._asked:
                known = f"expected {', '.join(sorted(self._asked))}"
                self.problem(key, f"there is no such key; {known}{_meant(key, self._asked)}")


def dotted(path: Where) -> str:
    """`tasks.sheet[2].text`; entries count from 1."""
    return "".join(f"[{part + 1}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")


def lines_of(text: str) -> dict[Where, int]:
    """Line, from 1, of each header and each key that begins a line of a TOML text.

    What stands inside a text of several lines is passed over. Values in inline tables have no entry of their own.
    """
    found: dict[Where, int] = {}
    counts: dict[tuple[str, ...], int] = {}
    header: Where = ()
    quotes = ""
    for number, line in enumerate(text.splitlines(), 1):
        inside, quotes = quotes, _open_quotes(line, quotes)
        if inside:
            continue
        if match := _HEADER.match(line):
            names = _names(match[2])
            if match[1] == "[[":
                counts[names] = counts.get(names, -1) + 1
            header = _with_counts(names, counts)
            found.setdefault(header, number)
        elif match := _ENTRY.match(line):
            found.setdefault((*header, *_names(match[1])), number)
    return found


def _names(key: str) -> tuple[str, ...]:
    return tuple(name.strip("\"'") for name in re.findall(_KEY, key))


def _with_counts(names: tuple[str, ...], counts: dict[tuple[str, ...], int]) -> Where:
    """The newest entry of each list of tables on the way."""
    path: list[Part] = []
    for n, name in enumerate(names, 1):
        path.append(name)
        if names[:n] in counts:
            path.append(counts[names[:n]])
    return tuple(path)


def _open_quotes(line: str, inside: str) -> str:
    """Which triple quotes are open at the end of a line."""
    for quotes in re.findall(r'"""|\'\'\'', line):
        if not inside:
            inside = quotes
        elif quotes == inside:
            inside = ""
    return inside


def _meant(word: object, known: Collection[str]) -> str:
    near = get_close_matches(str(word), list(known), 1)
    return f" (did you mean {near[0]!r}?)" if near else ""
