from __future__ import annotations

import ast
import asyncio
import base64
import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import Request, WebSocket

from duplex_runtime.errors import BadInput
from tests.study_fakes import quick_study
from tests.web_fakes import Client, Served, app_of
from webapp.app import MAX_RATINGS
from webapp.security import HEADERS, MAX_BODY, PersonRates, Secured, from_here, read_body
from webapp.settings import SPACE_ANCESTORS, Settings

ROOT = Path(__file__).resolve().parents[1]
RATING = {"system": "turns", "responsiveness": 2, "human_likeness": 5, "comment": ""}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with Served(app_of(tmp_path_factory.mktemp("security"))) as served:
        yield served


@pytest.fixture(scope="module")
def http(served: Served) -> Iterator[httpx.Client]:
    with served.http() as http:
        yield http


def policy(response: httpx.Response) -> dict[str, list[str]]:
    """The directives of a Content-Security-Policy."""
    parts = [part.split() for part in response.headers["content-security-policy"].split(";")]
    return {part[0]: part[1:] for part in parts}


# — headers —


@pytest.mark.parametrize(
    "path", ["/", "/page/app.js", "/page/arena.css", "/healthz", "/metrics", "/config", "/nothing"]
)
def test_every_response_has_the_headers(http: httpx.Client, path: str) -> None:
    response = http.get(path)
    assert {name: response.headers[name] for name in HEADERS} == HEADERS
    assert policy(response)["frame-ancestors"] == ["'self'"]
    assert policy(response)["object-src"] == ["'none'"]


def test_errors_and_answers_to_posts_have_them_too(http: httpx.Client) -> None:
    for response in (
        http.post("/v1/sessions/session-none/ratings", content="{}"),
        http.post("/gradio_api/upload", content="x"),
        http.post("/v1/sessions/session-none/ratings", content=b"x" * (MAX_BODY + 1)),
    ):
        assert response.status_code in (403, 413, 422)
        assert {name: response.headers[name] for name in HEADERS} == HEADERS


def test_the_microphone_is_for_this_page_alone() -> None:
    assert "microphone=(self)" in HEADERS["Permissions-Policy"]
    assert "camera=()" in HEADERS["Permissions-Policy"]


def test_the_page_may_run_its_own_scripts_and_no_other(http: httpx.Client) -> None:
    page = http.get("/", headers={"Accept-Encoding": "br, gzip"})
    scripts = re.findall(rb"<script(?: data[^>]*)?>(.+?)</script>", page.content, re.DOTALL)
    hashes = {f"'sha256-{base64.b64encode(hashlib.sha256(s).digest()).decode()}'" for s in scripts}
    assert len(hashes) >= 2
    assert set(policy(page)["script-src"]) == {"'self'", "'unsafe-eval'", *hashes}
    assert int(page.headers["content-length"]) == len(page.content)


def test_what_is_no_page_may_run_nothing_written_into_it(http: httpx.Client) -> None:
    assert policy(http.get("/page/app.js"))["script-src"] == ["'self'"]


def test_no_other_host_is_ever_loaded_from(http: httpx.Client) -> None:
    sources = {source for sources in policy(http.get("/")).values() for source in sources}
    assert {s for s in sources if not s.startswith("'sha256-")} <= {
        "'self'", "'none'", "'unsafe-eval'", "'unsafe-inline'", "data:", "blob:"
    }  # fmt: skip
    assert "'unsafe-inline'" not in policy(http.get("/"))["script-src"]


def test_a_study_keeps_its_stricter_policy_and_may_be_framed_as_set(tmp_path: Path) -> None:
    study = quick_study(tmp_path / "study")
    app = app_of(tmp_path / "data", study=study.folder, frame_ancestors=("https://lab.example",))
    with Served(app) as served:
        base = f"{served.url}/study/{study.name}"
        page = httpx.get(f"{base}/", trust_env=False)
        own, added = page.headers.get_list("content-security-policy")
        assert "unsafe-eval" not in own and "script-src" not in own and "default-src 'self'" in own
        assert added == "frame-ancestors https://lab.example"
        assert page.headers["referrer-policy"] == "no-referrer"
        state = httpx.get(f"{base}/state", trust_env=False)
        assert policy(state)["script-src"] == ["'self'"]
        assert policy(state)["frame-ancestors"] == ["https://lab.example"]


