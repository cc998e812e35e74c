"""`duplex loadtest`: simulated people, a soak, and abuse. A table for people; the last line is one JSON object.

duplex loadtest --people 8 --seconds 60       # a server of its own, on this machine
duplex loadtest http://127.0.0.1:7860         # one that runs here already
duplex loadtest --soak --minutes 30
duplex loadtest --abuse --only kills
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from duplex_runtime.errors import BadInput

if TYPE_CHECKING:  # psutil and uvicorn: not for `duplex --help`
    from webapp.load.server import Server

#: What `--abuse` consists of; see webapp/load/abuse.py.
PARTS = ("kills", "fuzz", "crowd", "sessions")


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser], default_model: str) -> None:
    """Put `loadtest` among the commands."""
    text = "Let simulated people talk to a server on this machine, for long, or abuse it; the last line is JSON."
    load = commands.add_parser("loadtest", help=text, description=text)
    load.add_argument("url", nargs="?", metavar="URL", help="a server that runs on this machine (default: its own)")
    load.add_argument(
        "--model", metavar="DIR_OR_HUB_ID", default=default_model, help="of its own server (default: %(default)s)"
    )
    load.add_argument("--seed", type=int, default=0, help="of the people (default: %(default)s)")
    load.add_argument("--people", type=int, default=8, metavar="N", help="how many at once (default: %(default)s)")
    load.add_argument(
        "--ramp", type=float, default=10.0, metavar="S", help="seconds in which they come (default: %(default)s)"
    )
    load.add_argument(
        "--seconds", type=float, default=60.0, metavar="S", help="for which they stay then (default: %(default)s)"
    )
    how = load.add_mutually_exclusive_group()
    how.add_argument("--soak", action="store_true", help="80 %% of the server's capacity for a long time")
    how.add_argument("--abuse", action="store_true", help="cut connections, fuzzed messages, a crowd, many sessions")
    load.add_argument("--minutes", type=float, default=30.0, metavar="M", help="soak: how long (default: %(default)s)")
    load.add_argument("--only", action="append", choices=PARTS, help="abuse: a part of it; may be repeated")
    load.add_argument(
        "--kills", type=int, default=200, metavar="N", help="abuse: cut connections (default: %(default)s)"
    )
    load.add_argument(
        "--messages", type=int, default=100_000, metavar="N", help="abuse: fuzzed messages (default: %(default)s)"
    )
    load.add_argument("--sessions", type=int, default=300, metavar="N", help="abuse: sessions (default: %(default)s)")
    load.set_defaults(run=run)


def run(a: argparse.Namespace) -> int:
    """Run the command; status 1 if something was not as it should be."""
    _check(a)
    if a.abuse:
        from webapp.load import abuse

        figures = abuse.run(a.model, a.only or PARTS, a.kills, a.messages, a.sessions, a.seed, _tell)
        bad = abuse.wrong(figures)
    else:
        figures = _soak(a) if a.soak else _load(a)
        late = (figures["p99_over_half_period"] or 0) >= 1
        bad = [key for key in ("failed", "failures") if figures.get(key)] + ["p99_over_half_period"] * late
    if bad:
        print(f"not as it should be: {', '.join(bad)}")
    print(json.dumps(figures))
    return int(bool(bad))


def _check(a: argparse.Namespace) -> None:
    """Raises BadInput."""
    for name, least in (("people", 1), ("seconds", 1), ("ramp", 0), ("kills", 1), ("messages", 1), ("sessions", 1)):
        if not getattr(a, name) >= least:
            raise BadInput(f"--{name}: expected {least} or more, got {getattr(a, name):g}")
    if not a.minutes > 0:
        raise BadInput(f"--minutes: expected more than 0, got {a.minutes:g}")
    if a.url and a.abuse:
        raise BadInput("--abuse: it starts servers of its own, whose recordings it reads; leave the URL out")
    if a.only and not a.abuse:
        raise BadInput("--only: it names parts of --abuse, which is missing")


def _load(a: argparse.Namespace) -> dict[str, Any]:
    from webapp.load.figures import shown
    from webapp.load.talks import load

    with _server(a) as server:
        figures = asyncio.run(load(server, a.people, a.ramp, a.seconds, a.seed))
    _tell(shown(f"{a.people} people for {a.seconds:g} s", figures))
    return figures


def _soak(a: argparse.Namespace) -> dict[str, Any]:
    from webapp.load.figures import shown
    from webapp.load.soak import soak

    with _server(a) as server:
        figures = asyncio.run(soak(server, a.minutes, a.seed, _tell))
    _tell(shown(f"{figures['people']} people for {a.minutes:g} min", figures))
    return figures


@contextmanager
def _server(a: argparse.Namespace) -> Iterator[Server]:
    from webapp.load.server import own_server, server_at

    if a.url:
        yield server_at(a.url)
        return
    with tempfile.TemporaryDirectory() as folder, own_server(a.model, Path(folder)) as server:
        yield server


def _tell(text: str) -> None:
    print(text, flush=True)
