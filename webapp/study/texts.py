"""Every word that a participant reads, in their language.

    texts = texts_of(study, "zh")                 # by key, with what the study fills in filled in
    texts["rate.speed"], texts["rate.speed.7"]    # a question, and a point of its scale
    card_of(study, "zh", "tea")                   # {"title": "…", "text": "…"}
    visible(texts, step)                          # what the page may have at this step
    explain(texts, step, refused)                 # {"comment": "This is too long. …"}
    say(texts, "error.too_soon", seconds=20, turns=1)

The words stand in texts/LANGUAGE.toml here. A study's own folder may have texts/LANGUAGE.toml as well: single texts
that it puts in the place of ours, or all texts of a language that is not here. The question of an item is at
`item.text`, the text of an option or a point of a scale at `item.text.OPTION`, if it has one. Placeholders in MOMENT
are left for whoever shows the text.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import Any

from webapp.study.definition import AGREEMENT_SCALES, SCALES, Study
from webapp.study.reader import Notes, Problem, Refused, Where, dotted
from webapp.study.steps import SCALE_HIGH, SCALE_LOW, STRENGTHS, AnswersRefused, Step

FOLDER = Path(__file__).parent / "texts"
#: The language whose texts say which keys and placeholders there are.
REFERENCE = "en"
#: Placeholders that are filled when a text is shown.
MOMENT = frozenset(
    {"label", "label_1", "label_2", "label_3", "at", "of", "seconds", "turns", "code", "participant"}
    | {"low", "high", "longest"}
)
#: Building blocks begin with this and are not shown by themselves.
PART = "part."
#: Names of languages; a study may add some.
NAMES = "part.language."

_PLACEHOLDER = re.compile(r"\{([a-z_0-9]+)\}")


def texts_of(study: Study, language: str) -> dict[str, str]:
    """All texts of a study in one of its languages, by key; raises Refused if those in its folder are not in order."""
    raw, problems = read_texts(language, study.folder)
    if problems:
        raise Refused(problems)
    texts = {key: text for key, text in raw.items() if not key.startswith(PART)}
    texts["consent.body"] = study.consent.text.of(language) if study.consent.text else _consent(study, raw)
    texts |= _scales(raw) | _comparison(len(study.systems), raw) | _own_questions(study, language)
    speaks = " / ".join(raw.get(f"{NAMES}{code}", code) for code in study.speaks)
    texts["talk.note"] = "" if language in study.speaks else raw["part.talk.speaks"]
    values = {
        "title": study.title.of(language),
        "contact": study.consent.contact,
        "payment": study.consent.payment.of(language) if study.consent.payment else "",
        "minutes": study.consent.minutes,
        "systems": len(study.systems),
        "sessions": study.tasks.sessions,
        "retention_days": study.storage.retention_days,
        "speaks": speaks,
    }
    return {key: fill(text, values) for key, text in texts.items()}


def visible(texts: Mapping[str, str], step: Step) -> dict[str, str]:
    """What the page may have at a step: texts that tell how the systems differ come with their own page only."""
    hidden = tuple(f"{page}." for page in ("compare", "done") if page != step.kind)
    return {key: text for key, text in texts.items() if not key.startswith(hidden)}


def names_of(study: Study) -> dict[str, str]:
    """The study's languages by code, each named in itself."""
    return {code: read_texts(code, study.folder)[0].get(f"{NAMES}{code}", code) for code in study.languages}


def card_of(study: Study, language: str, key: str) -> dict[str, str]:
    """Title and text of a topic card, with the sentence to begin with if it has one."""
    card = study.tasks.card(key)
    text = card.text.of(language)
    if card.first:
        begin = read_texts(language, study.folder)[0]["part.talk.first"]
        text = f"{text}\n\n{fill(begin, {'first': card.first})}"
    return {"title": card.title.of(language), "text": text}


def say(texts: Mapping[str, str], key: str, **values: object) -> str:
    """The text of a key, filled; that of `error.unexpected` if there is no such key."""
    return fill(texts.get(key) or texts["error.unexpected"], values)


def explain(texts: Mapping[str, str], step: Step, refused: AnswersRefused) -> dict[str, str]:
    """A sentence for each item that was refused."""
    items = {item.key: item for item in step.items}
    said = {}
    for key, code in refused.items.items():
        item = items.get(key)
        bounds = {"low": item.low, "high": item.high, "longest": f"{item.longest:,}"} if item else {}
        said[key] = say(texts, f"error.{code}", **bounds)
    return said


def fill(text: str, values: Mapping[str, object]) -> str:
    """The text with `{name}` replaced by the values that there are; what they contain is not looked at again."""
    return _PLACEHOLDER.sub(lambda found: str(values.get(found[1], found[0])), text)


def placeholders(text: str) -> frozenset[str]:
    """The names between braces."""
    return frozenset(_PLACEHOLDER.findall(text))


