"""Findings of a study as tables: what the report, on paper and on the Results page, shows.

flow(findings).text()
comparisons(findings)                         # the models first, then the tests that check them
"""

from __future__ import annotations

from collections.abc import Sequence

from duplex_runtime.evaluation.interaction import FEWEST, LOWER, NAMES
from duplex_runtime.evaluation.results import Cell, Table
from webapp.study.analysis import Findings
from webapp.study.frames import FATES
from webapp.study.measured import FIGURES
from webapp.study.preference import Shares, reference_of
from webapp.study.statistics import FORWARD, Comparison, Estimate

#: Means of the paper's study (PAPER_SOURCE): turn-based, duplex.
PAPER = {
    "responsiveness": (3.43, 6.21),
    "faithfulness": (5.14, 4.50),
    "factuality": (4.93, 5.21),
    "human_likeness": (2.79, 4.00),
    "overall": (3.29, 4.36),
}
PAPER_SOURCE = "arXiv 2406.15718 v2, 14 participants"


def named(key: str) -> str:
    """A scale's key as a word."""
    return key.replace("_", "-")


def p_text(p: float | None) -> str | None:
    """Three decimals, as journals want them."""
    return None if p is None else "<0.001" if p < 0.001 else f"{p:.3f}"


def with_interval(estimate: Estimate | None) -> str | None:
    """0.62 [0.31, 0.93]."""
    if estimate is None:
        return None
    if estimate.low is None or estimate.high is None:
        return _two(estimate.value)
    return f"{_two(estimate.value)} [{_two(estimate.low)}, {_two(estimate.high)}]"


def _two(value: float) -> str:
    return f"{round(value, 2) + 0.0:.2f}"  # + 0.0: no minus before nothing


def flow(findings: Findings) -> Table:
    """How many came, and what became of them, by the system they began with."""
    people = findings.everybody.people
    arms = sorted(set(people["begins"]) - {""}, key=FORWARD.index)
    rows: list[tuple[Cell, ...]] = [
        ("opened the first page", len(people), *(None for _ in arms)),
        (
            "gave consent",
            int((people["fate"] != "left").sum()),
            *(int((people["begins"] == arm).sum()) for arm in arms),
        ),
    ]
    for fate, words in FATES.items():
        these = people[people["fate"] == fate]
        if fate != "left" and (len(these) or fate == "analysed"):
            rows.append((words, len(these), *(int((these["begins"] == arm).sum()) for arm in arms)))
    return Table("Flow of participants", ("", "all", *(f"began with {arm}" for arm in arms)), tuple(rows))


def exclusions(findings: Findings) -> Table:
    """Everybody with data who is not analysed, and why."""
    people = findings.everybody.people
    rows = people[people["fate"].isin(["excluded", "unfinished", "inattentive", "hurried"])]
    cells = tuple((r.participant, FATES[r.fate], r.detail) for r in rows.itertuples())
    return Table("Who is not analysed", ("participant", "reason", "more"), cells)


def about(findings: Findings) -> list[Table]:
    """What those who are analysed said about themselves: numbers as ranges, choices as counts; texts are not shown."""
    frame = findings.frames.about
    numbers: list[tuple[Cell, ...]] = []
    choices: list[tuple[Cell, ...]] = []
    for question in findings.study.about_you.questions:
        values = frame["value"][frame["question"] == question.key]
        if question.kind == "number" and len(values):
            given = values.astype(float)
            sd = float(given.std()) if len(given) > 1 else None
            numbers.append((named(question.key), len(given), float(given.mean()), sd, given.min(), given.max()))
        elif question.kind == "choice":
            counts = [(option.key, int((values == option.key).sum())) for option in question.options]
            counts.append(("no answer", findings.n - len(values)))
            choices += [(named(question.key) if not n else "", *each) for n, each in enumerate(counts)]
    tables = [Table("About them: numbers", ("", "n", "mean", "SD", "least", "most"), tuple(numbers))]
    tables.append(Table("About them: choices", ("", "answer", "n"), tuple(choices)))
    return [table for table in tables if table.rows]


