"""Inference servers for the tests of `engine.remote`: llama.cpp's own, and two that follow the protocols of vLLM and
SGLang over a real small model. All listen on 127.0.0.1.

    with VllmServer(model) as server:
        RemoteEngine([server.url], ...)
        server.trouble = "cut"          # see `TROUBLES`
"""

import json
import subprocess
import sys
import threading
import uuid
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

EOS = 2

_LLAMA = """
import sys, xllamacpp
params = xllamacpp.CommonParams()
params.model.path, params.port, params.hostnames = sys.argv[1], 0, ["127.0.0.1"]
params.n_parallel, params.n_ctx, params.n_gpu_layers = int(sys.argv[2]), int(sys.argv[2]) * int(sys.argv[3]), 0
params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
params.warmup = False
# on a CPU it rounds to half precision: p(idle) would differ in the fourth digit
params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
if sys.argv[4:]:
    params.api_keys = sys.argv[4:]
server = xllamacpp.Server(params)
print(server.listening_address, flush=True)
sys.stdin.read()
"""


@contextmanager
def llama_server(
    gguf: Path, slots: int = 4, context: int = 512, *keys: str
) -> Iterator[tuple[str, Callable[[], None]]]:
    """The real llama.cpp server in a process of its own: its address, and a function that kills it."""
    arguments = [sys.executable, "-c", _LLAMA, str(gguf), str(slots), str(context), *keys]
    process = subprocess.Popen(
        arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdin and process.stdout

    def kill() -> None:
        process.kill()
        process.wait(timeout=20)

    try:
        url = process.stdout.readline().strip()
        assert url.startswith("http://127.0.0.1:"), "llama.cpp's server did not start"
        yield url, kill
    finally:
        kill()
        process.stdin.close()
        process.stdout.close()


#: What a server may do to a request for tokens: answer with a status, nonsense, half of it, or not at all.
TROUBLES = (
    "status 500",
    "status 429",
    "redirect",
    "html",
    "not json",
    "a list",
    "wrong shape",
    "huge id",
    "negative id",
    "text id",
    "no numbers",
    "nan",
    "error event",
    "endless line",
    "close",
    "cut",
    "end",
    "empty",
    "hang",
    "trickle",
)


class ModelServer(ABC):
    """A server over a real model, cold for every token. `requests`: (path, body) of every POST.

    trouble: what happens to requests for tokens, the next `troubles_left` of them. broken_off: answers that the
    client did not read to their end. hold: called with the ids of every request before the first token.
    """

    generation = ""

    def __init__(self, model: PreTrainedModel, favourites: Sequence[int] = (), api_key: str | None = None) -> None:
        self.model, self.favourites, self.api_key = model, favourites, api_key
        self.vocabulary = int(model.config.vocab_size)
        self.context = 4096
        self.requests: list[tuple[str, Any]] = []
        self.trouble: str | None = None
        self.troubles_left = 1 << 30
        self.loading = False
        self.broken_off = 0
        self.hold: Callable[[list[int]], None] = lambda ids: None
        self.released = threading.Event()
        self.owner = ""
        self.elsewhere = "http://192.0.2.1:9/v1/completions"
        self.known: dict[str, list[int]] = {}
        handler = type("Handler", (_Handler,), {"app": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    def __enter__(self) -> Any:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def asked(self) -> list[Any]:
        """Bodies of the requests for tokens."""
        return [body for path, body in self.requests if path == self.generation]

    @torch.inference_mode()
    def logits(self, ids: Sequence[int], at: int) -> torch.Tensor:
        """Of the last position; `favourites[at]` (or its last) is what the model wants most, if there are any."""
        logits = self.model(input_ids=torch.tensor([list(ids)]), use_cache=False).logits[0, -1].float()
        if self.favourites:
            logits = logits.clone()
            logits[self.favourites[min(at, len(self.favourites) - 1)]] = logits.max() + 1.0
        return logits

    def models(self) -> dict[str, Any]:
        return {
            "object": "list",
            "data": [{"id": "small", "object": "model", "owned_by": self.owner, "max_model_len": self.context}],
        }

    def answer(self, path: str, body: dict[str, Any]) -> Any:
        """The JSON value for a POST that is not streamed; raises Refused."""
        if path == "/tokenize" and set(body) == {"model", "prompt", "add_special_tokens"}:
            ids = self.known.get(body["prompt"], [7])
            return {"tokens": ids, "count": len(ids), "max_model_len": self.context}
        raise Refused(404, "Not Found")

    @abstractmethod
    def events(self, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """The events of an answer; raises Refused before the first."""

    @abstractmethod
    def spoil(self, event: dict[str, Any], how: str) -> None:
        """Make nonsense of an event."""

    def draw(self, logits: torch.Tensor, temperature: float, top_p: float, random: torch.Generator) -> int:
        if temperature <= 0:
            return int(logits.argmax())
        ordered, order = torch.softmax(logits / temperature, -1).sort(descending=True)
        ordered[ordered.cumsum(0) - ordered >= top_p] = 0
        return int(order[torch.multinomial(ordered, 1, generator=random)])


class Refused(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    app: ModelServer

    def log_message(self, *_: object) -> None: ...

    def handle(self) -> None:
        with suppress(ConnectionResetError, BrokenPipeError):  # the client may leave at any time
            super().handle()

    def do_GET(self) -> None:
        if self._refused():
            return
        if self.app.loading:
            self._json(503, {"error": {"message": "Loading model", "code": 503}})
        elif self.path == "/v1/models":
            self._json(200, self.app.models())
        else:
            self._json(404, {"detail": "Not Found"})

    def do_POST(self) -> None:
        try:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        except ValueError:  # the client left in the middle of it
            self.close_connection = True
            return
        self.app.requests.append((self.path, body))
        if self.app.loading:
            self._json(503, {"error": {"message": "Loading model", "code": 503}})
            return
        if self._refused():
            return
        try:
            if self.path != self.app.generation:
                self._json(200, self.app.answer(self.path, body))
            elif self.app.trouble and self.app.troubles_left > 0:
                self.app.troubles_left -= 1
                self._trouble(self.app.trouble, body)
            else:
                self._stream(self.app.events(body))
        except Refused as refused:
            self._json(refused.status, {"error": {"message": str(refused), "code": refused.status}})

    def _refused(self) -> bool:
        if self.app.api_key is None or self.headers.get("authorization") == f"Bearer {self.app.api_key}":
            return False
        self._json(401, {"error": "Unauthorized"})
        return True

    def _send(self, status: int, content: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _json(self, status: int, value: Any) -> None:
        self._send(status, json.dumps(value).encode(), Server="small")

    def _begin(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def _chunk(self, content: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(content), content))

    def _stream(self, events: Iterator[dict[str, Any]], done: bool = True) -> None:
        first = next(events)  # refuses before anything is sent
        self._begin()
        try:
            self._chunk(b": a comment\n\n")
            self._chunk(b"data: " + json.dumps(first).encode() + b"\n\n")
            for event in events:
                content = b"data: " + json.dumps(event).encode() + b"\n\n"
                self._chunk(content[:7])  # events need not arrive whole
                self._chunk(content[7:])
            if done:
                self._chunk(b"data: [DONE]\n\n")
            self.wfile.write(b"0\r\n\r\n")
        except (BrokenPipeError, ConnectionResetError):
            self.app.broken_off += 1
            self.close_connection = True
        finally:
            close = getattr(events, "close", None)
            if close:
                close()

    def _trouble(self, trouble: str, body: dict[str, Any]) -> None:
        app = self.app
        events = app.events(body)
        match trouble.split():
            case ["status", status]:
                self._json(int(status), {"error": {"message": "so it is"}})
            case ["redirect"]:
                self._send(307, b"", Location=app.elsewhere)
            case ["html"]:
                self._send(200, b"<html>It works!</html>")
            case ["not", "json"]:
                self._stream_raw(b"data: {'a': 1}\n\n")
            case ["a", "list"]:
                self._stream_raw(b"data: [1, 2]\n\n")
            case ["error", "event"]:
                self._stream_raw(b'data: {"error": {"message": "out of memory"}}\n\n')
            case ["endless", "line"]:
                with suppress(OSError):
                    self._stream_raw(b"data: " + b"x" * (2 << 20))
            case ["empty"]:
                self._stream_raw(b"")
            case ["close"]:
                self.close_connection = True
            case ["hang"]:
                app.released.wait(30)
                self.close_connection = True
            case ["cut"] | ["end"] | ["trickle"]:
                self._partly(events, trouble)
            case _:
                self._stream(self._spoiled(events, trouble))

    def _stream_raw(self, content: bytes) -> None:
        self._begin()
        if content:
            self._chunk(content)
        self.wfile.write(b"0\r\n\r\n")

    def _partly(self, events: Iterator[dict[str, Any]], trouble: str) -> None:
        self._begin()
        with suppress(BrokenPipeError, ConnectionResetError):
            for index, event in enumerate(events):
                if trouble != "trickle" and index == 2:
                    break
                self._chunk(b"data: " + json.dumps(event).encode() + b"\n\n")
                if trouble == "trickle" and self.app.released.wait(0.15):
                    break
            if trouble == "end":
                self.wfile.write(b"0\r\n\r\n")
        self.close_connection = trouble != "end"

    def _spoiled(self, events: Iterator[dict[str, Any]], how: str) -> Iterator[dict[str, Any]]:
        for event in events:
            self.app.spoil(event, how)
            yield event


class VllmServer(ModelServer):
    """vLLM's `/v1/completions`. Numbers are of the model itself (`raw_logprobs`), unless `raw` is False."""

    generation = "/v1/completions"

    def __init__(self, model: PreTrainedModel, favourites: Sequence[int] = (), **options: Any) -> None:
        super().__init__(model, favourites, **options)
        self.owner = "vllm"
        self.raw = True
        self.keeps_end = True  # is the end token among the ids?
        self.gives_ids = True

    def events(self, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
        ids, most = list(body["prompt"]), body["max_tokens"]
        if body["model"] != "small":
            raise Refused(404, f"The model {body['model']!r} does not exist.")
        if not all(0 <= i < self.vocabulary for i in ids):
            raise Refused(400, f"Token id {max(ids)} is out of vocabulary")
        if not ids or most < 1 or len(ids) + most > self.context or (body["logprobs"] or 0) > 20:
            raise Refused(400, "a value is out of range")
        self.hold(ids)
        random = torch.Generator().manual_seed(body["seed"])
        for said in range(most):
            logits = self.logits(ids, said)
            raw = logits
            logits = logits.clone()
            for token, bias in (body["logit_bias"] or {}).items():
                logits[int(token)] += bias
            if said < body["min_tokens"]:
                logits[[EOS, *body["stop_token_ids"]]] = -torch.inf
            token = self.draw(logits, body["temperature"], body["top_p"], random)
            ids.append(token)
            ended = token == EOS or token in body["stop_token_ids"]
            shown = [] if ended and not self.keeps_end else [token]
            reason = "stop" if ended else "length" if said + 1 == most else None
            choice: dict[str, Any] = {"index": 0, "text": "?", "logprobs": None, "finish_reason": reason}
            if self.gives_ids:
                choice["token_ids"] = shown
            if body["logprobs"] is not None:
                numbers = raw if self.raw else logits / max(body["temperature"], 1e-6)
                choice["logprobs"] = self._numbers(numbers, body["logprobs"], token)
            yield {"object": "text_completion", "choices": [choice]}
            if ended:
                return
        yield {"object": "text_completion", "choices": [], "usage": {"completion_tokens": most}}

    @staticmethod
    def _numbers(logits: torch.Tensor, count: int, token: int) -> dict[str, Any]:
        chances = torch.log_softmax(logits, -1)
        top = {token, *chances.topk(count).indices.tolist()}
        values = {f"token_id:{i}": max(float(chances[i]), -9999.0) for i in top}
        return {"tokens": [f"token_id:{token}"], "top_logprobs": [values]}

    def spoil(self, event: dict[str, Any], how: str) -> None:
        for choice in event["choices"]:
            match how:
                case "huge id":
                    choice["token_ids"] = [10**9]
                case "negative id":
                    choice["token_ids"] = [-1]
                case "text id":
                    choice["token_ids"] = ["5"]
                case "no numbers":
                    choice["logprobs"] = None
                case "nan":
                    choice["logprobs"] = {"top_logprobs": [{"token_id:3": float("nan")}]}
                case "wrong shape":
                    event["choices"] = {"0": choice}


class SglangServer(ModelServer):
    """SGLang's `/generate` and streaming sessions, with the rules of the latter."""

    generation = "/generate"

    def __init__(self, model: PreTrainedModel, favourites: Sequence[int] = (), **options: Any) -> None:
        super().__init__(model, favourites, **options)
        self.owner = "sglang"
        self.enabled = True
        self.incremental = False
        self.original = True  # SGLANG_RETURN_ORIGINAL_LOGPROB
        self.unknown_as = "abort"  # or "error", "status": how versions say that there is no such session
        self.sessions: dict[str, list[int]] = {}
        self.counts: Counter[str] = Counter()
        self._active: set[str] = set()

    def answer(self, path: str, body: dict[str, Any]) -> Any:
        match path:
            case "/open_session":
                if not self.enabled:
                    raise Refused(400, "Streaming sessions are disabled. Please relaunch with the flag.")
                assert body["streaming"] is True and body["capacity_of_str_len"] > 0
                name = uuid.uuid4().hex
                self.sessions[name] = []
                self.counts["opened"] += 1
                return name
            case "/close_session":
                known = self.sessions.pop(body["session_id"], None) is not None
                self.counts["closed" if known else "closed in vain"] += 1  # of the latter SGLang only warns
                return ""
        return super().answer(path, body)

    def events(self, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
        new, params = list(body["input_ids"]), body["sampling_params"]
        if not new or not all(0 <= i < self.vocabulary for i in new):
            raise Refused(400, "input_ids are out of range")
        name = (body.get("session_params") or {}).get("id")
        if name is not None and name not in self.sessions:
            self.counts["unknown"] += 1
            if self.unknown_as == "error":
                yield {"error": {"message": f"Invalid request: session id {name} does not exist"}}
                return
            if self.unknown_as == "status":
                raise Refused(400, f"Invalid request: session id {name} does not exist")
            yield self._event([], {"type": "abort", "message": "Invalid request session id"}, None)
            return
        if name in self._active:
            self.counts["two at once"] += 1
            yield self._event([], {"type": "abort", "message": "already has an active request"}, None)
            return
        self.counts["encoded"] += len(new)
        ids = [*self.sessions[name], *new] if name else new
        self.hold(ids)
        self._active.add(name)
        said: list[int] = []
        numbers: list[Any] = []
        finished = False
        try:
            for event in self._tokens(ids, params, body.get("token_ids_logprob"), said, numbers):
                finished = event["meta_info"]["finish_reason"] is not None
                yield event
        finally:
            self._active.discard(name)
            if name and finished:
                self.sessions[name] = [*ids, *said]
            elif name:
                self.counts["aborted"] += 1

    def _tokens(
        self, ids: list[int], params: dict[str, Any], watch: list[int] | None, said: list[int], numbers: list[Any]
    ) -> Iterator[dict[str, Any]]:
        random = torch.Generator().manual_seed(0)
        for _ in range(params["max_new_tokens"]):
            logits = self.logits([*ids, *said], len(said)).clone()
            for token, bias in params["logit_bias"].items():
                logits[int(token)] += bias
            token = self.draw(logits, params["temperature"], params["top_p"], random)
            said.append(token)
            if watch:
                scale = 1.0 if self.original else max(params["temperature"], 1e-6)
                chances = torch.log_softmax(logits / scale, -1)
                numbers.append([[float(chances[w]), w, None] for w in watch])
            reason = None
            if token == EOS or token in params["stop_token_ids"]:
                reason = {"type": "stop", "matched": token}
            elif len(said) == params["max_new_tokens"]:
                reason = {"type": "length", "length": len(said)}
            yield self._event(said, reason, numbers)
            if reason:
                return

    def _event(self, said: list[int], reason: Any, numbers: Any) -> dict[str, Any]:
        about = {"id": "r", "finish_reason": reason, "completion_tokens": len(said)}
        if numbers:
            about["output_token_ids_logprobs"] = list(numbers)
        return {"text": "?", "output_ids": said[-1:] if self.incremental else list(said), "meta_info": about}

    def spoil(self, event: dict[str, Any], how: str) -> None:
        about = event["meta_info"]
        match how:
            case "huge id":
                event["output_ids"][-1] = 10**9
            case "negative id":
                event["output_ids"][-1] = -1
            case "text id":
                event["output_ids"][-1] = "5"
            case "no numbers":
                about.pop("output_token_ids_logprobs", None)
            case "nan":
                about["output_token_ids_logprobs"] = [[[float("nan"), 3, None]]]
            case "wrong shape":
                event["output_ids"] = event["output_ids"] * 2 + [5]
