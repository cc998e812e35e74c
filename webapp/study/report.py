"""`duplex study report`: all findings of a study as one HTML file that opens offline, and as Markdown.

    html, markdown = write_report(study, database, Path("my-study/report"))
    python -m webapp.study.report my-study        # the same page on standard output, for the Results page

A study without a participant to analyse has a report that says so. What participants wrote is escaped everywhere.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from html import escape
from importlib.metadata import version
from pathlib import Path

from duplex_runtime.errors import BadInput, DuplexError
from duplex_runtime.evaluation.report import Section, page_html, page_markdown, picture_html
from duplex_runtime.evaluation.results import Picture, Table, in_markdown, machine, one_line, write_whole
from webapp.study import tables
from webapp.study.analysis import Findings, analyse
from webapp.study.database import Database
from webapp.study.definition import Study
from webapp.study.drawings import pictures_of
from webapp.study.methods import in_short, methods
from webapp.study.simulate import KINDS, intervals_of, truth_of
from webapp.study.truth import Truth

#: Beside those that `machine` names.
LIBRARIES = ("pandas", "scipy", "statsmodels")
#: Begins the names of the pictures' files.
NAME = "study"
Part = str | list[str] | Table | Picture


def write_report(study: Study, database: Database, folder: Path) -> tuple[Path, Path]:
    """report.html, report.md and its pictures; raises DatabaseAway, and BadInput where they cannot be written."""
    findings = analyse(study, database)
    drawn, missing = pictures_of(findings)
    title, sections = title_of(findings), sections_of(findings, drawn, missing)
    html, markdown = folder / "report.html", folder / "report.md"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for picture in drawn:
            write_whole(folder / f"{NAME}-{picture.name}.svg", picture.svg)
        write_whole(html, page_html(title, sections))
        write_whole(markdown, page_markdown(title, sections))
    except OSError as error:
        raise BadInput(
            f"--out {folder}: expected a folder to write to, got {error.strerror or error}; give another"
        ) from None
    return html, markdown


def title_of(findings: Findings) -> str:
    """The page's."""
    study = findings.study
    simulated = " (simulated participants)" if findings.mark else ""
    return f"{study.title.of(study.languages[0])}: report{simulated}"


def sections_of(findings: Findings, drawn: Sequence[Picture], missing: Sequence[str]) -> list[Section]:
    """All that there is to say; of nobody: who came, and what the study does."""
    sections = [_section("in-short", "In short", *_warning(findings), in_short(findings)), _participants(findings)]
    if findings.n:
        sections += _results(findings, {picture.name: picture for picture in drawn})
    if findings.mark:
        sections.append(_recovered(findings))
    if gaps := [*missing, *findings.measured.missing]:
        sections.append(_section("missing", "What is missing", gaps))
    sections.append(_section("methods", "Methods", *methods(findings)))
    return [*sections, _again(findings)]


def _section(anchor: str, title: str, *parts: Part) -> Section:
    """Texts become paragraphs, lists of them lists."""
    html, markdown = [], []
    for part in parts:
        match part:
            case str():
                html.append(f"<p>{escape(one_line(part))}</p>")
                markdown.append(in_markdown(part))
            case list():
                html.append("<ul>" + "".join(f"<li>{escape(one_line(line))}</li>" for line in part) + "</ul>")
                markdown.append("\n".join(f"- {in_markdown(line)}" for line in part))
            case Table():
                html.append(part.html())
                markdown.append(part.markdown())
            case Picture():
                html.append(picture_html(NAME, part))
                markdown.append(f"![{in_markdown(part.title)}]({NAME}-{part.name}.svg)")
    return Section(anchor, title, "\n".join(html), "\n\n".join(markdown))


def _warning(findings: Findings) -> list[str]:
    if not findings.mark:
        return []
    return [
        "The participants of this study are simulated. It says nothing about any system: it shows what a report looks "
        "like, and that the analysis finds what the simulation put in."
    ]


