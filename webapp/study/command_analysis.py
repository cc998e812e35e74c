"""`duplex study report`, `power` and `simulate`.

duplex study simulate my-study                # fill a new study with simulated participants
duplex study simulate --runs 500              # do the intervals hold the truth?
duplex study report my-study                  # my-study/report/report.html and report.md
duplex study power --difference 0.5 --sd 1.5 --participants 14,48,96
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from duplex_runtime.errors import BadInput
from webapp.study.command import PRESETS
from webapp.study.definition import Study
from webapp.study.parse import FILE


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Put them among the commands of `duplex study`."""
    text = "Write the report of a study, with everybody who took part up to now: one HTML file, and Markdown."
    report = commands.add_parser("report", help=text, description=text)
    report.add_argument("study", type=Path, metavar="PATH", help=f"the study's folder, or its {FILE}")
    report.add_argument("--out", type=Path, metavar="DIR", help="where to (default: the folder report in the study's)")
    report.set_defaults(run=_report)
    _add_power(commands)
    _add_simulate(commands)


def _add_power(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    text = "How many people do I need? Simulates studies, and says how many of them find a difference."
    power = commands.add_parser("power", help=text, description=text)
    power.add_argument(
        "--difference", type=float, default=0.5, metavar="POINTS",
        help="the smallest mean difference, on a scale from 1 to 7, that is worth finding (default: %(default)s)",
    )  # fmt: skip
    power.add_argument(
        "--sd", type=float, default=1.5, metavar="POINTS",
        help="standard deviation of the differences within participants (default: %(default)s)",
    )  # fmt: skip
    power.add_argument(
        "--participants", default="14,48,96", metavar="N,…", help="numbers to try (default: %(default)s)"
    )
    power.add_argument(
        "--scales", type=int, default=5, metavar="N", help="scales that Holm corrects over (default: %(default)s)"
    )
    power.add_argument(
        "--runs", type=int, default=2000, metavar="N", help="simulated studies for each number (default: %(default)s)"
    )
    power.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    power.set_defaults(run=_power)


def _add_simulate(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    text = (
        "Fill a study with simulated participants of known preferences; or simulate and analyse many studies, and "
        "count how often intervals hold the truth."
    )
    simulate = commands.add_parser("simulate", help=text, description=text)
    simulate.add_argument(
        "study", type=Path, nargs="?", metavar="PATH",
        help="the study to fill, in which nobody has been; with --runs the design to simulate (default: arena)",
    )  # fmt: skip
    simulate.add_argument(
        "--participants", type=int, default=48, metavar="N",
        help="of whom all finish with care; those who do not come on top (default: %(default)s)",
    )  # fmt: skip
    simulate.add_argument("--runs", type=int, metavar="N", help="fill nothing, and simulate so many studies")
    simulate.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    simulate.set_defaults(run=_simulate)


def _between(name: str, value: int, low: int, high: int) -> int:
    if not low <= value <= high:
        raise BadInput(f"--{name}: expected a whole number from {low} to {high}, got {value}")
    return value


def _report(a: argparse.Namespace) -> int:
    from webapp.study.database import Database
    from webapp.study.report import write_report

    study = Study.read(a.study)
    database = Database(study.database_url)
    try:
        html, markdown = write_report(study, database, a.out or study.folder / "report")
    finally:
        database.close()
    print(f"{html}\n{markdown}")
    return 0


def _power(a: argparse.Namespace) -> int:
    from webapp.study.power import run

    parts = [part.strip() for part in a.participants.split(",")]
    if not all(part.isdecimal() for part in parts):
        raise BadInput(f"--participants: expected numbers with commas, such as 14,48,96, got {a.participants[:60]!r}")
    scales, runs = _between("scales", a.scales, 1, 20), _between("runs", a.runs, 100, 20_000)
    return run(a.difference, a.sd, [int(part) for part in parts], scales, runs, _between("seed", a.seed, 0, 2**31))


def _simulate(a: argparse.Namespace) -> int:
    from webapp.study.database import Database
    from webapp.study.simulate import fill, run
    from webapp.study.truth import Truth

    careful, seed = _between("participants", a.participants, 1, 2000), _between("seed", a.seed, 0, 2**31)
    if a.runs is not None:
        study = Study.read(a.study or PRESETS / "arena.toml")
        return run(study, _between("runs", a.runs, 1, 100_000), careful, seed)
    if a.study is None:
        raise BadInput("expected PATH, a study to fill, or --runs N; a new study is written by: duplex study new NAME")
    study = Study.read(a.study)
    database = Database(study.database_url)
    try:
        filled = fill(study, database, Truth(), careful, seed)
    finally:
        database.close()
    print(json.dumps({"study": study.name, "seed": seed, "came": sum(filled.values()), **filled}))
    return 0
