"""Scenarios: what a person does in a talk and when, in reaction to what the system does. A small text file each.

    # The person breaks into an explanation with a question about it.
    situation  question
    by         keys speech                      (how it can be played; both if the line is missing)
    pace       slow                             (slow, normal or fast; normal if the line is missing)

    0.5 s           turn          Tell me about {bees|volcanoes}.
    answer 1.5-3 s  question      Wait, how (0.6-1.2 s) do they do that?
    done 1 s        aside         [Not now > Later], Anna.
    20 s            silence

A step is when, what and the words, with two spaces or more between. When: seconds after the step before; `answer T`
after the first word of the answer to what was asked last; `done T` after the system fell silent. Spans such as 1.5-3 s
are drawn anew by each seed. What: see `talks.KINDS`. In the words `(0.6-1.2 s)` is a pause, `[not now > later]` is said
and corrected at once, `{bees|volcanoes}` is one of them, `*cough*` is a sound without words.

for scenario in library(): ...
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from random import Random

from duplex_runtime.errors import BadInput
from duplex_runtime.evaluation.acts import ASKING, KINDS

FOLDER = Path(__file__).parent / "scenarios"
WAYS = ("keys", "speech")
PACES = ("slow", "normal", "fast")
MAX_STEPS, MAX_TEXT, MAX_SECONDS = 100, 2000, 3600.0

_SPAN = r"(\d+(?:\.\d+)?)(?:\s*-\s*(\d+(?:\.\d+)?))?\s*s"
_WHEN = re.compile(rf"(?:(answer|done)\s+)?{_SPAN}")
#: A pause, a correction with what is written close behind it, a sound. Marks do not stand in one another.
_MARK = re.compile(rf"\({_SPAN}\)|\[([^\[\](){{}}|*<]*)\]([^\s\[\](){{}}|*<>]*)|\*([^\[\](){{}}|*<>]*)\*")
_EDGE = re.compile(rf"\({_SPAN}\)\s*$|^\s*\({_SPAN}\)")
_CHOICE = re.compile(r"\{([^{}]*)\}")
_EXAMPLE = "“0.5 s   turn   Tell me about bees.”"


@dataclass(frozen=True)
class Span:
    """Seconds, from `low` to `high`."""

    low: float
    high: float

    def draw(self, rng: Random) -> float:
        """One of them."""
        return rng.uniform(self.low, self.high)


@dataclass(frozen=True)
class Part:
    """A part of what is said: `pause` seconds before it; `taken_back` was said first and is replaced by `text`;
    `sound`: no words."""

    text: str
    pause: float = 0.0
    taken_back: str = ""
    sound: bool = False


@dataclass(frozen=True)
class Step:
    """One thing that the person does, `delay` after a `step`, an `answer` or one that is `done`. line: in its file."""

    after: str
    delay: Span
    kind: str
    text: str
    line: int

    def parts(self, rng: Random) -> tuple[Part, ...]:
        """The words as this seed says them."""
        return _parts(_CHOICE.sub(lambda found: rng.choice(found[1].split("|")), self.text), rng)


@dataclass(frozen=True)
class Scenario:
    """`about` is its first comment; `ways`: how it can be played."""

    name: str
    about: str
    situation: str
    ways: tuple[str, ...]
    pace: str
    steps: tuple[Step, ...]

    def way(self, seed: int) -> str:
        """How this seed plays it."""
        return self.ways[seed % len(self.ways)]


def library(
    folder: Path = FOLDER, only: Collection[str] = (), problems: list[str] | None = None
) -> tuple[Scenario, ...]:
    """The scenarios of a folder by name.

    only: situations or names; raises BadInput for those that there are not. problems: gets what is wrong with files
    that are left out; without it the first one raises BadInput.
    """
    paths = sorted(folder.glob("*.txt")) if folder.is_dir() else []
    scenarios: list[Scenario] = []
    for path in paths:
        try:
            scenarios.append(read_scenario(path))
        except BadInput as error:
            if problems is None:
                raise
            problems.append(str(error))
    if not scenarios:
        why = problems[0] if problems else "found none"
        raise BadInput(f"{folder}: expected a folder of scenarios NAME.txt, {why}")
    known = {s.situation for s in scenarios} | {s.name for s in scenarios}
    if unknown := sorted(set(only) - known):
        situations = ", ".join(sorted({s.situation for s in scenarios}))
        raise BadInput(f"scenarios: expected names or situations ({situations}), got {unknown[0]!r}")
    return tuple(s for s in scenarios if not only or {s.situation, s.name} & set(only))


def read_scenario(path: Path) -> Scenario:
    """One file; raises BadInput naming file and line."""
    try:
        text = path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise BadInput(
            f"{path} line {line}: expected UTF-8, got the byte 0x{error.object[error.start]:02x}; "
            "save the file as UTF-8"
        ) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise BadInput(f"{path}: expected a readable scenario file such as NAME.txt, got: {reason}") from None
    return parse_scenario(str(path), text.removeprefix("\ufeff").split("\n"))


def parse_scenario(name: str, lines: Iterable[str]) -> Scenario:
    """The lines of a file called `name` (its stem is the scenario's name)."""
    reader = _Reader(name)
    for number, line in enumerate(lines, 1):
        reader.take(number, line.rstrip())
    return reader.finish()


class _Reader:
    """Takes lines, and knows what came before."""

    def __init__(self, name: str) -> None:
        self.name, self.number = name, 0
        self.about: list[str] = []
        self.told = False  # the first block of comments is over
        self.headers: dict[str, str] = {}
        self.steps: list[Step] = []

    def fail(self, problem: str) -> BadInput:
        return BadInput(f"{self.name} line {self.number}: {problem}")

    def take(self, number: int, line: str) -> None:
        self.number = number
        if control := re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]", line):
            raise self.fail(f"expected plain text, got the control character 0x{ord(control[0]):02x}; delete it")
        if line.lstrip().startswith("#"):
            if not self.told:
                self.about.append(line.lstrip("# \t").strip())
            return
        self.told |= bool(self.about)
        if not line.strip():
            return
        words = re.split(r"\s{2,}|\t+", line.strip(), maxsplit=2)
        if re.match(r"\d|answer\b|done\b|[-+.]", words[0]):
            self.step(words)
        else:
            self.header(line.strip())

    def header(self, line: str) -> None:
        key, value = (*line.split(maxsplit=1), "")[:2]
        known = ("situation", "by", "pace")
        if key not in known:
            raise self.fail(f"expected a step such as {_EXAMPLE}, or one of {', '.join(known)}, got {line[:60]!r}")
        if self.steps:
            raise self.fail(f"expected {key} before the first step; move the line up")
        if key in self.headers:
            raise self.fail(f"{key} stands there twice; leave one")
        if key == "pace" and value not in PACES:
            raise self.fail(f"expected pace {', '.join(PACES)}, got {value!r}")
        if key == "by" and (
            not value or set(value.split()) - set(WAYS) or len(value.split()) > len(set(value.split()))
        ):
            raise self.fail(f"expected by {' or '.join(WAYS)} or both, got {value!r}")
        if key == "situation" and not re.fullmatch(r"[a-z][a-z-]*", value):
            raise self.fail(f"expected a situation of one word such as stop, got {value!r}")
        self.headers[key] = value

    def step(self, words: list[str]) -> None:
        if len(self.steps) == MAX_STEPS:
            raise self.fail(f"expected at most {MAX_STEPS} steps; split the scenario")
        when, kind, text = (*words, "", "")[:3]
        after, delay = self.when(when)
        if kind not in (*KINDS, "silence"):
            raise self.fail(
                f"expected {', '.join(KINDS)} or silence behind {when!r}, with two spaces between, got {kind!r}; "
                f"write {_EXAMPLE}"
            )
        self.order(after, kind, when)
        if (kind == "silence") != (not text):
            problem = "silence has no words; leave them out" if text else f"expected words for {kind}; write {_EXAMPLE}"
            raise self.fail(problem)
        if text:
            self.words(text)
        self.steps.append(Step(after, delay, kind, text, self.number))

    def when(self, when: str) -> tuple[str, Span]:
        found = _WHEN.fullmatch(when)
        if not found:
            raise self.fail(
                f"expected a time such as “1.5 s”, “answer 1-2 s” or “done 1 s” and two spaces, got {when!r}"
            )
        return found[1] or "step", self.span(found[2], found[3])

    def span(self, low: str, high: str | None) -> Span:
        first, last = float(low), float(high or low)
        if first > last:
            raise self.fail(f"expected a span that goes up, got {low}-{high} s; write {high}-{low} s")
        if last > MAX_SECONDS:
            raise self.fail(f"expected at most {MAX_SECONDS:.0f} s, got {last:g} s")
        return Span(first, last)

    def order(self, after: str, kind: str, when: str) -> None:
        asked = any(step.kind == "turn" for step in self.steps)
        if after != "step" and not asked:
            raise self.fail(f"{when!r}: nothing was asked yet, so nothing is answered; begin with a turn")
        lately = next((step.kind for step in reversed(self.steps) if step.kind in (*ASKING, "stop")), "")
        if after == "answer" and lately == "stop":
            raise self.fail(f"{when!r}: a stop is not answered; write the seconds alone, or ask something before")
        if kind == "silence" and after != "step":
            raise self.fail(f"expected a plain time for silence such as “20 s”, got {when!r}")
        if kind == "backchannel" and after != "answer":
            raise self.fail(f"a backchannel falls into an answer; write “answer 2 s   backchannel   …”, not {when!r}")
        if kind in ("stop", "question", "resume") and not asked:
            raise self.fail(f"{kind}: there is nothing yet that it could be about; begin with a turn")

    def words(self, text: str) -> None:
        if len(text) > MAX_TEXT:
            raise self.fail(f"expected at most {MAX_TEXT} characters of words, got {len(text)}")
        choices = [choice.split("|") for choice in _CHOICE.findall(text)]
        for choice in choices:
            if len(choice) == 1 or not all(each.strip() for each in choice):
                raise self.fail(f"expected choices such as {{bees|whales}}, got {{{'|'.join(choice)}}}")
            for each in choice:
                self.marks(each)
        for number in range(max((len(choice) for choice in choices), default=1)):
            said = _chosen(text, number)
            self.marks(said)
            if not _parts(said, Random(0)):
                raise self.fail("expected words beside the pause; write “… s   silence” to say nothing")
            if edge := _EDGE.search(said):
                raise self.fail(
                    f"expected words before and behind a pause, got {edge[0].strip()} at the edge; "
                    "add it to the time of this step or the next"
                )

    def marks(self, text: str) -> None:
        """Without choices."""
        for mark in _MARK.finditer(text):
            if mark[1]:
                self.span(mark[1], mark[2])
            elif mark[3] is not None:
                words = [each.strip() for each in mark[3].split(">")]
                if len(words) != 2 or not all(words):
                    raise self.fail(f"expected a correction such as [Spain > Italy], got [{mark[3]}]")
            elif not mark[5].strip():
                raise self.fail("expected a sound such as *cough*, got stars around nothing")
            elif "keys" in self.ways:
                raise self.fail(f"*{mark[5]}* is a sound: it cannot be typed; write “by  speech” above, or words")
        if wrong := re.search(r"[{}\[\]()|*<>]", _MARK.sub(" ", text)):
            raise self.fail(
                f"{wrong[0]!r} belongs to no mark; marks are (1 s), [wrong > right], {{one|other}} and *cough*, and do "
                "not stand in one another, but for those inside {}"
            )

    @property
    def ways(self) -> tuple[str, ...]:
        given = self.headers.get("by", "").split()
        return tuple(way for way in WAYS if way in given) or WAYS

    def finish(self) -> Scenario:
        if "situation" not in self.headers:
            raise BadInput(f"{self.name}: expected a line such as “situation  stop” before the first step, found none")
        if not self.steps:
            raise BadInput(f"{self.name}: expected at least one step such as {_EXAMPLE}, found none")
        return Scenario(
            Path(self.name).stem,
            " ".join(self.about),
            self.headers["situation"],
            self.ways,
            self.headers.get("pace", "normal"),
            tuple(self.steps),
        )


def _chosen(text: str, number: int) -> str:
    """Of every choice the one of that number, or its last."""
    return _CHOICE.sub(lambda found: found[1].split("|")[min(number, found[1].count("|"))], text)


def _parts(text: str, rng: Random) -> tuple[Part, ...]:
    """Words between the marks, each with the pause before it."""
    parts: list[Part] = []
    pause = 0.0

    def add(words: str, taken_back: str = "", sound: bool = False) -> None:
        nonlocal pause
        if words := " ".join(words.split()):
            parts.append(Part("" if sound else words, pause, taken_back, sound))
            pause = 0.0

    end = 0
    for mark in _MARK.finditer(text):
        add(text[end : mark.start()])
        end = mark.end()
        if mark[1]:
            pause += rng.uniform(float(mark[1]), float(mark[2] or mark[1]))
        elif mark[3] is not None:
            first, _, last = (each.strip() for each in mark[3].partition(">"))
            add(last + mark[4], taken_back=first)
        else:
            add(mark[5], sound=True)
    add(text[end:])
    return tuple(parts)