def ratings(findings: Findings) -> Table:
    """Means with intervals, and how often each step was chosen."""
    rows = tuple(
        (named(d.scale), d.system, d.n, with_interval(d.mean), d.sd, d.median, *d.counts) for d in findings.described
    )
    steps = tuple(str(step) for step in range(1, 8))
    columns = ("scale", "system", "n", "mean [95 %]", "SD", "median", *steps)
    return Table("Ratings", columns, rows, "Student's interval. The last columns: how many chose each step.")


def comparisons(findings: Findings) -> list[Table]:
    """For each pair of systems the mixed models, then means and Wilcoxon tests."""
    tables = []
    for pair in dict.fromkeys((c.first, c.second) for c in findings.comparisons):
        rows = [c for c in findings.comparisons if (c.first, c.second) == pair]
        title = f"{pair[0]} minus {pair[1]}"
        tested = sum(c.model_holm is not None for c in findings.comparisons)
        tables.append(_models(f"{title}: ordinal mixed model", rows, tested))
        tables.append(_tests(f"{title}: points and Wilcoxon test", rows))
    return tables


def _models(title: str, rows: Sequence[Comparison], tests: int) -> Table:
    cells: list[tuple[Cell, ...]] = []
    for row in rows:
        effect = row.model.system
        estimate = with_interval(Estimate(effect.value, effect.low, effect.high)) if effect else row.model.why
        p = p_text(effect.p) if effect else None
        cells.append((named(row.scale), estimate, p, p_text(row.model_holm), row.model.sd))
    columns = ("scale", "effect [95 %]", "p", "p (Holm)", "SD of participants")
    note = "Effect in standard deviations of the opinion within a participant."
    note += f" Holm over {tests} tests." if tests else ""
    return Table(title, columns, tuple(cells), note)


def _tests(title: str, rows: Sequence[Comparison]) -> Table:
    cells = tuple(
        (
            named(row.scale),
            row.n,
            with_interval(row.mean),
            with_interval(row.shift),
            p_text(row.wilcoxon_p),
            p_text(row.wilcoxon_holm),
        )
        for row in rows
    )
    columns = ("scale", "n", "mean [95 %]", "Hodges-Lehmann shift [95 %]", "p", "p (Holm)")
    return Table(title, columns, cells, "Differences within participants. Signed ranks with zeros after Pratt.")


def preferences(findings: Findings) -> list[Table]:
    """Who is preferred, how strongly, and by those who did not see through it."""
    tables = [_shares("Which system is preferred", findings.shares)]
    columns = ("", "slightly more", "more", "much more")
    for row in findings.shares:
        strong: list[tuple[Cell, ...]] = [(row.first, *row.by_strength[0]), (row.second, *row.by_strength[1])]
        tables.append(Table(f"How strongly: {row.first} or {row.second}", columns, tuple(strong)))
    reference = reference_of(findings.study.systems)
    strengths = tuple((system, with_interval(e)) for system, e in findings.strengths.items())
    note = f"{reference} has 0. A difference of 1 is a preference of 73 %. Percentiles of a bootstrap by participant."
    tables.append(Table("Bradley-Terry log strength", ("system", "log strength [95 %]"), strengths, note))
    if any(row.n for row in findings.unaware):
        tables.append(_shares("Of those who did not tell which one listens while it speaks", findings.unaware))
    return tables


def _shares(title: str, rows: Sequence[Shares]) -> Table:
    cells = tuple((f"{r.first} to {r.second}", r.n, r.prefer_first, with_interval(r.share), p_text(r.p)) for r in rows)
    columns = ("preferred", "n", "prefer it", "share [95 %]", "p (half)")
    note = "Wilson's interval, exact binomial test." + (" Not corrected." if len(rows) > 1 else "")
    return Table(title, columns, cells, note)


def blinding(findings: Findings) -> Table:
    """Bang's index."""
    rows = tuple(
        (f"began with {b.begins}" if b.begins else "all", b.right, b.wrong, b.unsure, with_interval(b.index))
        for b in findings.blinding
    )
    columns = ("", "right", "wrong", "unsure", "index [95 %]")
    note = (
        "Bang's index: 1 if all guess right which system listens while it speaks, 0 as by chance, -1 if all are wrong."
    )
    return Table("Did they see through it?", columns, rows, note)