def languages_here() -> tuple[str, ...]:
    """The languages that need no file in the study's folder."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.toml")))


def read_texts(language: str, folder: Path) -> tuple[dict[str, str], tuple[Problem, ...]]:
    """The texts of a language before anything is filled in, those in the study's folder first, and what is wrong with
    these: missing or unknown keys, empty texts, other placeholders than ours."""
    reference = _shipped(REFERENCE)
    texts = dict(_shipped(language)) if language in languages_here() else {}
    path = folder / "texts" / f"{language}.toml"
    problems: list[Problem] = []
    if path.exists():
        try:
            notes = Notes.of(path)
        except Refused as error:
            return {**reference, **texts}, error.problems
        for key, (where, text) in _flat(notes.values).items():
            if wrong := _wrong(key, text, reference):
                notes.add(where, wrong)
            else:
                texts[key] = text
        problems = notes.problems
    elif not texts:
        here = ", ".join(languages_here())
        problems = [Problem(str(path), 0, "", f"there are texts in {here}; for {language} write this file, in full")]
    missing = [key for key in reference if key not in texts]
    if missing and path.exists():
        some = ", ".join(missing[:10]) + (" …" if len(missing) > 10 else "")
        problems = [*problems, Problem(str(path), 0, "", f"{len(missing)} texts are missing: {some}")]
    return {**reference, **texts}, tuple(problems)


@cache
def _shipped(language: str) -> Mapping[str, str]:
    values = tomllib.loads((FOLDER / f"{language}.toml").read_text(encoding="utf-8"))
    return {key: str(text) for key, (_, text) in _flat(values).items()}


def _flat(values: Mapping[str, Any], path: Where = ()) -> dict[str, tuple[Where, Any]]:
    """Path and text by dotted key; the `text` of a table is that of the table itself."""
    found: dict[str, tuple[Where, Any]] = {}
    for name, value in values.items():
        where = (*path, name)
        if isinstance(value, dict):
            found |= _flat(value, where)
        else:
            found[dotted(path if name == "text" and path else where)] = (where, value)
    return found


def _wrong(key: str, text: Any, reference: Mapping[str, str]) -> str:
    """What is wrong with a text of the study, or nothing."""
    if key not in reference and not key.startswith(NAMES):
        return f"there is no such text; see {FOLDER.name}/{REFERENCE}.toml of the program for all keys"
    if not isinstance(text, str) or not text.strip():
        return f"expected text, got {text!r:.60}"
    known = placeholders(reference.get(key, ""))
    if unknown := placeholders(text) - known:
        return f"expected {_braced(known) or 'no placeholder'}, got {_braced(unknown)}"
    return ""


def _braced(names: Iterable[str]) -> str:
    return ", ".join(f"{{{name}}}" for name in sorted(names))


def _consent(study: Study, raw: Mapping[str, str]) -> str:
    """The paragraphs that are true of this study."""
    voice = study.way != "typing"
    parts = {
        "who": True,
        "what": True,
        "time": True,
        "payment": study.consent.payment is not None,
        "recorded": True,
        "keys": study.way != "voice",
        "speech": voice,
        "audio": voice and study.consent.audio,
        "no_audio": voice and not study.consent.audio,
        "private": True,
        "prolific": study.completion.source == "prolific",
        "kept_days": study.storage.retention_days > 0,
        "kept": study.storage.retention_days == 0,
        "mirror": study.storage.mirror != "",
        "publish": study.consent.publish,
        "risks": True,
        "voluntary": True,
        "withdraw": True,
    }
    return "\n\n".join(raw[f"part.consent.{name}"] for name, true in parts.items() if true)


def _scales(raw: Mapping[str, str]) -> dict[str, str]:
    """Words for the points of scales, and a text for each attention check."""
    texts = {}
    questions = {f"rate.{scale}": "agreement" if scale in AGREEMENT_SCALES else "quality" for scale in SCALES}
    for number in range(SCALE_LOW, SCALE_HIGH + 1):
        questions[f"attention.pick-{number}"] = "quality"
        texts[f"attention.pick-{number}"] = fill(raw["part.attention.pick"], {"number": number})
    for question, anchor in questions.items():
        for number in range(SCALE_LOW, SCALE_HIGH + 1):
            if words := raw.get(f"part.anchor.{anchor}.{number}"):
                texts[f"{question}.{number}"] = words
    return texts


def _comparison(systems: int, raw: Mapping[str, str]) -> dict[str, str]:
    """Questions and answers for each pair of positions; the letters are left to be filled."""
    labels = {position: f"{{label_{position}}}" for position in range(1, systems + 1)}
    texts = {
        f"compare.guess.{position}": fill(raw["part.preference.partner"], {"winner": label})
        for position, label in labels.items()
    }
    for first, second in combinations(labels, 2):
        key = f"compare.preference-{first}-{second}"
        texts[key] = fill(raw["part.preference.question"], {"first": labels[first], "second": labels[second]})
        for winner in (first, second):
            for strength in STRENGTHS:
                text = fill(raw[f"part.preference.{strength}"], {"winner": labels[winner]})
                texts[f"{key}.{winner}-{strength}"] = text
    return texts


def _own_questions(study: Study, language: str) -> dict[str, str]:
    """The words of the study's own questions about the participant."""
    texts = {}
    for question in study.about_you.questions:
        if question.text:
            texts[f"own.{question.key}"] = question.text.of(language)
            for option in question.options:
                texts[f"own.{question.key}.{option.key}"] = option.text.of(language) if option.text else option.key
    return texts
