"""`duplex bench panel|interruption|slices|latency` and `duplex report`: run, print, keep."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

from duplex_runtime.errors import DuplexError
from duplex_runtime.evaluation import interruption, panel, periods
from duplex_runtime.evaluation.conduct import SYSTEMS
from duplex_runtime.evaluation.report import ORDER, results_of, write_report
from duplex_runtime.evaluation.results import Result
from duplex_runtime.evaluation.scenarios import FOLDER, library
from webapp import bench_latency, live


def run_one(a: argparse.Namespace) -> int:
    """One benchmark: tables, then one line of JSON; with --out also its files."""
    result = _measure(a)
    print(result.text())
    if a.out:
        result.save(a.out)
    print(json.dumps(result.figures))
    return 0


def _measure(a: argparse.Namespace) -> Result:
    match a.what:
        case "panel" if a.logs:
            return panel.of_logs(a.logs)
        case "panel":
            systems = a.systems.split(",") if a.systems else tuple(SYSTEMS)
            folder, only = a.scenarios or FOLDER, a.only or ()
            if a.live:
                return live.run(a.model, library(folder, only), 1 if a.seeds is None else a.seeds, systems, a.out)
            return panel.run(a.model, 5 if a.seeds is None else a.seeds, systems, only, folder, a.slice_seconds, a.out)
        case "interruption":
            return interruption.run(a.model, 6 if a.questions is None else a.questions, a.seed)
        case "slices":
            return periods.run(
                a.model, 120 if a.questions is None else a.questions, 2 if a.seeds is None else a.seeds, a.seed
            )
        case _:
            return bench_latency.run(a.model, a.conversations, a.seconds, a.seed, a.voice)


def report(folder: Path, model: str, measure: bool = True) -> int:
    """Measure what is missing in `folder`, then write the report."""
    runs: dict[str, Callable[[], Result]] = {
        "panel": lambda: panel.run(model, out=folder),
        "interruption": lambda: interruption.run(model),
        "slices": lambda: periods.run(model),
        "latency": lambda: bench_latency.run(model),
    }
    there = {result.name for result in results_of(folder)[0]}
    for name in ORDER if measure else ():
        if name in there:
            continue
        print(f"measuring {name} …", file=sys.stderr)
        try:
            runs[name]().save(folder)
        except DuplexError as error:  # the others are worth a report
            print(f"{name}: {error}", file=sys.stderr)
    html, markdown = write_report(folder)
    print(f"{html}\n{markdown}")
    return 0