def order(findings: Findings) -> list[Table]:
    """Effects of position, sequence and side."""
    positions = tuple(f"mean at position {n} [95 %]" for n in range(1, len(findings.study.systems) + 1))
    rows = tuple(
        (named(o.scale), *map(with_interval, o.means), p_text(o.position_p), p_text(o.sequence_p))
        for o in findings.order
    )
    note = (
        "Position: Wald test in the mixed model. Sequence: Kruskal-Wallis test of participants' means. Not corrected."
    )
    first = Table("Order", ("scale", *positions, "p of position", "p of sequence"), rows, note)
    where = {"earlier": "the system that came earlier", "left": "the system on the left"}
    sides = tuple((where[s.name], s.n, s.count, with_interval(s.share), p_text(s.p)) for s in findings.sides)
    columns = ("preferred", "n", "times", "share [95 %]", "p (half)")
    return [first, Table("Order and side in the comparison", columns, sides)]


def measured(findings: Findings) -> list[Table]:
    """The talks that were rated: how much, the interaction panel, and correlations with what people felt."""
    talks, rows = findings.frames.talks, []
    for system in findings.study.systems:
        these = talks[talks["system"] == system].groupby("participant")[["seconds", "turns", "interruptions"]].sum()
        rows.append((system, len(these), *(float(these[c].median()) if len(these) else None for c in these.columns)))
    columns = ("system", "participants", "seconds", "turns", "interruptions")
    tables = [Table("Talks of a participant, medians", columns, tuple(rows))]
    if findings.measured.panels:
        tables.append(_panel(findings))
        tables.append(_correlations(findings))
    return tables


def _panel(findings: Findings) -> Table:
    panels = findings.measured.panels
    limits = {system: panel.intervals() for system, panel in panels.items()}
    systems = [system for system in findings.study.systems if system in panels]
    rows = []
    for name in NAMES:
        cells: list[Cell] = [f"{name} {'↓' if name in LOWER else '↑'}"]
        for system in systems:
            value, limit = panels[system].values()[name], limits[system][name]
            cells += [with_interval(Estimate(value, *(limit or (None, None)))) if value is not None else None]
            cells += [panels[system].events(name)]
        rows.append(tuple(cells))
    columns = ("", *(column for system in systems for column in (f"{system} [95 %]", "n")))
    note = (
        "Definitions of tau2-bench; L_R and L_Y in seconds. Bootstrap by participant. A dash stands for fewer than "
        f"{FEWEST} events. What people meant is told from their words."
    )
    return Table("The interaction panel, from the recordings", columns, tuple(rows), note)


def _correlations(findings: Findings) -> Table:
    rows = tuple((FIGURES[c.figure], named(c.scale), c.of, c.n, with_interval(c.rho)) for c in findings.correlations)
    note = "Spearman's rank correlation across participants, bootstrap by participant. Exploratory: not corrected."
    return Table("Measured and felt", ("measured", "felt", "of", "n", "rho [95 %]"), rows, note)


def paper(findings: Findings) -> Table | None:
    """The paper's means beside ours; None where nothing can stand beside them."""
    means = {(d.scale, d.system): d.mean for d in findings.described}
    scales = [scale for scale in PAPER if scale in findings.study.ratings.scales]
    base = next((system for system in ("strict", "barge-in") if system in findings.study.systems), None)
    if not scales or base is None or "duplex" not in findings.study.systems:
        return None
    mean_differences = {c.scale: c.mean for c in findings.comparisons if (c.first, c.second) == ("duplex", base)}
    rows = tuple(
        (
            named(scale),
            *PAPER[scale],
            round(PAPER[scale][1] - PAPER[scale][0], 2),
            *(with_interval(means[scale, system]) for system in (base, "duplex")),
            with_interval(mean_differences[scale]),
        )
        for scale in scales
    )
    columns = ("scale", "paper: turn-based", "paper: duplex", "paper: difference")
    ours = (f"ours: {base} [95 %]", "ours: duplex [95 %]", "ours: difference [95 %]")
    note = f"{PAPER_SOURCE}; it gives no intervals and no tests."
    return Table("Beside the paper's study", (*columns, *ours), rows, note)
