"""Where turn-based dialogues come from: a JSONL file (also .gz), a Parquet file, or a data set of the hub.

    faults = Faults(stop=False)
    for dialogue in read("talks.jsonl", faults):
        dialogue.turns[0].user, dialogue.turns[0].assistant

A row is told apart by its keys: {"messages": [{"role", "content"}]}, {"conversations": [{"from", "value"}]},
{"data": [user, assistant, user, …]} as in UltraChat, or {"output": [{"role", "content"}]}. In the last shape a talk may
be in slices already, with <idle> for silence: that is a row, and stays one.
"""

from __future__ import annotations

import gzip
import itertools
import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from duplex_runtime.errors import BadInput

#: Characters of a message; more is no conversation.
MAX_MESSAGE = 20_000
#: Faults that are told one by one; the rest is counted.
_TOLD = 20
_ROLES = {"user": "user", "human": "user", "assistant": "assistant", "gpt": "assistant", "system": "system"}
_SHAPES = '{"messages": [{"role": "user", "content": "…"}, {"role": "assistant", "content": "…"}]}'


@dataclass(frozen=True)
class Turn:
    """A message and its answer, with single spaces."""

    user: str
    assistant: str


@dataclass(frozen=True)
class Dialogue:
    """One or more turns."""

    turns: tuple[Turn, ...]


@dataclass(frozen=True)
class Sliced:
    """A talk that is in slices already: a row that `row_pairs` of data.py reads."""

    row: dict[str, Any]


@dataclass
class Faults:
    """What is wrong with a source: told on standard error, and skipped, or refused (`stop`)."""

    stop: bool
    count: int = 0

    def add(self, where: str, what: str) -> None:
        """Something at `where` (file and line) is not as it should be; raises BadInput if it shall stop."""
        if self.stop:
            raise BadInput(f"{where}: {what}; correct it, or leave such rows out with --on-bad skip")
        self.count += 1
        if self.count <= _TOLD:
            print(f"{where}: {what}; left out", file=sys.stderr)
        elif self.count == _TOLD + 1:
            print("more rows are left out; they are counted", file=sys.stderr)


def read(source: str, faults: Faults) -> Iterator[Dialogue | Sliced]:
    """The talks of `source`: a file's path, or hub:OWNER/NAME or hub:OWNER/NAME@SPLIT."""
    for where, row in _rows(source, faults):
        try:
            yield Sliced(sliced(row)) if is_sliced(row) else dialogue_of(row)
        except BadInput as error:
            faults.add(where, str(error))


def _rows(source: str, faults: Faults) -> Iterator[tuple[str, Any]]:
    """(where, row) of each row that parses."""
    if source.startswith("hub:"):
        yield from _hub_rows(source)
        return
    path = Path(source)
    if not path.is_file():
        raise BadInput(
            f"{source}: expected corpus, hub:OWNER/NAME, or the path of a .jsonl, .jsonl.gz or .parquet file"
        )
    if path.suffix == ".parquet":
        yield from _parquet_rows(path)
        return
    number = 0
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as lines:
            for number, raw in enumerate(lines, 1):
                if not raw.strip():
                    continue
                where = f"{path} line {number}"
                try:
                    yield where, json.loads(raw.decode("utf-8"))
                except UnicodeDecodeError as error:
                    faults.add(where, f"expected UTF-8, got the byte 0x{raw[error.start]:02x}")
                except (ValueError, RecursionError):
                    end = "" if raw.endswith(b"\n") else " (the file seems to be cut here)"
                    faults.add(where, f"expected a JSON object, got {raw[:40].decode('utf-8', 'replace')!r}{end}")
    except (OSError, EOFError) as error:  # a .gz that is cut or none
        faults.add(f"{path} line {number + 1}", f"expected a readable file ({error})")


def _parquet_rows(path: Path) -> Iterator[tuple[str, Any]]:
    try:
        from pyarrow import ArrowInvalid
        from pyarrow.parquet import ParquetFile
    except ImportError:
        raise BadInput("reading Parquet needs pyarrow: pip install 'duplex-arena[train]'") from None
    try:
        file = ParquetFile(path)
    except (ArrowInvalid, OSError) as error:
        raise BadInput(f"{path}: expected a Parquet file ({error})") from None
    number = 0
    for batch in file.iter_batches(256):
        for row in batch.to_pylist():
            number += 1
            yield f"{path} row {number}", row


