"""The TOML file of a study becomes values; everything wrong with it is found at once.

    study, problems = draft(Path("my-study"))     # in the place of each mistake stands a default

Whoever wants a study without mistakes or an error calls `Study.read`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from webapp.study.assignment import williams
from webapp.study.definition import (
    BUILT_IN,
    LONGEST_ANSWER,
    PAPER_SCALES,
    PAPER_SESSIONS,
    PROTOCOLS,
    QUESTION_KINDS,
    SCALES,
    SOURCES,
    SYSTEMS,
    WAYS,
    AboutYou,
    Admin,
    Card,
    Compare,
    Completion,
    Consent,
    Exclude,
    Option,
    Question,
    Ratings,
    Storage,
    Study,
    Tasks,
)
from webapp.study.hub import REPO
from webapp.study.reader import LANGUAGE, Notes, Problem, Refused, Table

FILE = "study.toml"
SLUG = r"[a-z0-9][a-z0-9_-]{0,39}"
_DATABASE = r"(sqlite:///[^:\s]\S*|postgresql(\+\w+)?://\S+)"


def file_of(path: Path) -> Path:
    """The study's file, given it or its folder."""
    return path / FILE if path.is_dir() else path


def draft(path: Path) -> tuple[Study, tuple[Problem, ...]]:
    """The study in a folder or a file, and all its mistakes. Raises Refused for what cannot be read or is no TOML."""
    file = file_of(path)
    if not file.is_file():
        message = "there is no study here: give its folder or its file, or write one with duplex study new NAME"
        raise Refused([Problem(str(file), 0, "", message)])
    notes = Notes.of(file)
    study = _study(notes.table(), file.parent)
    _agree(study, notes)
    return study, tuple(sorted(notes.problems, key=lambda problem: problem.line))


def _study(table: Table, folder: Path) -> Study:
    protocol = table.choice("protocol", "arena", PROTOCOLS)
    systems = table.choices("systems", ("duplex", "strict"), SYSTEMS, 2, 3)
    way = table.choice("way", "typing", WAYS)
    arms = len(williams(len(systems)))
    ratings = _ratings(table.child("ratings"), len(systems))
    study = Study(
        name=table.text("name", None, SLUG, "a short name of small letters, digits and dashes"),
        title=table.needed_words("title"),
        languages=_languages(table, "languages"),
        speaks=_languages(table, "speaks"),
        way=way,
        systems=systems,
        model=table.text("model", "embedded", expected="embedded, a model folder, or a hub id"),
        protocol=protocol,
        seed=table.number("seed", 0, 0, 2**31 - 1),
        block=table.number("block", arms if protocol == "paper" else 2 * arms, 1, 1000),
        consent=_consent(table.child("consent"), way),
        tasks=_tasks(table.child("tasks")),
        ratings=ratings,
        compare=_compare(table.child("compare")),
        about_you=_about_you(table.child("about_you")),
        exclude=_exclude(table.child("exclude"), ratings.attention),
        completion=_completion(table.child("completion")),
        storage=_storage(table.child("storage")),
        admin=_admin(table.child("admin")),
        folder=folder,
    )
    table.close()
    return study


def _languages(table: Table, key: str) -> tuple[str, ...]:
    languages = table.choices(key, ("en",), (), 1, 20)
    for language in languages:
        if not LANGUAGE.fullmatch(language):
            table.problem(key, f"expected codes of languages such as en, zh or pt-BR, got {language!r:.40}")
            return ("en",)
    return languages


def _consent(table: Table, way: str) -> Consent:
    if way != "typing" and "audio" not in table:
        table.problem(
            "audio",
            "people may speak in this study: write audio = true to ask them whether their voice may be recorded, "
            "or audio = false to keep only the recognised words",
        )
    consent = Consent(
        version=table.text("version", "1", expected="a version such as 1 or 2026-03"),
        contact=table.text("contact", None, expected="who is responsible and how to reach them"),
        minutes=table.number("minutes", 25, 1, 600),
        publish=table.flag("publish", True),
        audio=table.flag("audio", False),
        payment=table.words("payment"),
        text=table.words("text"),
    )
    if consent.audio and way == "typing":
        table.problem("audio", 'expected false where way = "typing": there is no voice to record')
    table.close()
    return consent


def _tasks(table: Table) -> Tasks:
    cards = table.children("sheet")
    tasks = Tasks(
        sessions=table.number("sessions", 3, 1, 20),
        min_seconds=table.number("min_seconds", 60, 1, 3600),
        min_turns=table.number("min_turns", 3, 1, 100),
        sheet=tuple(map(_card, cards)),
    )
    if len(tasks.sheet) < tasks.sessions:
        table.problem(
            "sheet",
            f"expected a card for each of the {tasks.sessions} talks with a system, got {len(tasks.sheet)}: "
            "add [[tasks.sheet]], or lower sessions",
        )
    _once(cards, [card.key for card in tasks.sheet])
    table.close()
    return tasks


