import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from duplex_runtime.errors import DuplexError
from tests.web_fakes import PATIENCE, Client, Served, app_of
from webapp.app import MAX_RATING_BYTES
from webapp.store import Store

GOOD = {"system": "turns", "responsiveness": 2, "human_likeness": 5, "comment": "<b>=1+1</b>"}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with Served(app_of(tmp_path_factory.mktemp("app"))) as served:
        yield served


@pytest.fixture(scope="module")
def http(served: Served) -> Iterator[httpx.Client]:
    with served.http() as http:
        yield http


@pytest.fixture
def session(served: Served) -> str:
    with Client(served.ws) as client:
        return str(client.begin()["id"])


def rate(http: httpx.Client, session: str, rating: Any) -> httpx.Response:
    body = rating if isinstance(rating, str | bytes) else json.dumps(rating)
    return http.post(f"/v1/sessions/{session}/ratings", content=body)


# — the page —


def test_the_page_brings_its_own_script_and_style(http: httpx.Client) -> None:
    page = http.get("/")
    assert page.status_code == 200
    assert "Duplex Arena" in page.text
    for path, kind in (("page/app.js", "javascript"), ("page/arena.css", "text/css")):
        assert path in page.text
        assert kind in http.get(f"/{path}").headers["content-type"]


def test_every_module_that_the_script_imports_is_served(http: httpx.Client) -> None:
    seen, waiting = set(), ["app.js"]
    while waiting:
        name = waiting.pop()
        seen.add(name)
        file = http.get(f"/page/{name}")
        assert file.status_code == 200, name
        waiting += set(re.findall(r'from "\./([\w.]+)"', file.text)) - seen
    assert {"app.js", "arena.js", "wire.js"} <= seen


def test_our_static_files_leave_room_for_those_of_gradio(http: httpx.Client) -> None:
    """Its page asks for this one, which fits the page into the frame of a Space."""
    asked = set(re.findall(r"static/js/[\w.]+", http.get("/").text))
    assert asked
    assert {name: http.get(f"/{name}").status_code for name in asked} == dict.fromkeys(asked, 200)


def test_nothing_lies_open_beside_the_static_files(http: httpx.Client) -> None:
    for path in ("/page/../pyproject.toml", "/page/%2e%2e/pyproject.toml", "/page/..%2fpyproject.toml",
                 "/data/ratings.db", "/page/"):  # fmt: skip
        response = http.get(path)
        assert response.status_code in (404, 405) or "duplex-arena" not in response.text, path


def test_the_interface_is_not_described_to_strangers(http: httpx.Client) -> None:
    for path in ("/docs", "/redoc"):
        assert http.get(path).status_code == 404


# — ratings —


def test_a_rating_is_answered_with_its_number_and_is_on_disk(http: httpx.Client, served: Served, session: str) -> None:
    response = rate(http, session, GOOD)
    assert response.status_code == 201
    rows = {row["id"]: row for row in Store(served.arena.settings.data).ratings()}
    row = rows[response.json()["id"]]
    assert {key: row[key] for key in GOOD} == GOOD
    assert (served.arena.settings.data / "recordings" / row["recording"]).is_file()


@pytest.mark.parametrize(
    "rating",
    [GOOD | {"responsiveness": 0}, GOOD | {"human_likeness": 8}, GOOD | {"system": "left"}, GOOD | {"comment": 5},
     {}, [], None, "", "{", b"\xff\xfe", "[" * 60_000, '{"system":' * 5_000, '{"responsiveness": NaN}',
     '{"system": "duplex", "responsiveness": 1' + "0" * 5000 + "}"],
    ids=lambda rating: ascii(rating)[:24],
)  # fmt: skip
def test_a_rating_that_is_none_is_refused_in_words(http: httpx.Client, session: str, rating: Any) -> None:
    response = rate(http, session, rating)
    assert response.status_code == 422
    error = response.json()["error"]
    assert error["code"] == "bad_input"
    assert "expected" in error["message"]


@pytest.mark.parametrize("depth", range(900, 1000, 7))
def test_a_rating_may_be_nested_as_deep_as_it_likes(http: httpx.Client, session: str, depth: int) -> None:
    deep = "[" * depth + "]" * depth
    assert rate(http, session, f'{{"system": {deep}}}').status_code == 422


def test_a_rating_as_long_as_a_book_is_refused(http: httpx.Client, session: str) -> None:
    response = rate(http, session, GOOD | {"comment": "x" * 1_000_000})
    assert response.status_code == 422
    assert str(MAX_RATING_BYTES) in response.json()["error"]["message"]


def test_a_talk_that_was_never_held_cannot_be_rated(http: httpx.Client) -> None:
    response = rate(http, "session-unknown", GOOD)
    assert response.status_code == 404
    assert response.json()["error"]["code"] == "unknown_session"


@pytest.mark.parametrize("session", ["..%2f..%2fratings", "%2e%2e", "a%00bcdefgh", "x" * 5000, "sess.jsonl", "%20" * 9])
def test_no_session_id_leads_out_of_the_folder(http: httpx.Client, session: str) -> None:
    assert rate(http, session, GOOD).status_code in (404, 405, 422)


def test_a_rating_that_was_not_stored_is_told(
    http: httpx.Client, served: Served, session: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = served.arena.store
    connect, before = store._connect, len(store.ratings())

    def read_only() -> Any:
        connection = connect()
        connection.execute("PRAGMA query_only = ON")
        return connection

    with monkeypatch.context() as patch:
        patch.setattr(store, "_connect", read_only)
        response = rate(http, session, GOOD)
    assert response.status_code == 507
    assert response.json()["error"]["code"] == "not_stored"
    assert len(store.ratings()) == before
    assert rate(http, session, GOOD).status_code == 201


# — from other pages —


def test_another_web_page_cannot_listen_in(served: Served) -> None:
    """A page from elsewhere may open a WebSocket to this machine: the browser does not stop it, the server must."""
    from websockets.exceptions import InvalidStatus
    from websockets.sync.client import connect

    with pytest.raises(InvalidStatus), connect(served.ws, proxy=None, origin="https://elsewhere.example") as socket:
        socket.send('{"type": "session.update", "session": {}}')
        socket.recv(timeout=PATIENCE)


# — at the start and at the end —


def test_a_folder_that_cannot_be_made_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DuplexError, match="--data"):
        app_of(tmp_path / "file" / "data")


def test_the_end_of_the_server_ends_its_workers(tmp_path: Path) -> None:
    app = app_of(tmp_path)
    served = Served(app)
    with Client(served.ws) as client:
        client.begin()
        client.type("count.")
        client.until("response.created", system="duplex")
        served.stop()
        assert client.until_closed() in (1001, 1012)
    assert not [w for w in app.state.arena.workers.values() if w._thread.is_alive()]