def _hub_rows(source: str) -> Iterator[tuple[str, Any]]:
    try:
        from datasets import load_dataset
    except ImportError:
        raise BadInput("data sets of the hub need datasets: pip install 'duplex-arena[train]'") from None
    name, _, split = source.removeprefix("hub:").partition("@")
    try:
        rows: Iterable[Any] = load_dataset(name, split=split or "train", streaming=True)
        for number, row in enumerate(rows, 1):
            yield f"{source} row {number}", row
    except Exception as error:  # the hub, the network, a script of the data set: every fault becomes one message
        raise BadInput(f"{source}: the data set does not load ({type(error).__name__}: {error})") from None


def is_sliced(row: Any) -> bool:
    """Is one of its messages silence?"""
    output = row.get("output") if isinstance(row, dict) else None
    return isinstance(output, list) and any(isinstance(m, dict) and m.get("content") == "<idle>" for m in output)


def sliced(row: dict[str, Any]) -> dict[str, Any]:
    """What of the row is read later; raises BadInput if it is not in order."""
    from duplex_runtime.alignment.data import row_pairs

    row = {key: row.get(key) for key in ("output", "weights", "ends")}
    try:
        row_pairs("row", row, str.split)
    except (TypeError, ValueError) as error:
        raise BadInput(f"expected weights and ends, one a slice of the model, or none ({error})") from None
    return row


def dialogue_of(row: Any) -> Dialogue:
    """The turns of a row; raises BadInput that says what is wrong with it."""
    messages = _messages(row)
    if messages and messages[0][0] == "system":
        messages = messages[1:]
    if not messages:
        raise BadInput("expected messages, got none")
    for number, (role, text) in enumerate(messages, 1):
        expected = "user" if number % 2 else "assistant"
        if role != expected:
            raise BadInput(f"message {number}: expected one of the {expected}, got another of the {role}")
        if not text:
            raise BadInput(f"message {number}: expected words, got none")
        if len(text) > MAX_MESSAGE:
            raise BadInput(f"message {number}: expected at most {MAX_MESSAGE} characters, got {len(text)}")
        if "<idle>" in text:
            raise BadInput(f"message {number}: expected plain words, got the marker <idle>")
    if len(messages) < 2:
        raise BadInput("expected an answer, got a single message")
    texts = [text for _, text in messages]
    return Dialogue(tuple(Turn(u, a) for u, a in zip(texts[::2], texts[1::2], strict=False)))


def _messages(row: Any) -> list[tuple[str, str]]:
    """(role, text) of each message, texts with single spaces."""
    if not isinstance(row, dict):
        raise BadInput(f"expected an object like {_SHAPES}, got {type(row).__name__}")
    for key, role_key, text_key in (("messages", "role", "content"), ("conversations", "from", "value"),
                                    ("output", "role", "content")):  # fmt: skip
        if isinstance(row.get(key), list):
            return [_message(n, m, role_key, text_key) for n, m in enumerate(row[key], 1)]
    if isinstance(row.get("data"), list):
        roles = itertools.cycle(("user", "assistant"))
        return [(role, _text(n, m)) for n, (role, m) in enumerate(zip(roles, row["data"], strict=False), 1)]
    raise BadInput(f"expected an object like {_SHAPES}, got the keys {sorted(map(str, row))[:8]}")


def _message(number: int, message: Any, role_key: str, text_key: str) -> tuple[str, str]:
    role = message.get(role_key) if isinstance(message, dict) else None
    if role not in _ROLES:
        raise BadInput(f"message {number}: expected {role_key!r} to be one of {sorted(_ROLES)}, got {role!r}")
    return _ROLES[role], _text(number, message.get(text_key))


def _text(number: int, text: Any) -> str:
    if not isinstance(text, str):
        raise BadInput(f"message {number}: expected text, got {type(text).__name__}")
    return " ".join(text.split())
