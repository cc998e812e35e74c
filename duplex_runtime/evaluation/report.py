"""`duplex report`: all results of a folder as one HTML file that opens offline, and as Markdown.

html, markdown = write_report(Path("runs/report"))
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

from duplex_runtime.errors import BadInput
from duplex_runtime.evaluation.results import Result, Table

#: What stands first; others follow by name.
ORDER = ("panel", "interruption", "slices", "latency")
TITLE = "Duplex Arena, measured"
_TITLES = {
    "panel": "Who speaks when",
    "interruption": "Interruptions",
    "slices": "Slice periods",
    "latency": "Latency",
}
_STYLE = """
:root { color-scheme: light dark; --line: #8886; }
body { font: 16px/1.55 system-ui, sans-serif; max-width: 54rem; margin: 2rem auto; padding: 0 1rem; }
h1 { line-height: 1.2; } h2 { margin-top: 3rem; border-top: 1px solid var(--line); padding-top: 1.5rem; }
.wide { overflow-x: auto; margin: 1.5rem 0 0.5rem; }
table { border-collapse: collapse; font-size: 0.9rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 600; padding-bottom: 0.4rem; }
th, td { padding: 0.25rem 0.7rem; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
th:first-child { text-align: left; font-weight: 500; }
.note, .quiet { font-size: 0.85rem; opacity: 0.75; }
figure { margin: 1.5rem 0; } svg { max-width: 100%; height: auto; }
code { font-family: ui-monospace, monospace; font-size: 0.9em; }
pre { overflow-x: auto; padding: 0.8rem; border: 1px solid var(--line); border-radius: 6px; }
@media print { h2 { break-before: page; } figure, table { break-inside: avoid; } }
"""
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def results_of(folder: Path) -> tuple[list[Result], list[str]]:
    """The results in a folder, and what could not be read."""
    results: list[Result] = []
    broken: list[str] = []
    for path in sorted(folder.glob("*.json")) if folder.is_dir() else []:
        try:
            results.append(Result.load(path))
        except BadInput as error:
            broken.append(str(error))
    results.sort(key=lambda r: (ORDER.index(r.name) if r.name in ORDER else len(ORDER), r.name))
    return results, broken


def write_report(folder: Path) -> tuple[Path, Path]:
    """report.html and report.md of the results in `folder`; raises BadInput if there are none."""
    results, broken = results_of(folder)
    if not results:
        why = (
            broken[0]
            if broken
            else f"run `duplex bench panel --out {folder}` first, or `duplex report` without --only-write"
        )
        raise BadInput(f"{folder}: expected results of benchmarks, found none that can be read; {why}")
    html, markdown = folder / "report.html", folder / "report.md"
    html.write_text(_html(results, broken), encoding="utf-8")
    markdown.write_text(_markdown(results, broken), encoding="utf-8")
    return html, markdown


def _title(result: Result) -> str:
    return _TITLES.get(result.name, result.name.capitalize())


def _machine(results: Sequence[Result]) -> Table:
    """Everything that the results name, each value once."""
    values: dict[str, list[str]] = {}
    for result in results:
        for key, value in result.machine.items():
            if value and value not in values.setdefault(key, []):
                values[key].append(value)
    return Table("Machine and versions", ("", "value"), tuple((key, "; ".join(v)) for key, v in values.items()))


def _settings(result: Result) -> str:
    return "; ".join(f"{k}: {', '.join(map(str, v)) if isinstance(v, list) else v}" for k, v in result.settings.items())


def _html(results: Sequence[Result], broken: Sequence[str]) -> str:
    links = "".join(f'<li><a href="#{escape(r.name)}">{escape(_title(r))}</a></li>' for r in results)
    body = [f"<h1>{TITLE}</h1>", f"<nav><ol>{links}</ol></nav>"]
    for result in results:
        body.append(
            f'<section id="{escape(result.name)}"><h2>{escape(_title(result))}</h2><p>{escape(result.about)}</p>'
        )
        body += [table.html() for table in result.tables]
        body += [f"<figure>{picture.svg}</figure>" for picture in result.pictures]
        if result.missing:
            body.append("<p>Missing:</p><ul>" + "".join(f"<li>{escape(m)}</li>" for m in result.missing) + "</ul>")
        body.append(f"<pre><code>{escape(result.command)}</code></pre>")
        body.append(f'<p class="quiet">{escape(_settings(result))}. It took {result.seconds:.0f} s.</p></section>')
    body.append(f'<section id="machine"><h2>How to get it again</h2>{_machine(results).html()}')
    if broken:
        body.append("<p>Not read:</p><ul>" + "".join(f"<li>{escape(b)}</li>" for b in broken) + "</ul>")
    body.append("</section>")
    head = (
        f'<meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}"><title>{TITLE}</title><style>{_STYLE}</style>'
    )
    return f'<!doctype html><html lang="en"><head>{head}</head><body>{"".join(body)}</body></html>\n'


def _markdown(results: Sequence[Result], broken: Sequence[str]) -> str:
    parts = [f"# {TITLE}"]
    for result in results:
        parts += [f"## {_title(result)}", result.about, *(table.markdown() for table in result.tables)]
        parts += [f"![{p.title}]({result.name}-{p.name}.svg)" for p in result.pictures]
        if result.missing:
            parts.append("\n".join(["Missing:", "", *(f"- {m}" for m in result.missing)]))
        parts += [f"```sh\n{result.command}\n```", f"{_settings(result)}. It took {result.seconds:.0f} s."]
    parts += ["## How to get it again", _machine(results).markdown()]
    if broken:
        parts.append("\n".join(["Not read:", "", *(f"- {b}" for b in broken)]))
    return "\n\n".join(parts) + "\n"