@pytest.mark.parametrize(
    ("environment", "ancestors"),
    [({}, ("'self'",)),
     ({"SPACE_ID": "owner/arena"}, SPACE_ANCESTORS),
     ({"SPACE_ID": "owner/arena", "DUPLEX_FRAME_ANCESTORS": "'none'"}, ("'none'",)),
     ({"DUPLEX_FRAME_ANCESTORS": "https://a.example https://b.example"}, ("https://a.example", "https://b.example"))],
)  # fmt: skip
def test_who_may_frame_the_page(
    environment: dict[str, str], ancestors: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("SPACE_ID", "DUPLEX_FRAME_ANCESTORS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert Settings.from_environment().frame_ancestors == ancestors


def test_the_metrics_token_is_read_and_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DUPLEX_METRICS_TOKEN", "open-sesame")
    settings = Settings.from_environment()
    assert settings.metrics_token == "open-sesame"
    assert "open-sesame" not in repr(settings)


# — the middleware by itself —


class Wire:
    """An ASGI server that hands over a request's parts and keeps what comes back."""

    def __init__(self, *parts: bytes, **headers: str) -> None:
        raw = [(key.replace("_", "-").encode(), value.encode()) for key, value in headers.items()]
        self.scope: dict[str, Any] = {"type": "http", "method": "POST", "path": "/x", "headers": raw}
        self._parts = list(parts)
        self.handed = 0
        self.sent: list[dict[str, Any]] = []

    async def receive(self) -> dict[str, Any]:
        if not self._parts:
            return {"type": "http.disconnect"}
        self.handed += 1
        part = self._parts.pop(0)
        return {"type": "http.request", "body": part, "more_body": bool(self._parts)}

    async def send(self, message: Any) -> None:
        self.sent.append(message)

    def run(self, app: Any, most: int = 10) -> Wire:
        asyncio.run(Secured(app, ("'self'",), most)(self.scope, self.receive, self.send))
        return self

    @property
    def status(self) -> int:
        (start,) = [message for message in self.sent if message["type"] == "http.response.start"]
        return int(start["status"])


async def echo(scope: Any, receive: Any, send: Any) -> None:
    body = await Request(scope, receive).body()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


async def stubborn(scope: Any, receive: Any, send: Any) -> None:
    """Answers whatever happens to the request."""
    while (await receive())["type"] != "http.disconnect":
        pass
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"fine"})


async def never(scope: Any, receive: Any, send: Any) -> None:
    raise AssertionError("the application was asked")


def test_a_body_of_the_right_size_passes() -> None:
    wire = Wire(b"12345", b"67890").run(echo)
    assert wire.status == 200
    assert wire.sent[-1]["body"] == b"1234567890"


def test_a_length_that_is_too_large_is_refused_before_anything_is_read() -> None:
    wire = Wire(b"x" * 5, content_length="11").run(never)
    assert (wire.status, wire.handed) == (413, 0)


@pytest.mark.parametrize("length", ["9" * 5000, "-1", "ten", ""])
def test_a_length_that_makes_no_sense_does_no_harm(length: str) -> None:
    assert Wire(b"x" * 5, content_length=length).run(echo).status in (200, 413)


@pytest.mark.parametrize("app", [echo, stubborn])
def test_a_body_that_grows_too_large_is_refused_while_it_is_read(app: Any) -> None:
    wire = Wire(*[b"123456"] * 100).run(app)
    assert wire.status == 413
    assert wire.handed == 2
    assert json.loads(wire.sent[-1]["body"])["error"]["code"] == "too_large"


