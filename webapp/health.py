"""GET /healthz: can people talk here now? 200 if every model's thread answers and the data can be written, else 503.

health = Health(workers, [Path("data")])
await health.problems()                # ["the model of 'turns' did not answer within 1 s"]; [] if all is well
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from webapp.worker import Worker

#: Seconds that a thread has for its answer, and seconds that an answer of ours is good for, however many ask.
ANSWER_SECONDS = FRESH_SECONDS = 1.0


class Health:
    """See the module. folders: in which something is stored."""

    def __init__(
        self, workers: Mapping[str, Worker], folders: Sequence[Path], answer_seconds: float = ANSWER_SECONDS
    ) -> None:
        self._workers, self._folders, self._seconds = workers, folders, answer_seconds
        self._lock = asyncio.Lock()
        self._looked_at = float("-inf")
        self._found: list[str] = []

    async def answer(self, request: Request) -> Response:
        """The answer to a request. One look serves everybody who asks within a second."""
        async with self._lock:
            if time.monotonic() - self._looked_at > FRESH_SECONDS:
                self._found = await self.problems()
                self._looked_at = time.monotonic()
        body = {"status": "failing", "reasons": self._found} if self._found else {"status": "ok"}
        return JSONResponse(
            body | {"workers": len(self._workers)}, 503 if self._found else 200, {"Cache-Control": "no-store"}
        )

    async def problems(self) -> list[str]:
        """What is wrong now, in words; none says what a stranger should not know."""
        looks = [
            *(self._worker(name, worker) for name, worker in self._workers.items()),
            *(run_in_threadpool(cannot_write, folder) for folder in self._folders),
        ]
        return [problem for problem in await asyncio.gather(*looks) if problem]

    async def _worker(self, name: str, worker: Worker) -> str | None:
        if not worker.alive:
            return f"the thread of {name!r} has ended: start the server again"
        try:
            await asyncio.wait_for(asyncio.wrap_future(worker.call(int)), self._seconds)
        except TimeoutError:
            return f"the model of {name!r} did not answer within {self._seconds:g} s"
        return None


def cannot_write(folder: Path) -> str | None:
    """Why nothing can be stored in a folder; None if it can."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"\0" * 4096)
            file.flush()
    except OSError as error:
        return f"the {folder.name} folder cannot be written: {error.strerror}"
    return None
