"""Stages of time as an SVG: one bar for the median of each, one for its 95th percentile; readable on light and dark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, LEFT, RIGHT, BAR, ROW = 760, 130, 24, 34, 62
#: One colour a stage, told apart on white as on black, and by those who see fewer colours.
COLOURS = ("#6699cc", "#66ccee", "#55aa66", "#ccbb44", "#ee8877", "#bb88cc", "#bbbbbb")

_STYLE = """
  text { font: 13px system-ui, sans-serif; fill: #222 }
  .small { font-size: 12px } .title { font-weight: 600 } .line { stroke: #999 } .edge { stroke: #fff }
  .inside { fill: #111; font-weight: 600 }
  @media (prefers-color-scheme: dark) { text { fill: #ddd } .edge { stroke: #111 } .inside { fill: #111 } }
"""


@dataclass(frozen=True)
class Stage:
    """`name` for people, and milliseconds: the median and the 95th percentile."""

    name: str
    p50: float
    p95: float


def picture(title: str, stages: Sequence[Stage], totals: Mapping[str, float]) -> str:
    """The whole file. totals: `p50` and `p95` of all stages together, which are less than their sums."""
    most = max(1.0, *(sum(getattr(s, kind) for s in stages) for kind in ("p50", "p95")))
    step = _step(most)
    scale = (WIDTH - LEFT - RIGHT) / most
    bars_at, legend_at = 56, 56 + 2 * ROW + 34
    columns = 2
    height = legend_at + 22 * -(-len(stages) // columns) + 8
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img"',
        f' aria-label="{escape(title)}">',
        f"<style>{_STYLE}</style>",
        f'<text class="title" x="16" y="26">{escape(title)}</text>',
    ]
    for row, (kind, name) in enumerate((("p50", "median"), ("p95", "95th percentile"))):
        y = bars_at + row * ROW
        lines += [
            f'<text x="{LEFT - 10}" y="{y + 16}" text-anchor="end">{name}</text>',
            f'<text class="small" x="{LEFT - 10}" y="{y + 32}" text-anchor="end">together {totals[kind]:.0f} ms</text>',
        ]
        x = float(LEFT)
        for number, stage in enumerate(stages):
            value = getattr(stage, kind)
            width = value * scale
            colour = COLOURS[number % len(COLOURS)]
            hint = f"<title>{escape(stage.name)}: {value:.0f} ms</title>"
            lines.append(f'<rect class="edge" x="{x:.1f}" y="{y}" width="{width:.1f}" height="{BAR}" fill="{colour}">'
                         f"{hint}</rect>")  # fmt: skip
            if width > 30:
                lines.append(f'<text class="inside small" x="{x + width / 2:.1f}" y="{y + 22}" text-anchor="middle">'
                             f"{value:.0f}</text>")  # fmt: skip
            x += width
    axis = bars_at + 2 * ROW - 14
    lines.append(f'<line class="line" x1="{LEFT}" y1="{axis}" x2="{WIDTH - RIGHT}" y2="{axis}"/>')
    for at in range(0, int(most) + 1, step):
        x = LEFT + at * scale
        lines += [
            f'<line class="line" x1="{x:.1f}" y1="{axis}" x2="{x:.1f}" y2="{axis + 4}"/>',
            f'<text class="small" x="{x:.1f}" y="{axis + 18}" text-anchor="middle">{at}</text>',
        ]
    for number, stage in enumerate(stages):
        x = 16 + (number % columns) * (WIDTH // columns)
        y = legend_at + 22 * (number // columns)
        text = f"{escape(stage.name)}: {stage.p50:.0f} / {stage.p95:.0f} ms"
        lines += [
            f'<rect x="{x}" y="{y}" width="12" height="12" rx="2" fill="{COLOURS[number % len(COLOURS)]}"/>',
            f'<text class="small" x="{x + 20}" y="{y + 11}">{text}</text>',
        ]
    return "\n".join([*lines, "</svg>", ""])


def _step(most: float) -> int:
    """Milliseconds between two numbers of the axis: at most eight of them."""
    return next(step for step in (50, 100, 200, 250, 500, 1000, 2000, 5000, 10_000_000) if most / step <= 8)