def test_an_answer_that_has_begun_is_not_mixed_with_another() -> None:
    async def eager(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await stubborn(scope, receive, lambda message: asyncio.sleep(0))

    assert Wire(*[b"123456"] * 3).run(eager).status == 200


def test_a_client_that_leaves_is_still_told_to_the_application() -> None:
    from starlette.requests import ClientDisconnect

    with pytest.raises(ClientDisconnect):
        Wire().run(echo)


def test_a_stream_is_passed_on_part_by_part() -> None:
    seen = []

    async def stream(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for part in (b"one", b"two"):
            await send({"type": "http.response.body", "body": part, "more_body": True})
            seen.append(len(wire.sent))

    wire = Wire()
    wire.run(stream)
    assert seen == [2, 3]


def test_a_page_in_parts_gets_the_hashes_of_all() -> None:
    async def page(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"content-type", b"text/html; charset=utf-8")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for part in (b"<script>a", b"()</script><SCRIPT type=module>\nb()\n</SCRIPT><script src='x'>c()</script>"):
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    start, body = Wire().run(page).sent
    given = dict(start["headers"])[b"content-security-policy"].decode()
    for script, allowed in ((b"a()", True), (b"\nb()\n", True), (b"c()", False)):
        assert (base64.b64encode(hashlib.sha256(script).digest()).decode() in given) is allowed
    assert body["body"].startswith(b"<script>a()</script>")


def test_a_websocket_passes_untouched() -> None:
    passed = []

    async def app(*given: Any) -> None:
        passed.append(given)

    given = ({"type": "websocket", "path": "/gradio_api/upload"}, object(), object())
    asyncio.run(Secured(app, ())(*given))  # type: ignore[arg-type]
    assert passed == [given]


# — what people send —


@pytest.mark.parametrize("path", ["/v1/sessions/session-none/ratings", "/gradio_api/queue/join"])
def test_no_route_reads_more_than_the_bound(http: httpx.Client, path: str) -> None:
    def parts() -> Iterator[bytes]:
        for _ in range(40):
            yield b"x" * 100_000

    assert http.post(path, content=parts()).status_code in (413, 422)
    assert http.post(path, content=b"x" * (MAX_BODY + 1)).status_code == 413


@pytest.mark.parametrize(
    "path", ["/gradio_api/upload", "/gradio_api/upload?upload_id=1", "/gradio_api/process_recording"]
)
def test_nothing_can_be_uploaded_into_the_servers_temporary_folder(http: httpx.Client, path: str) -> None:
    assert http.post(path, files={"files": ("a.txt", b"hello")}).status_code == 403


def test_a_body_is_read_no_further_than_its_bound() -> None:
    wire = Wire(*[b"123456"] * 100)
    with pytest.raises(BadInput, match="at most 15 bytes"):
        asyncio.run(read_body(Request(wire.scope, wire.receive), 15))
    assert wire.handed == 3
    assert asyncio.run(read_body(Request(*(lambda w: (w.scope, w.receive))(Wire(b"123", b"45"))), 5)) == b"12345"


def test_one_person_cannot_flood_the_ratings_and_others_do_not_notice(served: Served, http: httpx.Client) -> None:
    sessions = []
    for _ in range(2):
        with Client(served.ws) as client:
            sessions.append(client.begin()["id"])
    first, second = (f"/v1/sessions/{session}/ratings" for session in sessions)
    statuses = [http.post(first, json=RATING).status_code for _ in range(MAX_RATINGS + 3)]
    assert statuses[:MAX_RATINGS] == [201] * MAX_RATINGS
    assert statuses[-1] == 429
    refused = http.post(first, json=RATING).json()["error"]
    assert refused["code"] == "too_fast" and "ratings" in refused["message"]
    assert http.post(second, json=RATING).status_code == 201


def test_what_a_person_may_do_comes_back_with_time() -> None:
    rates = PersonRates("ratings", 6)
    assert [rates.take("a", 0.0) is None for _ in range(8)] == [True] * 6 + [False] * 2
    assert rates.take("a", 9.0) is not None
    assert rates.take("a", 11.0) is None
    assert rates.take("b", 11.0) is None


def test_the_people_that_are_remembered_are_bounded() -> None:
    rates = PersonRates("ratings", 1, people=3)
    for number in range(1000):
        rates.take(str(number), 0.0)
    assert rates.take("999", 0.0) is not None
    assert rates.take("0", 0.0) is None
    assert len(rates._people) == 3


# — who may connect —


@pytest.mark.parametrize(
    ("origin", "host", "allowed"),
    [
        (None, "arena.example", True),  # a program
        ("https://arena.example", "arena.example", True),
        ("http://127.0.0.1:7860", "127.0.0.1:7860", True),
        ("http://127.0.0.1:7861", "127.0.0.1:7860", False),  # another program on this machine
        ("http://127.0.0.1", "127.0.0.1:7860", False),
        ("http://localhost:7860", "127.0.0.1:7860", False),
        ("http://[::1]:7860", "[::1]:7860", True),
        ("http://[::1]:7861", "[::1]:7860", False),
        ("http://[::1", "[::1]:7860", False),
        ("https://owner-arena.hf.space", "owner-arena.hf.space", True),  # in the frame of huggingface.co
        ("https://huggingface.co", "owner-arena.hf.space", False),
        ("https://other-arena.hf.space", "owner-arena.hf.space", False),
        ("null", "arena.example", False),  # a sandboxed frame, a file
        ("null", "", False),
        ("null", None, False),
        ("", "", False),
        ("file://", "", False),
        ("https://arena.example.evil.example", "arena.example", False),
        ("https://arena.example@evil.example", "arena.example", False),
        ("https://evil.example/arena.example", "arena.example", False),
        ("https://friend.example", "arena.example", True),  # named in DUPLEX_ORIGINS
        ("https://friend.example:8443", "arena.example", False),
        ("http://friend.example", "arena.example", False),
    ],
)
def test_a_page_may_connect_to_the_server_that_it_came_from(
    origin: str | None, host: str | None, allowed: bool
) -> None:
    given = (("origin", origin), ("host", host))
    headers = [(name.encode(), value.encode()) for name, value in given if value is not None]
    scope = {"type": "websocket", "headers": headers}
    socket = WebSocket(scope, None, None)  # type: ignore[arg-type]
    assert from_here(socket, ("https://friend.example",)) is allowed


# — in the source —

#: Ways in which text becomes HTML or a program.
DANGEROUS = re.compile(
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|srcdoc|setHTML|createContextualFragment|parseFromString|"
    r"\beval\s*\(|new\s+Function|javascript:|setAttribute\(\s*[\"'`]on|\bon\w+=\\?[\"'`]"
)


def test_the_page_never_makes_html_or_programs_of_text() -> None:
    files = [path for path in (ROOT / "static").rglob("*") if path.suffix in (".js", ".html", ".svg")]
    assert len(files) > 20
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in files
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if DANGEROUS.search(line)
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("line", ["x.innerHTML = y;", "eval(x)", '<p onclick="x()">', "setAttribute('onload', x)"])
def test_the_pattern_finds_what_it_is_for(line: str) -> None:
    assert DANGEROUS.search(line)


def test_no_secret_is_compared_in_a_way_that_tells_how_much_of_it_was_right() -> None:
    secret = re.compile(r"token|secret|digest|password|hash", re.IGNORECASE)

    def named(node: ast.expr) -> bool:
        name = node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
        return bool(secret.search(name)) and not name.startswith("num_")

    def compared(source: str) -> list[int]:
        nodes = list(ast.walk(ast.parse(source)))
        calls = [n for n in nodes if isinstance(n, ast.Call) and isinstance(n.func, ast.Attribute)]
        looked_up = {arg for n in calls if n.func.attr == "where" for arg in n.args}  # a hash in a database's index
        return [
            node.lineno
            for node in nodes
            if isinstance(node, ast.Compare)
            and node not in looked_up
            and any(isinstance(operator, ast.Eq | ast.NotEq) for operator in node.ops)
            and any(named(side) for side in (node.left, *node.comparators))
        ]

    assert compared("if given != self._token: pass") == [1]
    found = {
        path.name: lines for path in (ROOT / "webapp").rglob("*.py") if (lines := compared(path.read_text("utf-8")))
    }
    assert not found
