"""What an export has: every table and column, with what it means in the study's own words.

    for table in tables_of(study):
        for column in table.columns:
            print(table.name, column.name, column.type, column.unit, column.allowed, column.meaning)
    dictionary_markdown(study, tables), dictionary_rows(tables)

Tables are written by these columns and no others, so that the dictionary is complete.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from webapp.study.assignment import assign
from webapp.study.definition import AGREEMENT_SCALES, Question, Study
from webapp.study.frames import FATES
from webapp.study.steps import SCALE_HIGH, SCALE_LOW, STRENGTHS, SURE_HIGH, SURE_LOW, UNSURE, Step, way_of
from webapp.study.texts import fill, texts_of

#: Kinds of notes that the page makes.
NOTES = {
    "focus": "the window came to the front",
    "blur": "another window came to the front",
    "hidden": "the page was hidden",
    "visible": "the page was shown again",
    "reload": "the page was loaded anew",
    "device": "the page looked at the device; what it saw is not exported",
    "problem": "something did not work, such as the connection",
}
_SCALE = f"{SCALE_LOW} to {SCALE_HIGH}"


@dataclass(frozen=True)
class Column:
    """`type`: text, integer, number, flag (true or false), time (ISO 8601, UTC) or list (in JSONL only). `values`: each
    allowed value with its words, which may be empty; `range`: of numbers. An empty cell has nothing to tell."""

    name: str
    type: str
    meaning: str
    unit: str = ""
    range: str = ""
    values: tuple[tuple[str, str], ...] = ()

    @property
    def allowed(self) -> str:
        """The allowed values in words; nothing where there is no limit."""
        listed = "; ".join(f"{value} = {words}" if words else value for value, words in self.values)
        return ". ".join(part for part in (self.range, listed) if part) or (
            "true; false" if self.type == "flag" else ""
        )


@dataclass(frozen=True)
class TableShape:
    """One table. `row`: what a row of it is."""

    name: str
    row: str
    columns: tuple[Column, ...]


def language_of(study: Study) -> str:
    """The language of the study's own words in an export: English if the study has it."""
    return "en" if "en" in study.languages else study.languages[0]


def tables_of(study: Study) -> tuple[TableShape, ...]:
    """Every table, in the order of the export."""
    texts = texts_of(study, language_of(study))
    return (
        _participants(study),
        _answers(study, texts),
        _ratings(study, texts),
        _preferences(study),
        _guesses(study, texts),
        _talks(study),
        _notes(),
        _about(study, texts),
    )


_PARTICIPANT = Column("participant", "text", "Pseudonymous id, drawn at random; the same in all tables.")
_POSITION = Column("position", "integer", "1 for the participant's first system, 2 for the second, and so on.")
_SESSION = Column("session", "integer", "Which talk with the system: 1 for the first, and so on.")


def _system(study: Study, name: str = "system", meaning: str = "The system.") -> Column:
    texts = texts_of(study, language_of(study))
    values = tuple((system, texts[f"done.system.{system}"]) for system in study.systems)
    return Column(name, "text", meaning, values=values)


def _participants(study: Study) -> TableShape:
    fates = tuple((fate, FATES[fate]) for fate in ("excluded", "unfinished", "inattentive", "hurried", "analysed"))
    steps = tuple((step.key, _of_step(step)) for step in way_of(study, assign(study, 0)))
    labels = "Labels by which the participant knew the systems, in the order of `order`."
    columns = (
        _PARTICIPANT,
        Column("fate", "text", "Whether the analysis uses this participant, and if not why.", values=fates),
        Column("detail", "text", "More about `fate`."),
        Column("step", "text", "The page at which the participant is or stopped.", values=steps),
        Column("language", "text", "Language of the pages.", values=tuple((code, "") for code in study.languages)),
        Column("way", "text", "How the participant talked.", values=(("keys", "typed"), ("speech", "spoke"))),
        _system(study, "begins", "The first system."),
        Column("order", "text", "The systems by position, with spaces between."),
        Column("labels", "text", f"{labels} With spaces between."),
        Column("sides", "text", "Places on the page, from left to right, as positions with spaces between."),
        Column("block", "integer", "Balanced block of the assignment, from 0."),
        Column("place", "integer", "Place in the block, from 0."),
        Column("arm", "integer", "Which order of the systems, from 0."),
        Column("consent_version", "text", "Version of the text that the participant agreed to."),
        Column("publish", "flag", "Agreed to publishing talks and answers."),
        Column("audio", "flag", "Agreed to recording the voice."),
        Column("failed_checks", "integer", "Attention checks with a wrong answer.", "checks"),
        Column("minutes", "number", "From consent to the last answer; empty if a clock was set back.", "minutes"),
        Column("lost_focus", "integer", "How often another window came to the front.", "times"),
        Column("began_at", "time", "When the first page was opened.", "UTC"),
    )
    return TableShape("participants", "one participant", columns)