def _card(table: Table) -> Card:
    card = Card(
        key=table.text("key", None, SLUG, "a short name of small letters, digits and dashes"),
        title=table.needed_words("title"),
        text=table.needed_words("text"),
        first=table.text("first", ""),
    )
    table.close()
    return card


def _ratings(table: Table, systems: int) -> Ratings:
    ratings = Ratings(
        scales=table.choices("scales", PAPER_SCALES, SCALES, 1, len(SCALES)),
        comment=table.flag("comment", True),
        attention=table.number("attention", 2, 0, 2 * systems),
    )
    table.close()
    return ratings


def _compare(table: Table) -> Compare:
    compare = Compare(preference=table.flag("preference", True), guess=table.flag("guess", True))
    table.close()
    return compare


def _about_you(table: Table) -> AboutYou:
    asked = table.children("questions")
    questions = tuple(map(_question, asked))
    _once(asked, [question.key for question in questions])
    table.close()
    return AboutYou(questions)


def _question(table: Table) -> Question:
    key = table.text("key", None, SLUG, "a short name of small letters, digits and dashes")
    required = table.flag("required", False)
    if "kind" not in table and "text" not in table:
        if key not in BUILT_IN:
            table.problem("key", f"expected one of {', '.join(BUILT_IN)}, or kind and text of a question of your own")
        table.close()
        return replace(BUILT_IN.get(key, BUILT_IN["age"]), required=required)
    kind = table.choice("kind", "text", QUESTION_KINDS)
    text = table.needed_words("text")
    options: tuple[Option, ...] = ()
    low = high = longest = 0
    if kind == "choice":
        given = table.children("options")
        options = tuple(map(_option, given))
        _once(given, [option.key for option in options])
        if len(options) < 2:
            table.problem("options", f'expected at least two, each {{key = "…", text = …}}, got {len(options)}')
    elif kind == "number":
        low, high = table.number("low", 0, -(10**9), 10**9), table.number("high", 10**6, -(10**9), 10**9)
        if low > high:
            table.problem("low", f"expected at most high, got {low} and {high}")
    else:
        longest = table.number("longest", LONGEST_ANSWER, 1, LONGEST_ANSWER)
    table.close()
    return Question(key, kind, text, options, low, high, longest, required)


def _option(table: Table) -> Option:
    option = Option(table.text("key", None, SLUG, "a short name"), table.needed_words("text"))
    table.close()
    return option


def _exclude(table: Table, checks: int) -> Exclude:
    exclude = Exclude(
        table.number("attention_failed", min(2, checks), 0, checks), table.number("min_minutes", 0, 0, 600)
    )
    table.close()
    return exclude


def _completion(table: Table) -> Completion:
    completion = Completion(
        source=table.choice("source", "", SOURCES),
        code=table.text("code", "", r"\S{1,100}", "a code without spaces"),
        url=table.text("url", "", r"https://\S{1,500}", "an address that begins with https://"),
    )
    table.close()
    return completion


def _storage(table: Table) -> Storage:
    storage = Storage(
        database=table.text("database", "sqlite:///study.db", _DATABASE, "sqlite:///FILE or postgresql://HOST/NAME"),
        retention_days=table.number("retention_days", 365, 0, 36500),
        mirror=table.text("mirror", "", REPO, "a data set of the hub, OWNER/NAME"),
    )
    table.close()
    return storage


def _admin(table: Table) -> Admin:
    name = table.text("token_env", "DUPLEX_STUDY_TOKEN", r"[A-Za-z_][A-Za-z0-9_]*", "an environment variable's name")
    table.close()
    return Admin(name)


def _once(tables: Sequence[Table], keys: Sequence[str]) -> None:
    for number, (table, key) in enumerate(zip(tables, keys, strict=True)):
        if key and key in keys[:number]:
            table.problem("key", f"expected a key of its own, got {key!r} again")


def _agree(study: Study, notes: Notes) -> None:
    """What parts of a study have to agree on with each other."""
    arms = len(williams(len(study.systems)))
    if study.block % arms:
        notes.add(("block",), f"expected a multiple of the {arms} orders of the systems, got {study.block}")
    if study.compare.guess and "duplex" not in study.systems:
        notes.add(("compare", "guess"), "expected false: none of the systems listens while it speaks")
    if study.protocol == "paper":
        _agree_with_paper(study, notes)


def _agree_with_paper(study: Study, notes: Notes) -> None:
    if len(study.systems) != 2 or "duplex" not in study.systems:
        notes.add(("systems",), f"the paper's protocol has two, one of them duplex, got {', '.join(study.systems)}")
    if study.tasks.sessions < PAPER_SESSIONS:
        notes.add(
            ("tasks", "sessions"),
            f"the paper's protocol has at least {PAPER_SESSIONS} with each system, got {study.tasks.sessions}",
        )
    if study.ratings.scales != PAPER_SCALES:
        notes.add(("ratings", "scales"), f"the paper's protocol has {', '.join(PAPER_SCALES)}, in this order")
    for number, card in enumerate(study.tasks.sheet):
        if not card.first:
            notes.add(
                ("tasks", "sheet", number),
                'in the paper\'s protocol talks begin with the same sentence with both systems: add first = "…"',
            )
