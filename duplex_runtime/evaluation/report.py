"""`duplex report`: all results of a folder as one HTML file that opens offline, and as Markdown.

html, markdown = write_report(Path("results"))      # report.html, report.md

Other reports look the same: `page_html("Title", [Section("flow", "Participants", html, markdown)])`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from duplex_runtime.errors import BadInput
from duplex_runtime.evaluation.results import Picture, Result, Table, in_html, in_markdown, one_line, shown, write_whole

#: What stands first; others follow by name.
ORDER = ("panel", "interruption", "slices", "latency")
TITLE = "Duplex Arena: measured"
_TITLES = {
    "panel": "Who speaks when",
    "panel-live": "Who speaks when, over a real server",
    "interruption": "Interruptions",
    "slices": "Slice periods",
    "latency": "Latency",
}
_STYLE = """
:root { color-scheme: light dark; --line: #8886; }
* { box-sizing: border-box; }
body { font: 16px/1.55 system-ui, sans-serif; max-width: 52rem; margin: 2rem auto 4rem; padding: 0 1rem;
  overflow-wrap: anywhere; }
h1 { line-height: 1.2; margin-bottom: 0.5rem; }
h2 { line-height: 1.25; margin: 3rem 0 0.75rem; border-top: 1px solid var(--line); padding-top: 1.5rem; }
nav ol { columns: 2 14rem; padding-left: 1.4rem; }
a { color: inherit; text-underline-offset: 0.2em; text-decoration-thickness: 1px; }
.wide, figure { overflow-x: auto; margin: 1.5rem 0 0.5rem; }
table { border-collapse: collapse; font-size: 0.9rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 600; padding-bottom: 0.4rem; }
th, td { padding: 0.25rem 0.7rem 0.25rem 0; border-bottom: 1px solid var(--line); text-align: left;
  vertical-align: top; overflow-wrap: normal; }
th + .number, td.number, th.number { padding-left: 0.7rem; text-align: right; white-space: nowrap; }
th { font-weight: 500; } th[scope="row"] { min-width: 4.5rem; }
thead th { vertical-align: bottom; border-bottom-width: 2px; }
.note, .quiet { font-size: 0.85rem; opacity: 0.8; margin-top: 0.25rem; }
figure svg { display: block; max-width: 100%; min-width: 36rem; height: auto; }
pre { overflow-x: auto; padding: 0.8rem; border: 1px solid var(--line); border-radius: 6px; }
code { font: 0.9em ui-monospace, monospace; }
@media print {
  body { max-width: none; margin: 0; font-size: 10.5pt; } nav { display: none; }
  .wide, figure { overflow: visible; } figure svg { min-width: 0; } pre { white-space: pre-wrap; }
  figure, tr, pre { break-inside: avoid; } h2, caption { break-after: avoid; }
}
"""
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


@dataclass(frozen=True)
class Section:
    """A part of a report; `anchor` is what a link to it says. html, markdown: its content without the heading."""

    anchor: str
    title: str
    html: str
    markdown: str


def page_html(title: str, sections: Sequence[Section]) -> str:
    """A file that needs no other and asks nobody; the sections' html has to be escaped where it was told by others."""
    links = "".join(f'<li><a href="#{in_html(s.anchor)}">{in_html(s.title)}</a></li>' for s in sections)
    parts = "".join(
        f'<section id="{in_html(s.anchor)}"><h2>{in_html(s.title)}</h2>\n{s.html}</section>\n' for s in sections
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{in_html(title)}</title><style>{_STYLE}</style></head>\n"
        f'<body><h1>{in_html(title)}</h1>\n<nav aria-label="Contents"><ol>{links}</ol></nav>\n'
        f"<main>\n{parts}</main></body></html>\n"
    )


def page_markdown(title: str, sections: Sequence[Section]) -> str:
    """The same as Markdown, with the pictures in files beside it."""
    parts = [f"## {in_markdown(s.title)}\n\n{s.markdown}" for s in sections]
    return "\n\n".join([f"# {in_markdown(title)}", *parts]) + "\n"


def picture_html(owner: str, picture: Picture) -> str:
    """A figure whose names no other picture in the page has. owner: the name of its result."""
    prefix = f"{owner}-{picture.name}-"
    svg = re.sub(r'(\sid="|href="#|url\(#)', rf"\g<1>{prefix}", picture.svg)
    return f'<figure tabindex="0">{svg}</figure>'


def results_of(folder: Path) -> tuple[list[Result], list[str]]:
    """The results in a folder, and what could not be read."""
    results: list[Result] = []
    broken: list[str] = []
    for path in sorted(folder.glob("*.json")) if folder.is_dir() else []:
        try:
            results.append(Result.load(path))
        except BadInput as error:
            broken.append(str(error).replace(str(path), path.name))
    results.sort(key=lambda r: (ORDER.index(r.name) if r.name in ORDER else len(ORDER), r.name))
    return results, broken


def write_report(folder: Path) -> tuple[Path, Path]:
    """report.html and report.md of the results in `folder`; what is broken is listed as missing.

    Raises BadInput where there is nothing to report, or nothing can be written.
    """
    results, broken = results_of(folder)
    if not results:
        why = broken[0] if broken else f"run `duplex bench panel --out {folder}` first"
        raise BadInput(f"{folder}: expected results of benchmarks, found none that can be read; {why}")
    sections = _sections(results, broken)
    html, markdown = folder / "report.html", folder / "report.md"
    try:
        write_whole(html, page_html(TITLE, sections))
        write_whole(markdown, page_markdown(TITLE, sections))
    except OSError as error:
        raise BadInput(f"{folder}: expected a folder to write to, got {error.strerror or error}; copy it") from None
    return html, markdown


def _sections(results: Sequence[Result], broken: Sequence[str]) -> list[Section]:
    first = [_short(results)] if any(result.headline for result in results) else []
    missing = [_missing(results, broken)] if broken or any(result.missing for result in results) else []
    return [*first, *missing, *(_section(result) for result in results), _again(results)]


def _title(result: Result) -> str:
    return _TITLES.get(result.name, result.name.replace("-", " ").capitalize())


def _short(results: Sequence[Result]) -> Section:
    said = [result for result in results if result.headline]
    html = "".join(f'<p><a href="#{in_html(r.name)}">{in_html(_title(r))}</a>: {in_html(r.headline)}</p>' for r in said)
    markdown = "\n".join(f"- **{in_markdown(_title(r))}**: {in_markdown(r.headline)}" for r in said)
    return Section("in-short", "In short", html, markdown)


def _missing(results: Sequence[Result], broken: Sequence[str]) -> Section:
    lists = [(_title(result), result.few_missing()) for result in results if result.missing]
    lists += [("Files that could not be read", list(broken))] if broken else []
    html, markdown = "", []
    for title, each in lists:
        html += f"<p>{in_html(title)}:</p><ul>{''.join(f'<li>{in_html(line)}</li>' for line in each)}</ul>"
        markdown.append("\n".join([f"{in_markdown(title)}:", "", *(f"- {in_markdown(line)}" for line in each)]))
    return Section("missing", "What is missing", html, "\n\n".join(markdown))


def _section(result: Result) -> Section:
    settings = "; ".join(f"{key}: {_setting(value)}" for key, value in result.settings.items())
    how = one_line(f"{settings + '. ' if settings else ''}It took {shown(float(result.seconds))} s.")
    html = [f"<p>{in_html(result.about)}</p>"]
    html += [table.html() for table in result.tables]
    html += [picture_html(result.name, picture) for picture in result.pictures]
    markdown = [in_markdown(result.about), *(table.markdown() for table in result.tables)]
    markdown += [f"![{in_markdown(p.title)}]({result.name}-{p.name}.svg)" for p in result.pictures]
    html.append(f'<p class="quiet">{in_html(how)}</p>')
    return Section(result.name, _title(result), "\n".join(html), "\n\n".join([*markdown, in_markdown(how)]))


def _setting(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _again(results: Sequence[Result]) -> Section:
    commands = [one_line(result.command) for result in results]
    table = _machine(results)
    text = "The commands, one a result, and the machine and versions that the figures are of."
    lines = "\n".join(map(in_html, commands))
    html = f"<p>{text}</p><pre><code>{lines}</code></pre>{table.html()}"
    markdown = "\n".join([text, "", "```sh", *commands, "```", "", table.markdown()])
    return Section("again", "How to get it again", html, markdown)


def _machine(results: Sequence[Result]) -> Table:
    """Each value once; where results differ, with the names of those that have it."""
    rows: list[tuple[str, str]] = []
    for key in dict.fromkeys(key for result in results for key in result.machine):
        having: dict[str, list[str]] = {}
        for result in results:
            having.setdefault(result.machine.get(key, "not told"), []).append(result.name)
        one = len(having) == 1
        rows.append((key, "; ".join(value if one else f"{value} ({', '.join(n)})" for value, n in having.items())))
    return Table("Machine and versions", ("", "value"), tuple(rows))
