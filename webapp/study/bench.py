"""`duplex bench study`: is an acknowledged answer ever lost, and how long does an acknowledgement take?

kills    people answer, the server is killed (kill -9) at random moments and started again; then the database is read
crowd    so many people go the whole way at once on one server with the real model: talks, pages, small pauses

Everything stays on 127.0.0.1 and in a temporary folder. A short table, then one JSON line with `lost`, `doubled`,
`ack_ms_p50`, `ack_ms_p95`, `participants` and `kills`. Status 1 if anything was lost or doubled, or somebody did not
get to the end.
"""

from __future__ import annotations

import json
import os
import random
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from duplex_runtime.errors import DuplexError
from webapp.study import bench_crowd, bench_kills
from webapp.study.command import new_study
from webapp.study.definition import Study

#: Seconds in which a server has to answer after it was started.
START_SECONDS = 180.0


class ServerProcess:
    """A server of a study in a process of its own, always on the same port.

    `command`: the process's arguments behind Python's; `{port}` in them is the port.
    """

    def __init__(self, study: Study, command: Sequence[str], environment: dict[str, str]) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/study/{study.name}/"
        self._command = [sys.executable, *(part.format(port=self.port) for part in command)]
        self._environment = os.environ | environment
        self._log = study.folder / "server.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers; raises DuplexError if it does not."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, env=self._environment, stdout=log, stderr=log)
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end and self._process.poll() is None:
            try:
                if httpx.get(f"{self.url}state", trust_env=False, timeout=5).status_code == 401:
                    return
            except httpx.TransportError:
                time.sleep(0.05)
        self.kill()
        last = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-3:]
        raise DuplexError("no_server", "the study's server did not start: " + " ".join(last))

    def kill(self) -> None:
        """kill -9."""
        if self._process:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> ServerProcess:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


@contextmanager
def some_study(**lines: str) -> Iterator[Study]:
    """A new study in a folder that is gone afterwards; `lines` of its file by key."""
    with tempfile.TemporaryDirectory() as folder:
        path = new_study(Path(folder) / "bench", "arena")
        text = path.read_text(encoding="utf-8")
        for key, value in lines.items():
            text = re.sub(rf"^{key} = .*$", f"{key} = {value}", text, count=1, flags=re.MULTILINE)
        path.write_text(text, encoding="utf-8")
        yield Study.read(path)


def run(seed: int = 0, kills: int = 100, participants: int = 50) -> int:
    """See the module."""
    rng = random.Random(seed)
    figures: dict[str, Any] = {}
    with some_study(sessions="1", min_seconds="1", min_turns="1") as study:
        alone = ("-m", "webapp.study.bench_kills", str(study.folder), "{port}")
        figures |= bench_kills.run(study, ServerProcess(study, alone, {}), kills, rng)
    with some_study(sessions="1", min_seconds="15", min_turns="2") as study:
        whole = ("-m", "webapp.cli", "serve", "--port", "{port}", "--ears", "off", "--data", f"{study.folder}/data")
        server = ServerProcess(study, whole, {"DUPLEX_STUDY": str(study.folder)})
        figures |= bench_crowd.run(server, participants, rng)
    print(json.dumps(figures))
    return int(bool(figures["lost"] or figures["doubled"] or figures["finished"] < participants))