def _participants(findings: Findings) -> Section:
    excluded = tables.exclusions(findings)
    parts: list[Part] = [tables.flow(findings), *([excluded] if excluded.rows else [])]
    if findings.n:
        lost = findings.frames.people["lost_focus"]
        parts += tables.about(findings)
        if findings.study.way == "either":
            spoke = int((findings.frames.people["way"] == "speech").sum())
            parts.append(f"{spoke} of {findings.n} talked by voice, the others by typing.")
        parts.append(
            f"{int((lost > 0).sum())} of {findings.n} left the page for another window at least once "
            f"(median {float(lost.median()):g} times)."
        )
    return _section("participants", "Participants", *parts)


def _results(findings: Findings, drawn: dict[str, Picture]) -> list[Section]:
    study = findings.study

    def some(prefixes: Sequence[str]) -> list[Part]:
        return [picture for name, picture in drawn.items() if name.startswith(tuple(prefixes))]

    pairs = dict.fromkeys(f"{c.first}-{c.second}" for c in findings.comparisons)
    sections = [
        _section("ratings", "Ratings", tables.ratings(findings), *some(["means", "ratings-"])),
        _section("differences", "Differences", *tables.comparisons(findings), *some(list(pairs))),
    ]
    if study.compare.preference:
        sections.append(_section("preference", "Preference", *tables.preferences(findings), *some(["preference-"])))
    if study.compare.guess and "duplex" in study.systems:
        sections.append(_section("blinding", "Blinding", tables.blinding(findings)))
    sections.append(_section("order", "Order and side", *tables.order(findings)))
    sections.append(_section("measured", "Measured and felt", *tables.measured(findings), *some(["offsets"])))
    if beside := tables.paper(findings):
        sections.append(_section("paper", "Beside the paper", beside))
    return [*sections, *_comments(findings)]


def _comments(findings: Findings) -> list[Section]:
    rows = findings.frames.comments
    parts: list[Part] = []
    for system in findings.study.systems:
        texts = sorted(rows["text"][rows["system"] == system])
        if texts:
            parts += [f"About {system}:", texts]
    return [_section("comments", "What participants wrote", *parts)] if parts else []


def _recovered(findings: Findings) -> Section:
    """What the simulation put in, beside what was found."""
    assert findings.mark
    truth, study = Truth(**findings.mark["truth"]), findings.study
    found = intervals_of(findings.comparisons, findings.strengths, findings.blinding)
    rows = [(kind, of, truth_of(study, truth, kind, of), estimate) for (kind, of), estimate in found.items()]
    rows.sort(key=lambda row: list(KINDS).index(row[0]))
    cells = tuple(
        (KINDS[kind], of, value, tables.with_interval(each), "yes" if each and each.holds(value) else "no")
        for kind, of, value, each in rows
    )
    table = Table("What the simulation put in", ("interval", "of", "truth", "found [95 %]", "holds it"), cells)
    text = f"Of {len(cells)} intervals of 95 %, {sum(cell[-1] == 'yes' for cell in cells)} hold the truth."
    return _section("recovered", "Put in and found", table, text)


def _again(findings: Findings) -> Section:
    study = findings.study
    told = machine(study.model) | {name: version(name) for name in LIBRARIES}
    settings = (
        ("study", study.name), ("protocol", study.protocol), ("systems", ", ".join(study.systems)),
        ("seed", str(study.seed)), ("block", str(study.block)), ("consent version", study.consent.version),
    )  # fmt: skip
    table = Table("Settings, machine and versions", ("", "value"), (*settings, *told.items()))
    command = f"duplex study report {study.name}"
    made = _section("again", "How to get it again", table)
    html = f"<pre><code>{escape(command)}</code></pre>{made.html}"
    return Section(made.anchor, made.title, html, f"```sh\n{command}\n```\n\n{made.markdown}")


def main(folder: str) -> int:
    """Print the page; a mistake is one line on standard error, status 1."""
    try:
        study = Study.read(Path(folder))
        database = Database(study.database_url)
        try:
            findings = analyse(study, database)
        finally:
            database.close()
    except DuplexError as error:
        print(error, file=sys.stderr)
        return 1
    sys.stdout.write(page_html(title_of(findings), sections_of(findings, *pictures_of(findings))))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
