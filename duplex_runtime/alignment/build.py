"""`duplex data build`: any turn-based dialogues → a folder of duplex rows. Talks that are in slices already stay so.

    duplex data build --source talks.jsonl --out rows
    duplex data build --source hub:HuggingFaceH4/ultrachat_200k@train_sft --rows 100000 --out rows

OUT/rows-00000.jsonl (or .parquet) …   rows, one shard for so many dialogues; opens with `datasets`
OUT/build.json                         settings, and in the end counts and shares
OUT/shards.jsonl                       what is in each complete shard

Dialogues are read once and never all held; each shard is made by one worker and appears under its name only when it
is complete, so that a run that was stopped at any moment goes on behind its last shard and ends with the same files.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import cache
from itertools import chain, islice
from pathlib import Path
from random import Random
from typing import Any

from tqdm import tqdm

from duplex_runtime.alignment.corpus import load
from duplex_runtime.alignment.data import row_pairs
from duplex_runtime.alignment.dialogues import Source
from duplex_runtime.alignment.rewrite import Rewriter
from duplex_runtime.alignment.sources import Dialogue, Faults, Sliced, read
from duplex_runtime.alignment.streams import duplex_talk, extend
from duplex_runtime.alignment.weave import KINDS, Plan, WordTable, as_row, make_row
from duplex_runtime.errors import BadInput

#: Dialogues of a shard; also those that a row's neighbours are drawn from.
SHARD = 2000
_PLAN = Plan()
#: Tokens of a row made from the written corpus, about.
_TALK = 400
FORMATS = ("jsonl", "parquet")
#: Kind of the rows that were in slices already.
SLICED = "sliced"


@dataclass(frozen=True)
class Settings:
    """What a build is: a second run into the same folder must have the same.

    rows: most rows, 0 for all. turns: leave the talks turn-based (whole messages, whole answers).
    """

    source: str
    tokenizer: str = "embedded"
    plan: Plan = _PLAN
    rows: int = 0
    format: str = "jsonl"
    turns: bool = False


@dataclass
class Counts:
    """What is in some rows: rows of each kind, pairs, tokens of the model, pairs in which it is silent."""

    rows: Counter[str]
    pairs: int = 0
    tokens: int = 0
    idle: int = 0

    def add(self, row: Mapping[str, Any], table: WordTable) -> None:
        """Count a row."""
        said = [m["content"] for m in row["output"][1::2]]
        self.rows[row["kind"]] += 1
        self.pairs += len(said)
        self.idle += sum(text == "<idle>" for text in said)
        self.tokens += sum(table.tokens(table.encode(text)) for text in said if text != "<idle>")

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.rows + other.rows, self.pairs + other.pairs, self.tokens + other.tokens, self.idle + other.idle
        )


# — one shard, in a worker —


@cache
def _tokens_of(tokenizer: str) -> Callable[[str], int]:
    """How many tokens a word with a space before it takes."""
    if tokenizer == "embedded":
        from duplex_runtime.models.load import EMBEDDED_FOLDER
        from duplex_runtime.models.vocabulary import TokenizerFile

        file = TokenizerFile(EMBEDDED_FOLDER / "tokenizer.json")
        return cache(lambda word: len(file.encode(word)))
    from transformers import AutoTokenizer

    try:
        hub = AutoTokenizer.from_pretrained(tokenizer, trust_remote_code=False)
    except Exception as error:  # files from outside, or no network: every fault becomes one message
        raise BadInput(f"--tokenizer {tokenizer}: it does not load ({type(error).__name__}: {error})") from None
    return cache(lambda word: len(hub.encode(f" {word}", add_special_tokens=False)))


def make_shard(
    number: int,
    first: int,
    dialogues: Sequence[Dialogue | Sliced] | int,
    settings: Settings,
    phrases: Mapping[str, Sequence[str]],
    out: Path,
) -> Counts:
    """Write shard `number`, whose first row is `first`; dialogues is a number for talks from the written corpus."""
    table = WordTable(_tokens_of(settings.tokenizer))
    counts = Counts(Counter())

    def made() -> Iterator[dict[str, Any]]:
        if isinstance(dialogues, int):
            for own in range(dialogues):
                yield _corpus_row(first + own, settings.plan, table)
            return
        whole = [dialogue for dialogue in dialogues if isinstance(dialogue, Dialogue)]
        own = 0
        for index, dialogue in enumerate(dialogues, first):
            if isinstance(dialogue, Sliced):
                yield as_row(index, SLICED, row_pairs(f"row {index}", dialogue.row, table.encode), table)
                continue
            if settings.turns:
                yield _turn_row(index, dialogue)
            else:
                yield make_row(index, own, whole, settings.plan, phrases, table)
            own += 1

    def rows() -> Iterator[dict[str, Any]]:
        for row in made():
            counts.add(row, table)
            yield row

    name = f"rows-{number:05}.{settings.format}"
    part = out / f".{name}.part"
    _write(part, rows(), settings.format)
    part.replace(out / name)
    return counts


def _corpus_row(index: int, plan: Plan, table: WordTable) -> dict[str, Any]:
    talk = duplex_talk(_written(), table.encode, Random(f"{plan.seed}-{index}"), None)
    talk.fit = table.fit
    while sum(4 + len(pair.model) for pair in talk.pairs) < _TALK:
        extend(talk)
    return as_row(index, "corpus", talk.pairs, table)


@cache
def _written() -> Source:
    return Source(load())


def _turn_row(index: int, dialogue: Dialogue) -> dict[str, Any]:
    output = []
    for turn in dialogue.turns:
        output.append({"role": "user", "content": turn.user})
        output.append({"role": "assistant", "content": turn.assistant})
    turns = len(dialogue.turns)
    return {"id": index, "kind": "turns", "output": output, "weights": [1.0] * turns, "ends": [True] * turns}


def _write(path: Path, rows: Iterable[dict[str, Any]], format_: str) -> None:
    if format_ == "jsonl":
        with path.open("w", encoding="utf-8") as file:
            for row in rows:
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
        return
    import pyarrow
    from pyarrow import parquet

    parquet.write_table(pyarrow.Table.from_pylist(list(rows)), path)


# — all shards —


class Build:
    """A build into a folder, new or gone on with."""

    def __init__(self, settings: Settings, out: Path) -> None:
        if settings.format not in FORMATS:
            raise BadInput(f"--format: expected one of {', '.join(FORMATS)}, got {settings.format!r}")
        if settings.source == "corpus" and settings.rows < 1:
            raise BadInput("--rows: expected how many talks to make from the corpus, got none")
        self.settings, self.out = settings, out
        self.counts: list[Counts] = []
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BadInput(f"{out}: expected a folder that can be made ({error})") from None
        self._about = out / "build.json"
        self._log = out / "shards.jsonl"
        self._take_up()

    def _take_up(self) -> None:
        wanted = json.loads(json.dumps(asdict(self.settings)))
        if self._about.exists():
            made = json.loads(self._about.read_text(encoding="utf-8"))["settings"]
            if made != wanted:
                other = sorted(key for key in wanted if made.get(key) != wanted[key])
                raise BadInput(f"{self.out}: was made with other settings ({', '.join(other)}); give another --out")
        elif any(self.out.glob("rows-*")):
            raise BadInput(f"{self.out}: there are rows without build.json; give another --out")
        self._describe({})
        lines = self._log.read_bytes().split(b"\n")[:-1] if self._log.exists() else []  # a torn tail is no line
        for number, line in enumerate(lines):
            values = json.loads(line)
            if not self._shard(number).exists():
                break
            self.counts.append(Counts(Counter(values["rows"]), values["pairs"], values["tokens"], values["idle"]))
        self._log.write_bytes(b"".join(line + b"\n" for line in lines[: len(self.counts)]))

    def _shard(self, number: int) -> Path:
        return self.out / f"rows-{number:05}.{self.settings.format}"

    def _describe(self, result: Mapping[str, Any]) -> None:
        part = self._about.with_suffix(".part")
        part.write_text(json.dumps({"settings": asdict(self.settings), **result}, indent=1) + "\n", encoding="utf-8")
        part.replace(self._about)

    def run(self, faults: Faults, phrases: Mapping[str, Sequence[str]], workers: int) -> dict[str, Any]:
        """Make the shards that are not there yet; returns what is in all of them."""
        started = time.monotonic()
        made = sum(sum(c.rows.values()) for c in self.counts)
        chunks = self._chunks(faults)
        first_chunk = list(islice(chunks, 1))  # a source that cannot be read is told before the bar
        bar = tqdm(initial=made, total=self.settings.rows or None, unit="row", mininterval=2)
        # spawn: a forked worker could inherit a lock that another thread holds
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(workers, mp_context=context) as pool:
            pending: list[Future[Counts]] = []
            for number, (first, dialogues) in enumerate(chain(first_chunk, chunks)):
                if number < len(self.counts):
                    continue
                pending.append(pool.submit(make_shard, number, first, dialogues, self.settings, phrases, self.out))
                if len(pending) > workers:  # so many shards of dialogues are in memory at most
                    self._keep(pending.pop(0).result(), bar)
            for future in pending:
                self._keep(future.result(), bar)
        bar.close()
        total = sum(self.counts, Counts(Counter()))
        rows = sum(total.rows.values())
        if not rows:
            raise BadInput(f"{self.settings.source}: expected at least one dialogue, found none that can be used")
        minutes = (time.monotonic() - started) / 60
        result = {"rows": rows, "bad_rows": faults.count, "pairs": total.pairs, "tokens": total.tokens}
        self._describe({**result, "idle_pairs": total.idle, "kinds": dict(total.rows)})
        return {**result, "rows_per_minute": round((rows - made) / minutes)}

    def _keep(self, counts: Counts, bar: Any) -> None:
        values = {**vars(counts), "rows": dict(counts.rows)}
        with self._log.open("a", encoding="utf-8") as file:
            file.write(json.dumps(values) + "\n")
        self.counts.append(counts)
        bar.update(sum(counts.rows.values()))

    def _chunks(self, faults: Faults) -> Iterator[tuple[int, Sequence[Dialogue | Sliced] | int]]:
        """(number of the first row, dialogues) of each shard."""
        if self.settings.source == "corpus":
            for first in range(0, self.settings.rows, SHARD):
                yield first, min(SHARD, self.settings.rows - first)
            return
        dialogues = islice(read(self.settings.source, faults), self.settings.rows or None)
        first = 0
        while chunk := list(islice(dialogues, SHARD)):
            yield first, chunk
            first += len(chunk)

    def table(self) -> str:
        """Shares beside the paper's."""
        total = sum(self.counts, Counts(Counter()))
        rows = max(1, sum(total.rows.values()))
        lines = [f"{'kind':16} {'rows':>9} {'share':>8} {'paper':>8}"]
        for name, count in total.rows.most_common():
            paper = KINDS[name][1] if name in KINDS else None
            lines.append(f"{name:16} {count:9} {100 * count / rows:6.1f} % {f'{paper} %' if paper else '':>8}")
        lines.append(
            f"\n{total.pairs} pairs, the model silent in {100 * total.idle / max(1, total.pairs):.0f} % of them"
        )
        lines.append(f"{total.tokens} tokens of the model; {total.pairs / rows:.1f} pairs a row")
        return "\n".join(lines)


def run(settings: Settings, out: Path, *, stop: bool, workers: int, rewriter: Rewriter | None = None) -> int:
    """Build, tell what was made, and end in one line of JSON."""
    corpus = load()
    phrases: dict[str, Sequence[str]] = {**corpus.phrases, **corpus.manners}
    if rewriter:
        phrases = rewriter.more(phrases)
    build = Build(settings, out)
    result = build.run(Faults(stop), phrases, workers or os.cpu_count() or 1)
    print(build.table())
    print(json.dumps(result))
    return 0