def _answers(study: Study, texts: Mapping[str, str]) -> TableShape:
    steps = way_of(study, assign(study, 0))
    columns = (
        _PARTICIPANT,
        Column("step", "text", "The page, see participants.step."),
        Column("item", "text", "The question.", values=_items(study, steps, texts)),
        Column("position", "integer", "Of the system that the page is about; empty on other pages."),
        _system(study, meaning="The system that the page is about; empty on other pages."),
        Column("value", "text", "The answer as text; yes or no as true or false."),
        Column("number", "integer", "The answer where it is a number, else empty."),
        Column("right", "flag", "Of attention checks: whether the answer is the one asked for; else empty."),
        Column("at", "time", "When the answer was stored.", "UTC"),
    )
    return TableShape("answers", "one answer to one question", columns)


def _of_step(step: Step) -> str:
    position = f", system at position {step.position}" if step.position else ""
    return f"{step.kind}{position}" + (f", session {step.session}" if step.session else "")


def _items(study: Study, steps: Sequence[Step], texts: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    found: dict[str, str] = {}
    for step in steps:
        for item in step.items:
            if item.key.startswith("attention-"):
                found[item.key] = "an attention check, which names the point to choose"
                continue
            asked = _plain(study, texts[item.text])
            allowed = [_option(study, texts, item.text, option) for option in item.options]
            limits = f"{item.low} to {item.high}" if item.high else ""
            found.setdefault(item.key, " ".join(filter(None, (asked, ", ".join(allowed), limits))))
    return tuple(found.items())


def _plain(study: Study, text: str) -> str:
    """A text of a page on one line; labels are named by position."""
    positions = {f"label_{n}": f"at position {n}" for n in range(1, len(study.systems) + 1)}
    return " ".join(fill(text, positions | {"label": "(label)"}).split())


def _option(study: Study, texts: Mapping[str, str], question: str, option: str) -> str:
    words = texts.get(f"{question}.{option}", "")
    return f"{option} ({_plain(study, words)})" if words else option


def _ratings(study: Study, texts: Mapping[str, str]) -> TableShape:
    columns = [
        _PARTICIPANT,
        _system(study),
        _POSITION,
        Column("label", "text", "The letter that stood for the system."),
    ]
    for scale in study.ratings.scales:
        points = ((str(n), texts.get(f"rate.{scale}.{n}", "")) for n in range(SCALE_LOW, SCALE_HIGH + 1))
        kind = "Agreement with a sentence" if scale in AGREEMENT_SCALES else "Quality"
        meaning = f"{kind}: {_plain(study, texts[f'rate.{scale}'])} Empty if not rated."
        values = tuple((point, words) for point, words in points if words)
        columns.append(Column(scale, "integer", meaning, "points", _SCALE, values))
    if study.ratings.comment:
        meaning = f"Free text: {_plain(study, texts['rate.comment'])} Empty if nothing was written."
        columns.append(Column("comment", "text", meaning))
    return TableShape("ratings", "one participant and one system", tuple(columns))


def _preferences(study: Study) -> TableShape:
    strengths = tuple((str(n), how) for n, how in enumerate(reversed(STRENGTHS), 1))
    columns = (
        _PARTICIPANT,
        _system(study, "first", "One system of the pair: the earlier in the alphabet."),
        _system(study, "second", "The other one."),
        _system(study, "preferred", "With which of them the participant would rather talk again."),
        Column("strength", "integer", "By how much.", "points", values=strengths),
        Column("earlier", "flag", "The preferred system came earlier than the other."),
        Column("left", "flag", "The preferred system stood left of the other on the page."),
    )
    return TableShape("preferences", "one participant and one pair of systems", columns)


def _guesses(study: Study, texts: Mapping[str, str]) -> TableShape:
    outcomes = (("right", ""), ("wrong", ""), (UNSURE, "the participant did not know"))
    sure = tuple(
        (str(n), texts.get(f"compare.guess_sure.{n}", ""))
        for n in range(SURE_LOW, SURE_HIGH + 1)
        if f"compare.guess_sure.{n}" in texts
    )
    columns = (
        _PARTICIPANT,
        _system(study, "begins", "The participant's first system."),
        Column("outcome", "text", f"{_plain(study, texts['compare.guess'])} Whether it was that one.", values=outcomes),
        Column(
            "sure", "integer", "How sure they were; empty for unsure.", "points", f"{SURE_LOW} to {SURE_HIGH}", sure
        ),
    )
    return TableShape("guesses", "one participant who guessed which system listens while it speaks", columns)


def _talks(study: Study) -> TableShape:
    cards = tuple((card.key, card.title.of(language_of(study))) for card in study.tasks.sheet)
    how = "From the recording, by the definitions of `duplex bench panel`; empty where there was none."
    columns = (
        Column("talk", "text", "Participant, position, session and part: the name of the recording in talks/."),
        _PARTICIPANT, _POSITION, _SESSION,
        Column("part", "integer", "1, or more where a talk was taken up again after the connection was lost."),
        _system(study),
        Column("label", "text", "The letter that stood for the system."),
        Column("task", "text", "The topic card.", values=cards),
        Column("seconds", "number", "Time in which somebody talked.", "seconds"),
        Column("turns", "integer", "How often the participant said something.", "turns"),
        Column("interruptions", "integer", "Of these, how often while the system was talking.", "turns"),
        Column("ended", "flag", "The connection was closed in order."),
        Column("began_at", "time", "When the talk began.", "UTC"),
        Column("answer_s", "number", f"Median from the end of a turn to the answer, below 0 if it began before. {how}",
               "seconds"),
        Column("yield_s", "number", f"Mean from the start of an interruption to silence. {how}", "seconds"),
        Column("asked", "integer", f"Turns that want an answer, with time to answer them. {how}", "turns"),
        Column("answered", "integer", f"Of `asked`: answered before the next turn. {how}", "turns"),
        Column("early", "integer", f"Answers that began inside a turn. {how}", "answers"),
        Column("broken_into", "integer", f"Interruptions of an answer. {how}", "interruptions"),
        Column("yielded", "integer", f"Of `broken_into`: silent within 2 s. {how}", "interruptions"),
        Column("backchannels", "integer", f"Backchannels of the participant, told from their words. {how}", "times"),
        Column("ignored", "integer", f"Of `backchannels`: changed nothing, as they should. {how}", "times"),
        Column("words", "integer", f"Words of the system that were seen or heard. {how}", "words"),
        Column("unheard", "integer", f"Words that the system prepared and nobody saw or heard. {how}", "words"),
        Column("deaf", "integer", f"Characters of the participant that the system did not hear. {how}", "characters"),
        Column("problem", "text", "Why the recording could not be read; empty if it could."),
    )  # fmt: skip
    return TableShape("talks", "one talk, or a part of one that was taken up again", columns)


def _notes() -> TableShape:
    columns = (
        _PARTICIPANT,
        Column("kind", "text", "What the page saw.", values=tuple(NOTES.items())),
        Column("step", "text", "On which page, see participants.step; empty if not known."),
        Column("at", "time", "When it was stored.", "UTC"),
    )
    return TableShape("notes", "one thing that the page saw", columns)


def about_column(key: str) -> str:
    """Name of the column of a question about the participant."""
    return f"about_{key}"


def _about(study: Study, texts: Mapping[str, str]) -> TableShape:
    columns = (_PARTICIPANT, *(_question(study, texts, question) for question in study.about_you.questions))
    return TableShape("about", "one participant who answered the questions about themselves", columns)


def _question(study: Study, texts: Mapping[str, str], question: Question) -> Column:
    text = f"{'own' if question.text is not None else 'about'}.{question.key}"
    kind = {"number": "integer"}.get(question.kind, "text")
    range_ = f"{question.low} to {question.high}" if question.kind == "number" else ""
    values = tuple((o.key, _plain(study, texts.get(f"{text}.{o.key}", ""))) for o in question.options)
    asked = _plain(study, texts[text])
    return Column(about_column(question.key), kind, f"{asked} Empty if not answered.", range=range_, values=values)


def rows_shapes() -> tuple[TableShape, ...]:
    """The files of training data, which are JSONL only."""
    common = (
        Column("talk", "text", "See talks.talk."),
        _PARTICIPANT,
        Column("overall", "integer", "The participant's rating of the system, see ratings.overall; empty if none.",
               "points", _SCALE),
    )  # fmt: skip
    rows = (
        Column("id", "integer", "Number of the row, from 0."),
        Column("kind", "text", "Where the row comes from.", values=(("talk", "a talk with a person"),)),
        Column("output", "list", "Slices: {role: user, content} and {role: assistant, content} in turn; content "
               "<idle> is silence."),
        Column("weights", "list", "For each slice how much the model's first token counts in training: 1, or 0 "
               "where what it said was cut before anybody saw or heard it."),
        Column("ends", "list", "For each slice whether the model's answer ends in it."),
        Column("slice_seconds", "text", "Period of the slices in seconds, or adaptive."),
        *common,
    )  # fmt: skip
    dialogues = (
        Column("messages", "list", "Messages and answers: {role: user, content} and {role: assistant, content} in "
               "turn, as far as they were seen or heard."),
        Column("system", "text", "The system, see talks.system."),
        *common,
    )  # fmt: skip
    return (
        TableShape("rows", "one talk with the system that listens while it speaks, in slices", rows),
        TableShape("dialogues", "one talk with a turn-based system", dialogues),
    )


# — written —


def dictionary_rows(tables: Sequence[TableShape]) -> list[dict[str, Any]]:
    """One row a column of a table."""
    return [
        {
            "table": table.name,
            "column": c.name,
            "type": c.type,
            "unit": c.unit,
            "allowed": c.allowed,
            "meaning": c.meaning,
        }
        for table in tables
        for c in table.columns
    ]


def dictionary_json(study: Study, tables: Sequence[TableShape]) -> dict[str, Any]:
    """The same for programs, with the allowed values apart."""
    return {
        "study": study.name,
        "tables": {
            table.name: {
                "row": table.row,
                "columns": {
                    c.name: {"type": c.type, "unit": c.unit, "range": c.range, "values": dict(c.values),
                             "meaning": c.meaning}
                    for c in table.columns
                },
            }
            for table in tables
        },
    }  # fmt: skip


def dictionary_markdown(study: Study, tables: Sequence[TableShape]) -> str:
    """The same for people."""
    parts = [
        f"# Data dictionary of {study.name}",
        "Every table and every column. Times are ISO 8601 in UTC. An empty cell has nothing to tell. Questions and "
        f"answers are in the words that participants read (language: {language_of(study)}).",
        "In CSV files a text that begins with `=`, `+`, `-`, `@`, a tab or a line end has an apostrophe before it, so "
        "that no spreadsheet takes it for a formula. JSONL and Parquet have the text as it was written.",
    ]
    for table in tables:
        lines = ["| column | type | unit | allowed | meaning |", "|---|---|---|---|---|"]
        lines += [
            f"| `{c.name}` | {c.type} | {c.unit} | {_cell(c.allowed)} | {_cell(c.meaning)} |" for c in table.columns
        ]
        parts += [f"## {table.name}", f"One row: {table.row}.", "\n".join(lines)]
    return "\n\n".join(parts) + "\n"


def _cell(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")
