"""Study files for tests: a preset of the package with single lines changed."""

from __future__ import annotations

from pathlib import Path

from webapp.study.command import PRESETS
from webapp.study.definition import Study

CONTACT = 'contact = "FILL IN: name, institution, e-mail"'
TOKEN = {"DUPLEX_STUDY_TOKEN": "0123456789abcdef"}


def study_file(folder: Path, *changes: tuple[str, str], preset: str = "arena") -> Path:
    """The file of a study that is ready, but for the changes: pairs of a text that stands there once, and a new one."""
    text = (PRESETS / f"{preset}.toml").read_text(encoding="utf-8")
    for old, new in ((CONTACT, 'contact = "Ann, a@example.org"'), *changes):
        assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in {preset}.toml"
        text = text.replace(old, new)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "study.toml"
    path.write_text(text, encoding="utf-8")
    return path


def study(folder: Path, *changes: tuple[str, str], preset: str = "arena") -> Study:
    """The same, read."""
    return Study.read(study_file(folder, *changes, preset=preset))


THREE = (
    ('systems = ["duplex", "strict"]', 'systems = ["duplex", "strict", "barge-in"]'),
    ("block = 4", "block = 6"),
    ("minutes = 25", "minutes = 35"),
)
