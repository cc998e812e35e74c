"""A PostgreSQL server of the tests' own, on this machine; skipped with a reason where there are no binaries of one.

with PostgresServer() as server:
    Database(server.fresh())
"""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

import pytest

_USER = "postgres"


def binaries() -> Path:
    """The folder of `initdb` and `pg_ctl`; skips the test if there is none."""
    found = shutil.which("initdb")
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: int(p.parent.name), reverse=True)
    folder = Path(found).resolve().parent if found else next(iter(folders), None)
    if folder is None or not (folder / "pg_ctl").exists():
        pytest.skip("no PostgreSQL server here: its programs initdb and pg_ctl were not found")
    pytest.importorskip("psycopg", reason="psycopg, which talks to PostgreSQL, is not installed")
    if os.geteuid() == 0 and not (shutil.which("setpriv") and _known(_USER)):
        pytest.skip("PostgreSQL does not run as root, and there is no user postgres to run it as")
    return folder


def _known(user: str) -> bool:
    try:
        pwd.getpwnam(user)
    except KeyError:
        return False
    return True


class PostgresServer:
    """One cluster; `stop` and `start` as often as a test likes."""

    def __init__(self) -> None:
        self._bin = binaries()
        self._as = ["setpriv", f"--reuid={_USER}", f"--regid={_USER}", "--clear-groups"] if os.geteuid() == 0 else []
        # not pytest's folder: that is root's alone, and PostgreSQL has another user
        self.folder = Path(tempfile.mkdtemp(prefix="study-postgres-"))
        if self._as:
            shutil.chown(self.folder, _USER)
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self._call("initdb", "-D", "data", "-U", "study", "--auth=trust", "--no-sync", "-E", "UTF8", "--locale=C")

    def _call(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [*self._as, str(self._bin / program), *arguments],
            cwd=self.folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        assert done.returncode == 0, f"{program}: {done.stdout}"

    def start(self) -> None:
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off"
        self._call("pg_ctl", "-D", "data", "-l", "log", "-w", "-o", options, "start")

    def stop(self) -> None:
        self._call("pg_ctl", "-D", "data", "-w", "-m", "fast", "stop")

    @property
    def url(self) -> str:
        return f"postgresql://study@127.0.0.1:{self.port}/postgres"

    def fresh(self) -> str:
        """The address of a database with nothing in it."""
        import psycopg

        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute("DROP SCHEMA public CASCADE")
            connection.execute("CREATE SCHEMA public")
        return self.url

    def __enter__(self) -> PostgresServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        shutil.rmtree(self.folder)
