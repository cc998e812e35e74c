"""The page: a Gradio Blocks app whose live part is our own HTML and ES modules from `static/`."""

from __future__ import annotations

from pathlib import Path

import gradio as gr

HEAD = """
<link rel="stylesheet" href="page/arena.css">
<script type="module" src="page/app.js"></script>
"""
CSS = """
.gradio-container { padding: 0 !important; max-width: none !important; }
.gradio-container > .main, .gradio-container main { padding: 0 !important; max-width: none !important; }
footer { display: none !important; }
"""


def static_folder() -> Path:
    """`static/`: beside this package in a checkout, inside it in a wheel."""
    package = Path(__file__).resolve().parents[1]
    return next(folder for folder in (package.parent / "static", package / "static") if folder.is_dir())


def theme() -> gr.themes.Base:
    """The system's own fonts: no request leaves the machine."""
    return gr.themes.Base(
        font=("system-ui", "-apple-system", "Segoe UI", "sans-serif"),
        font_mono=("ui-monospace", "Menlo", "Consolas", "monospace"),
    )


def build() -> gr.Blocks:
    """The Blocks to mount; styles and scripts go to `mount_gradio_app`."""
    with gr.Blocks(title="Duplex Arena", analytics_enabled=False, fill_width=True) as blocks:
        gr.HTML(
            html_template=(static_folder() / "arena.html").read_text(encoding="utf-8"),
            js_on_load="",
            apply_default_css=False,
            elem_id="arena",
        )
    # else its script asks huggingface.co about the Space that this runs in, and puts a bar of its own on the page
    blocks.space_id = None
    return blocks
