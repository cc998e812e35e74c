"""`duplex bench panel`: simulated people talk to all three systems, and who spoke when is counted.

result = run("embedded", seeds=5)          # or of recordings: of_logs([Path("data/recordings")])
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from duplex_runtime.errors import BadInput
from duplex_runtime.evaluation import pictures
from duplex_runtime.evaluation.conduct import SYSTEMS, Held, conduct, jobs
from duplex_runtime.evaluation.exports import write_all
from duplex_runtime.evaluation.interaction import FEWEST, LOWER, NAMES, Panel, panel, to_json
from duplex_runtime.evaluation.results import Cell, Picture, Result, Table, machine
from duplex_runtime.evaluation.scenarios import FOLDER, library
from duplex_runtime.evaluation.talks import Talk, talk_of
from duplex_runtime.recording import read_log
from duplex_runtime.slices import Slicing

ABOUT = (
    "Simulated people follow written scenarios, each with several seeds, and react to what a system does; the "
    "same person meets every system. Who speaks when is counted in ticks of 0.2 s after the definitions of "
    "tau2-bench. L_R and L_Y are seconds to the answer and to silence after an interruption, R_R and R_Y the "
    "shares that were answered and yielded to, I_A answers begun inside a turn for each turn, S_BC, S_VT and S_ND "
    "the shares of backchannels, tics and words for somebody else that changed nothing. The clock is simulated: "
    "computing takes no time."
)
_GROUPS = (
    ("seconds, less is better", ("L_R", "L_Y")),
    ("share, more is better", ("R_R", "R_Y", "S_BC", "S_VT", "S_ND")),
    ("per turn", ("I_A",)),
)


def run(
    model: str,
    seeds: int = 5,
    systems: Sequence[str] = tuple(SYSTEMS),
    only: Collection[str] = (),
    folder: Path = FOLDER,
    slice_seconds: str = "adaptive",
    out: Path | None = None,
    workers: int = 0,
) -> Result:
    """Hold the talks and count. only: situations or names of scenarios. out: for the recordings and exports."""
    begun = time.monotonic()
    if not 1 <= seeds <= 1000:
        raise BadInput(f"--seeds: expected 1 to 1000, got {seeds}")
    problems: list[str] = []
    scenarios = library(folder, only, problems)
    held = conduct(model, jobs(scenarios, seeds, systems), Slicing.parse(slice_seconds), workers)
    options = "".join(f" --only {name}" for name in only)
    options += f" --slice-seconds {slice_seconds}" if slice_seconds != "adaptive" else ""
    settings = {"scenarios": len(scenarios), "seeds": seeds, "systems": list(systems), "slices": slice_seconds}
    return of_held(held, f"duplex bench panel --seeds {seeds}{options}", settings, model, begun, out, problems)


def of_held(
    held: Sequence[Held],
    command: str,
    settings: dict[str, Any],
    model: str,
    begun: float,
    out: Path | None = None,
    problems: Sequence[str] = (),
) -> Result:
    """The panel of talks that were held. begun: on the monotonic clock."""
    talks: list[Talk] = []
    missing = list(problems)
    for each in held:
        try:
            if each.error:
                raise BadInput(each.error)
            talks.append(each.talk())
        except BadInput as error:
            missing.append(f"{each.job.name}: {error}")
    if out:
        logs = out / "recordings"
        logs.mkdir(parents=True, exist_ok=True)
        for each in held:
            name = f"{each.job.system}-{each.job.scenario.name}-{each.job.seed}.jsonl"
            (logs / name).write_text(each.log, encoding="utf-8", errors="replace")
        missing += write_all(out, talks)
    settings = settings | {"skipped_steps": sum(len(each.skipped) for each in held)}
    return _result(talks, command, settings, missing, model, time.monotonic() - begun)


def of_logs(paths: Sequence[Path]) -> Result:
    """The panel of recordings, of files or of all in a folder: of real people as well."""
    begun = time.monotonic()
    files = [file for path in paths for file in (sorted(path.glob("*.jsonl")) if path.is_dir() else [path])]
    if not files:
        raise BadInput(f"--logs: expected recordings *.jsonl, found none in {', '.join(map(str, paths))}")
    talks: list[Talk] = []
    missing: list[str] = []
    for file in files:
        try:
            talks += [talk_of(log, str(file)) for log in read_log(file).values()]
        except BadInput as error:
            missing.append(str(error))
    return _result(
        talks, "duplex bench panel --logs …", {"recordings": len(files)}, missing, "", time.monotonic() - begun
    )


def _result(
    talks: Sequence[Talk], command: str, settings: dict[str, Any], missing: Sequence[str], model: str, seconds: float
) -> Result:
    panels = panel(talks)
    if not panels:
        raise BadInput(f"no talk could be counted: {missing[0] if missing else 'there was none'}")
    limits = {system: each.intervals() for system, each in panels.items()}
    tables = [_eight(panels, limits), _beside(panels)]
    for way, name in (("keys", "typed"), ("speech", "spoken")):
        part = panel(t for t in talks if t.way == way)
        if part and len({t.way for t in talks}) > 1:
            tables.append(_eight(part, {s: each.intervals() for s, each in part.items()}, f"The same, {name} only"))
    return Result(
        name="panel",
        command=command,
        figures=to_json(panels),
        about=ABOUT,
        headline=_headline(panels),
        tables=tuple(tables),
        pictures=tuple(_pictures(panels, limits)),
        settings=settings,
        missing=tuple(missing),
        seconds=round(seconds, 1),
        machine=machine(model),
    )


def _headline(panels: Mapping[str, Panel]) -> str:
    """The two sides of the matter for each system: does it yield, and does it go on?"""
    parts = []
    for system, each in panels.items():
        values = each.values()
        yields, goes_on = (
            None if values[n] is None else f"{100 * float(values[n] or 0):.0f} %" for n in ("R_Y", "S_BC")
        )
        parts.append(
            f"{system} yields to {yields or '–'} of interruptions and goes on through {goes_on or '–'} of backchannels"
        )
    return "; ".join(parts) + "."


Limits = Mapping[str, Mapping[str, tuple[float, float] | None]]


def _eight(panels: Mapping[str, Panel], limits: Limits, title: str = "The interaction panel") -> Table:
    rows: list[tuple[Cell, ...]] = []
    for name in NAMES:
        cells: list[Cell] = [f"{name} {'↓' if name in LOWER else '↑'}"]
        for system, each in panels.items():
            value, limit = each.values()[name], limits[system][name]
            cells += [value, f"{limit[0]:.2f}–{limit[1]:.2f}" if limit else None, each.events(name)]
        rows.append(tuple(cells))
    columns = [c for system in panels for c in (system, "95 %", "n")]
    return Table(title, ("", *columns), tuple(rows), f"– stands for fewer than {FEWEST} events.")


def _beside(panels: Mapping[str, Panel]) -> Table:
    values = {system: each.beside() for system, each in panels.items()}
    names = {
        "talks": "talks",
        "turns": "turns",
        "floor_transfer_s_p50": "end of a turn → answer, median, s",
        "early_words": "words said before the person had finished",
        "late_words": "words of the old answer after an interruption was said",
        "unheard_words_share": "prepared words that nobody saw, share",
        "deaf_characters": "characters that were not heard",
        "resumed": "of the answers that a question broke into, gone on with afterwards",
    }
    rows = [(text, *(values[system][key] for system in panels)) for key, text in names.items()]
    return Table("Beside it", ("", *panels), tuple(rows))


def _pictures(panels: Mapping[str, Panel], limits: Limits) -> list[Picture]:
    series: dict[str, dict[str, Sequence[float] | None]] = {}
    for system, each in panels.items():
        values = each.values()
        series[system] = {
            name: (value, *limit) if (value := values[name]) is not None and (limit := limits[system][name]) else None
            for name in NAMES
        }
    eight = "The interaction panel, with 95 % intervals"
    offsets = "From the end of a turn to the answer (left of 0: it began before the end)"
    return [
        Picture("eight", eight, pictures.intervals(eight, _GROUPS, series)),
        Picture(
            "offsets",
            offsets,
            pictures.distribution(offsets, "seconds", {s: each.offsets() for s, each in panels.items()}, -3, 6),
        ),
    ]
