"""Errors as a participant reads them: a code for the page, and a sentence in their language or their browser's.

code, message = in_words(service, request, error)
"""

from __future__ import annotations

from starlette.requests import HTTPConnection

from webapp.study.database import DatabaseAway
from webapp.study.definition import Study
from webapp.study.service import Refusal, Service
from webapp.study.texts import say

#: Said in the browser's language, for whose place it is was not known.
NAMELESS = frozenset(
    {"bad_request", "no_token", "wrong_token", "unknown_language", "conflict", "already_taken", "too_large", "busy"}
)


def in_words(service: Service, connection: HTTPConnection, error: Exception) -> tuple[str, str]:
    """Code and sentence; whatever is neither a refusal nor a database that fails is unexpected."""
    if isinstance(error, Refusal) and error.code not in NAMELESS:
        return error.code, str(error)
    code = error.code if isinstance(error, Refusal | DatabaseAway) else "unexpected"
    return code, say(service.texts[language_of(connection, service.study)], f"error.{code}")


def language_of(connection: HTTPConnection, study: Study) -> str:
    """The study's language that the browser asks for first; the study's first if it asks for none of them."""
    wanted = []
    for part in connection.headers.get("accept-language", "").split(",")[:20]:
        name, _, quality = part.partition(";q=")
        try:
            wanted.append((-float(quality or 1), name.strip().lower()))
        except ValueError:
            continue
    for _, name in sorted(wanted, key=lambda pair: pair[0]):
        for language in map(str.lower, study.languages):
            if name == language or name.split("-")[0] == language.split("-")[0]:
                return next(each for each in study.languages if each.lower() == language)
    return study.languages[0]
