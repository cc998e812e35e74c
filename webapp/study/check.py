"""What is wrong with a study, and what would go wrong on the day: `duplex study check`.

    for problem in problems_of(Path("my-study"), os.environ):
        print(problem)                            # my-study/study.toml line 31: consent.contact: fill it in: …

Everything is found at once. Nothing is changed: no database and no table is made.
"""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from webapp.study.definition import Study, Words
from webapp.study.hub import problem_of
from webapp.study.parse import draft, file_of
from webapp.study.reader import Notes, Problem, Refused, Where
from webapp.study.texts import read_texts

#: In a text that its author has still to write.
PLACEHOLDER = "FILL IN"
#: In less time nobody asks something, hears the answer and breaks in.
LEAST_SECONDS = 30
#: One thing said and one answer do not show how a system takes turns.
LEAST_TURNS = 2
#: Reading, ratings and questions, beside the talks.
OTHER_MINUTES = 5
SHORTEST_TOKEN = 16
#: Seconds to wait for a database.
PATIENCE_SECONDS = 5

Found = Iterator[tuple[Where, str]]


def problems_of(path: Path, environment: Mapping[str, str]) -> tuple[Problem, ...]:
    """Every problem of the study in a folder or a file, by line."""
    try:
        study, mistakes = draft(path)
        notes = Notes.of(file_of(path))
    except Refused as error:
        return error.problems
    for where, message in _of_the_day(study, environment, notes):
        notes.add(where, message)
    known = {mistake.key for mistake in mistakes}
    found = [*mistakes, *(problem for problem in notes.problems if problem.key not in known)]
    for language in study.languages:
        found += read_texts(language, study.folder)[1]
    return tuple(sorted(found, key=lambda problem: (problem.file, problem.line)))


def _of_the_day(study: Study, environment: Mapping[str, str], notes: Notes) -> Found:
    yield from _placeholders(notes.values)
    yield from _translations(study)
    yield from _talks(study)
    yield from _completion(study)
    yield from _model(study)
    yield from _token(study, environment)
    if message := _database(study):
        yield ("storage", "database"), message
    if study.storage.mirror and (message := problem_of(study.storage.mirror)):
        yield ("storage", "mirror"), message


def _placeholders(value: object, where: Where = ()) -> Found:
    if isinstance(value, dict):
        for key, entry in value.items():
            yield from _placeholders(entry, (*where, key))
    elif isinstance(value, list):
        for number, entry in enumerate(value):
            yield from _placeholders(entry, (*where, number))
    elif isinstance(value, str) and PLACEHOLDER in value:
        yield where, f"fill it in: {value!r:.60}"


def _translations(study: Study) -> Found:
    for where, words in _words(study):
        if lacking := words.lacks(study.languages):
            example = ", ".join(f'{language} = "…"' for language in study.languages)
            yield where, f"participants may read {', '.join(lacking)}, and there is no text for it: write {{{example}}}"


def _words(study: Study) -> Iterator[tuple[Where, Words]]:
    yield ("title",), study.title
    for key, words in (("payment", study.consent.payment), ("text", study.consent.text)):
        if words:
            yield ("consent", key), words
    for number, card in enumerate(study.tasks.sheet):
        yield ("tasks", "sheet", number, "title"), card.title
        yield ("tasks", "sheet", number, "text"), card.text
    for number, question in enumerate(study.about_you.questions):
        if question.text:
            yield ("about_you", "questions", number, "text"), question.text
        for nth, option in enumerate(question.options):
            if option.text:
                yield ("about_you", "questions", number, "options", nth), option.text


def _talks(study: Study) -> Found:
    tasks = study.tasks
    if tasks.min_seconds < LEAST_SECONDS:
        yield (
            ("tasks", "min_seconds"),
            f"in {tasks.min_seconds} s nobody notices how a system takes turns: {LEAST_SECONDS} or more, better 60",
        )
    if tasks.min_turns < LEAST_TURNS:
        yield (
            ("tasks", "min_turns"),
            f"saying {tasks.min_turns} thing shows nobody how a system takes turns: {LEAST_TURNS} or more",
        )
    talking = len(study.systems) * tasks.sessions * tasks.min_seconds / 60
    if study.consent.minutes < talking + OTHER_MINUTES:
        yield (
            ("consent", "minutes"),
            f"people are told {study.consent.minutes} minutes, and the talks alone take {talking:.0f} or more: "
            f"say at least {talking + OTHER_MINUTES:.0f}, or ask for fewer or shorter talks",
        )


def _completion(study: Study) -> Found:
    completion = study.completion
    if completion.source and not completion.code:
        yield (
            ("completion", "code"),
            f"people come from {completion.source}, and without a completion code they are not paid: add it",
        )
    if completion.url and completion.code and completion.code not in completion.url:
        yield ("completion", "url"), f"the address does not contain the code {completion.code}: copy both again"


def _model(study: Study) -> Found:
    if study.model == "embedded" and study.speaks != ("en",):
        yield ("speaks",), 'the embedded model speaks English only: write speaks = ["en"]'
    if study.model.startswith((".", "/", "~")) and not Path(study.model).expanduser().is_dir():
        yield ("model",), f"there is no model folder {study.model}"


def _token(study: Study, environment: Mapping[str, str]) -> Found:
    name = study.admin.token_env
    token = environment.get(name, "")
    if len(token) < SHORTEST_TOKEN:
        came = f"it has {len(token)} characters" if token else "it is not set"
        yield (
            ("admin", "token_env"),
            f"expected {SHORTEST_TOKEN} characters or more in the environment variable {name}, and {came}: "
            f'export {name}="$(openssl rand -hex 16)"',
        )


def _database(study: Study) -> str:
    """What keeps the database from taking answers, or nothing."""
    url = study.database_url
    try:
        import sqlalchemy  # noqa: F401
    except ImportError:
        return "it needs SQLAlchemy: pip install 'duplex-arena[study]'"
    if url.startswith("sqlite"):
        return _sqlite(Path(url.removeprefix("sqlite:///")))
    return _postgresql(url)


def _sqlite(file: Path) -> str:
    try:
        if not file.exists():
            with tempfile.NamedTemporaryFile(dir=file.parent):
                return ""
        address = f"file:{quote(str(file))}?mode=rw"
        with closing(sqlite3.connect(address, uri=True, timeout=PATIENCE_SECONDS)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("ROLLBACK")
    except OSError as error:
        return f"it would be made in {file.parent}, and that cannot be written to: {error.strerror}"
    except sqlite3.Error as error:
        return f"{file} cannot be written to: {error}"
    return ""


def _postgresql(url: str) -> str:
    from sqlalchemy import create_engine, make_url, text
    from sqlalchemy.exc import SQLAlchemyError

    try:
        parsed = make_url(url)
        if parsed.password:
            return "the address holds a password, and others will read this file: take it out and set PGPASSWORD"
        waits = "connect_timeout" if parsed.get_driver_name() == "psycopg" else "timeout"
        engine = create_engine(parsed, connect_args={waits: PATIENCE_SECONDS})
        try:
            with engine.connect() as connection:  # what is made here is gone when the connection is closed
                connection.execute(text("CREATE TEMPORARY TABLE duplex_study_check (n INTEGER)"))
        finally:
            engine.dispose()
    except ImportError as error:
        return f"its driver is not installed ({error.name}): pip install 'psycopg[binary]'"
    except SQLAlchemyError as error:
        return f"it cannot be reached or written to: {str(error).splitlines()[0]:.200}"
    return ""
