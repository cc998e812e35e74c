"""`duplex study new` and `duplex study check`: a study before anybody comes.

duplex study new my-study                     # writes my-study/study.toml, with a comment for every key
duplex study check my-study                   # every mistake, and what would go wrong on the day; status 1 if any
"""

from __future__ import annotations

import argparse
import os
import re
import secrets
from pathlib import Path

from duplex_runtime.errors import BadInput, DuplexError
from webapp.study.check import problems_of
from webapp.study.parse import FILE, SLUG

PRESETS = Path(__file__).parent / "presets"


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Put `new` and `check` among the commands of `duplex study`."""
    text = "Write a new study: one commented file in a folder of its own."
    new = commands.add_parser("new", help=text, description=text)
    new.add_argument("folder", type=Path, metavar="NAME", help="the folder; its name becomes the study's")
    new.add_argument(
        "--preset",
        choices=sorted(path.stem for path in PRESETS.glob("*.toml")),
        default="arena",
        help="arena: random labels and sides, preference, attention checks; paper: the protocol of arXiv 2406.15718 "
        "(default: %(default)s)",
    )
    new.set_defaults(run=_new)
    text = "List every mistake of a study, and what would go wrong on the day; status 1 if there is any."
    check = commands.add_parser("check", help=text, description=text)
    check.add_argument("study", type=Path, metavar="PATH", help=f"the study's folder, or its {FILE}")
    check.set_defaults(run=_check)


def new_study(folder: Path, preset: str) -> Path:
    """Write a study with a seed of its own and return its file; raises BadInput rather than replace anything."""
    name = folder.resolve().name
    if not re.fullmatch(SLUG, name):
        raise BadInput(f"NAME: expected small letters, digits, - and _, at most 40, got {name!r:.60}")
    text = (PRESETS / f"{preset}.toml").read_text(encoding="utf-8")
    for key, value in (("name", f'"{name}"'), ("seed", secrets.randbelow(2**31))):
        text = re.sub(rf"^{key} = .*$", f"{key} = {value}", text, count=1, flags=re.MULTILINE)
    path = folder / FILE
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise BadInput(f"{path} is there already, and stays as it is: choose another name") from None
    except OSError as error:
        raise DuplexError("cannot_write", f"cannot write {path}: {error.strerror}") from None
    return path


def _new(a: argparse.Namespace) -> int:
    path = new_study(a.folder, a.preset)
    print(f"{path}: open it, and fill in what says FILL IN. Then: duplex study check {path.parent}")
    return 0


def _check(a: argparse.Namespace) -> int:
    problems = problems_of(a.study, os.environ)
    for problem in problems:
        print(problem)
    print(f"{len(problems)} to put right." if problems else "Nothing is wrong: people may come.")
    return 1 if problems else 0
