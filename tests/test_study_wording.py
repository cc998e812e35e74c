from pathlib import Path
from typing import Any

import pytest
from starlette.requests import HTTPConnection

from tests.study_fakes import quick_study
from webapp.study.database import DatabaseAway
from webapp.study.definition import Study
from webapp.study.service import Refusal, Service
from webapp.study.wording import NAMELESS, in_words, language_of


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return quick_study(tmp_path)


@pytest.fixture
def service(study: Study) -> Service:
    database: Any = None  # words need none
    return Service(study, database)


def browser(languages: str) -> HTTPConnection:
    return HTTPConnection({"type": "http", "headers": [(b"accept-language", languages.encode())]})


@pytest.mark.parametrize(
    ("asked", "language"),
    [
        ("zh", "zh"), ("ZH-hant-TW", "zh"), ("zh-CN,zh;q=0.9,en;q=0.8", "zh"), ("en;q=0.2,zh;q=0.9", "zh"),
        ("fr,de", "en"), ("", "en"), ("*", "en"), (";q=", "en"), ("zh;q=nonsense,en", "en"), ("x" * 99_999, "en"),
    ],
)  # fmt: skip
def test_the_browser_says_which_language(study: Study, asked: str, language: str) -> None:
    assert language_of(browser(asked), study) == language


def test_a_refusal_of_somebody_known_is_in_their_language(service: Service) -> None:
    code, message = in_words(service, browser("zh"), service.refusal("talk_first", "en"))
    assert (code, message) == ("talk_first", service.texts["en"]["error.talk_first"])


@pytest.mark.parametrize("code", sorted(NAMELESS))
def test_a_refusal_of_somebody_unknown_is_in_their_browsers(service: Service, code: str) -> None:
    assert in_words(service, browser("zh"), service.refusal(code)) == (code, service.texts["zh"][f"error.{code}"])


@pytest.mark.parametrize(
    ("error", "code"),
    [(DatabaseAway(), "database_away"), (KeyError("secret"), "unexpected"), (OSError(), "unexpected")],
)
def test_other_errors_say_nothing_of_their_cause(service: Service, error: Exception, code: str) -> None:
    said = in_words(service, browser("zh"), error)
    assert said == (code, service.texts["zh"][f"error.{code}"])
    assert not isinstance(error, Refusal)
