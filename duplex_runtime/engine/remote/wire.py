"""HTTP to one server: JSON and server-sent events, bounded in time and size. Every failure becomes a `Fault`."""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any
from urllib.parse import urlsplit

import httpx

from duplex_runtime.errors import BadInput

#: Bytes of one answer, and of one line of a stream: far more than an honest answer has.
MAX_ANSWER = 16 << 20
MAX_LINE = 1 << 20

#: Servers close idle connections after five seconds (llama.cpp, uvicorn): we do so first.
KEEP_ALIVE_SECONDS = 3.0


class Fault(Exception):
    """A server did not do what was asked. `retry_seconds`: None, or when the same server may be asked again.
    `status`: of HTTP, where it answered with one; 200 for an error reported inside a stream."""

    def __init__(self, message: str, retry_seconds: float | None = None, status: int | None = None) -> None:
        super().__init__(message)
        self.retry_seconds, self.status = retry_seconds, status


class Unfit(Fault):
    """The server answers, but it is not the one that is wanted: asking again changes nothing."""


def base_url(url: str) -> str:
    """`url` without a trailing slash or `/v1`; raises BadInput if it is not the plain address of a server."""
    expected = "expected the address of an inference server such as http://127.0.0.1:8080"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise BadInput(f"{expected}, got {url!r} ({error})") from None
    if parts.username or parts.password:
        raise BadInput(f"{expected}; a name or password does not belong in it: use the API key")
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise BadInput(f"{expected} with http or https, got {url!r}")
    if parts.query or parts.fragment or any(c.isspace() or not c.isprintable() for c in url):
        raise BadInput(f"{expected} and nothing behind it, got {url!r}")
    return url.rstrip("/").removesuffix("/v1").rstrip("/")


class Wire:
    """A connection pool to one server. Used on one event loop only.

    No redirect is followed and no proxy or password is taken from the environment: what a person types goes to
    the address that the operator gave, and nowhere else.
    """

    def __init__(self, url: str, api_key: str | None, timeout_seconds: float) -> None:
        self.url = url
        headers = {"Accept-Encoding": "identity", "User-Agent": "duplex-arena"}
        if api_key is not None:
            headers["Authorization"] = f"Bearer {api_key}"
        secure = url.startswith("https:")
        self._client = httpx.AsyncClient(
            headers=headers,
            # reading all certificates takes 30 ms; without them nothing is trusted, and http needs none
            verify=ssl.create_default_context() if secure else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
            timeout=httpx.Timeout(timeout_seconds, connect=min(timeout_seconds, 5.0), pool=None),
            limits=httpx.Limits(max_connections=None, keepalive_expiry=KEEP_ALIVE_SECONDS),
            follow_redirects=False,
            trust_env=False,
        )

    async def close(self) -> None:
        """Close all connections."""
        await self._client.aclose()

    async def get(self, path: str) -> dict[str, Any]:
        """The JSON object at `path`."""
        return _object(await self._read("GET", path, None))

    async def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """The JSON object that `body` is answered with."""
        return _object(await self._read("POST", path, body))

    async def post_for_text(self, path: str, body: dict[str, Any]) -> str:
        """As `post`, for an answer that is one JSON string, or empty."""
        content = await self._read("POST", path, body)
        value = _parsed(content) if content.strip() else ""
        if not isinstance(value, str):
            raise Fault(f"expected a JSON string from {path}, got {_short(content)}")
        return value

    async def events(self, path: str, body: dict[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        """JSON objects of a stream of server-sent events, up to `[DONE]` or its end."""
        async with aclosing(self._chunks("POST", path, body)) as chunks:
            pending = b""
            async for chunk in chunks:
                *lines, pending = (pending + chunk).split(b"\n")
                if len(pending) > MAX_LINE:
                    raise Fault(f"a line of its stream is longer than {MAX_LINE} bytes")
                for line in lines:
                    event = _event(line)
                    if event == "[DONE]":
                        return
                    if isinstance(event, dict):
                        yield event

    async def _read(self, method: str, path: str, body: dict[str, Any] | None) -> bytes:
        async with aclosing(self._chunks(method, path, body)) as chunks:
            return b"".join([chunk async for chunk in chunks])

    async def _chunks(self, method: str, path: str, body: dict[str, Any] | None) -> AsyncGenerator[bytes, None]:
        begun = False
        size = 0
        try:
            async with self._client.stream(method, self.url + path, json=body) as response:
                begun = True
                if response.status_code != 200:
                    raise await _refusal(response, path)
                async for chunk in response.aiter_bytes():
                    size += len(chunk)
                    if size > MAX_ANSWER:
                        raise Fault(f"its answer is longer than {MAX_ANSWER} bytes")
                    yield chunk
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise Fault(f"cannot be reached ({error or type(error).__name__})") from None
        except httpx.TimeoutException:
            raise Fault("did not answer in time") from None
        except httpx.DecodingError:
            raise Fault("its answer cannot be decoded") from None
        except httpx.HTTPError as error:
            # a connection that was kept may have been closed meanwhile: worth one more try
            what = "broke off its answer" if begun else "closed the connection"
            raise Fault(f"{what} ({error or type(error).__name__})", None if begun else 0.0) from None
        except httpx.InvalidURL as error:
            raise Unfit(f"not an address ({error})") from None


async def _refusal(response: httpx.Response, path: str) -> Fault:
    status = response.status_code
    if 300 <= status < 400:
        target = response.headers.get("location", "nowhere")
        return Unfit(f"redirects {path} to {target[:200]!r}; give the address that answers itself")
    begin = b""
    async for chunk in response.aiter_bytes():
        begin += chunk
        if len(begin) > 4096:
            break
    said = f"HTTP {status} for {path}: {_message(begin)}"
    if status in (401, 403):
        return Unfit(f"refuses the API key ({said})")
    if status in (404, 405):
        return Unfit(f"does not know {path} ({said})")
    if status == 429:
        return Fault(f"is too busy ({said})", 0.5, status)
    return Fault(said, status=status)


def _event(line: bytes) -> dict[str, Any] | str | None:
    """The object of one `data:` line, `[DONE]`, or None for lines that carry nothing."""
    name, _, value = line.strip().partition(b":")
    if name == b"error":
        raise Fault(f"reports {_message(value)}")
    if name != b"data":
        return None
    if value.strip() == b"[DONE]":
        return "[DONE]"
    event = _object(value)
    if event.get("error"):
        raise Fault(f"reports {_message(value)}", status=200)
    return event


def _parsed(content: bytes) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        raise Fault(f"expected JSON, got {_short(content)}") from None


def _object(content: bytes) -> dict[str, Any]:
    value = _parsed(content)
    if not isinstance(value, dict):
        raise Fault(f"expected a JSON object, got {_short(content)}")
    return value


def _message(content: bytes) -> str:
    """What a server says about its error: OpenAI's `error.message`, or the beginning of the text."""
    try:
        value = json.loads(content)
        value = value.get("error", value)
        value = value.get("message", value) if isinstance(value, dict) else value
        return repr(str(value)[:200])
    except (ValueError, RecursionError, AttributeError):
        return _short(content)


def _short(content: bytes) -> str:
    return repr(" ".join(content[:400].decode(errors="replace").split())[:200])
