"""`duplex deploy`: makes a Space of Hugging Face that runs this server.

duplex deploy cpu --space ann/arena --dry-run                  # builds build/spaces/cpu and lists it
duplex deploy study --space ann/my-study --study my-study      # builds, makes the Space, sets its secrets, uploads

A Space installs its requirements.txt before any other file of its folder is there, so a wheel of ours named in it would
not be found. The packages themselves lie beside app.py instead, where Python finds them; nothing has to be published.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from duplex_runtime.errors import BadInput, DuplexError
from webapp.study.hub import REPO, api_of, has_token, reached

ROOT = Path(__file__).resolve().parents[1]
NAMES = ("cpu", "gpu", "study")
#: What of this project a Space needs beside its own files.
PACKAGES = ("duplex_runtime", "webapp", "static")
#: Settings of the server that a Space gets from the environment of `duplex deploy`; the second are kept from readers.
VARIABLES = (
    "DUPLEX_MODEL", "DUPLEX_ORIGINS", "DUPLEX_FRAME_ANCESTORS", "DUPLEX_LOG", "DUPLEX_PLACES", "DUPLEX_PER_PERSON",
    "DUPLEX_SESSION_MINUTES", "DUPLEX_IDLE_MINUTES",
)  # fmt: skip
SECRETS = ("DUPLEX_METRICS_TOKEN",)
TOKEN_HELP = (
    "make a token with write access at https://huggingface.co/settings/tokens, and give it to `hf auth login` or "
    "in the variable HF_TOKEN"
)
#: What is left to do by hand, for it costs money or is of the person.
NEXT = {
    "cpu": "It builds for some minutes and then opens. Ratings last only with storage: Settings, Storage.",
    "gpu": "Settings, Hardware: choose an L4 or an A10G; on the free processor the model is far too slow.",
    "study": "Without PostgreSQL answers last only with storage: Settings, Storage. See docs/hosting.md before anybody "
    "comes.",
}


@dataclass(frozen=True)
class Plan:
    """A Space to be: its folder here, and what is set beside its files. secrets, variables: name → value."""

    name: str
    space: str
    folder: Path
    variables: Mapping[str, str]
    secrets: Mapping[str, str] = field(repr=False)

    def described(self) -> str:
        """What an upload takes there, in lines; of secrets only the names."""
        lines = [f"{self.folder} for https://huggingface.co/spaces/{self.space}:"]
        for path in sorted(self.folder.iterdir(), key=lambda path: (path.is_dir(), path.name)):
            files = [file for file in (path.rglob("*") if path.is_dir() else [path]) if file.is_file()]
            size = sum(file.stat().st_size for file in files) / 1e6
            lines.append(f"  {path.name + '/' if path.is_dir() else path.name:20} {len(files):4} files {size:7.2f} MB")
        lines += [f"  variable {name} = {value}" for name, value in self.variables.items()]
        lines += [f"  secret {name}" for name in self.secrets]
        return "\n".join(lines)


def run(name: str, space: str, study: Path | None, dry_run: bool) -> int:
    """Build a Space's folder and, unless `dry_run`, upload it. Raises DuplexError, also without a token."""
    plan = plan_of(name, space, study, os.environ, ROOT / "build" / "spaces")
    print(plan.described())
    if dry_run:
        print(f"Nothing was uploaded. To upload: {TOKEN_HELP}; then the same command without --dry-run.")
        return 0
    if not has_token():
        raise DuplexError("no_token", f"nothing was uploaded, for there is no token: {TOKEN_HELP}")
    upload(plan, api_of())
    print(f"https://huggingface.co/spaces/{space}   {NEXT[name]}")
    return 0


def plan_of(name: str, space: str, study: Path | None, environment: Mapping[str, str], out: Path) -> Plan:
    """The plan of a Space, its folder built in `out`; raises DuplexError."""
    if not re.fullmatch(REPO, space):
        raise BadInput(f"--space: expected OWNER/NAME, such as ann/duplex-arena, got {space[:60]!r}")
    if (name == "study") != (study is not None):
        raise BadInput("the study Space needs --study DIR, and the others take none; `duplex study new DIR` writes one")
    variables = {key: environment[key] for key in VARIABLES if environment.get(key)}
    secrets = {key: environment[key] for key in SECRETS if environment.get(key)}
    if study:
        secrets |= _secrets_of(study, environment)
    model = variables.get("DUPLEX_MODEL", "")
    if model and Path(model).expanduser().is_dir():
        raise BadInput(f"DUPLEX_MODEL is the folder {model}, which the Space does not have: upload it as a model")
    return Plan(name, space, build(name, out / name, study), variables, secrets)


def build(name: str, out: Path, study: Path | None = None) -> Path:
    """Write the folder of a Space, in the place of what was there; raises DuplexError."""
    own = ROOT / "spaces" / name
    if not own.is_dir():
        raise DuplexError("no_checkout", f"there is no {own}: `duplex deploy` needs a checkout of the repository")
    rubbish = shutil.ignore_patterns("__pycache__", "*.pyc")
    try:
        shutil.rmtree(out, ignore_errors=True)
        shutil.copytree(own, out, ignore=rubbish)
        for package in PACKAGES:
            shutil.copytree(ROOT / package, out / package, ignore=rubbish)
        shutil.copy(ROOT / "LICENSE", out)
        if study:  # never what is stored beside it: answers and recordings are people's own
            _copy_study(study, out / "study")
    except OSError as error:
        raise DuplexError("cannot_write", f"{out} cannot be written: {error}") from None
    return out


def upload(plan: Plan, api: Any) -> None:
    """Make the Space if it is not there, set what it needs, and put the folder into it; raises HubError.

    The secrets come first, so that the first start has them. Modules that we no longer have are deleted there; other
    files of the Space stay.
    """
    with reached(plan.space):
        api.create_repo(plan.space, repo_type="space", space_sdk="gradio", exist_ok=True)
        for name, value in plan.secrets.items():
            api.add_space_secret(plan.space, name, value)
        for name, value in plan.variables.items():
            api.add_space_variable(plan.space, name, value)
        api.upload_folder(
            repo_id=plan.space,
            repo_type="space",
            folder_path=plan.folder,
            commit_message="Duplex Arena",
            delete_patterns=[f"{package}/*" for package in PACKAGES],
        )


def _secrets_of(study: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """What a study needs beside its files; raises DuplexError if it is not yet fit for people."""
    from webapp.study.check import problems_of
    from webapp.study.definition import Study

    if problems := problems_of(study, environment):
        raise DuplexError("study", f"first put right what `duplex study check {study}` finds: {problems[0]}")
    read = Study.read(study)
    if Path(read.model).expanduser().is_dir():
        raise BadInput(
            f"{study}: model is a folder here, which the Space does not have: upload it, and give its hub id"
        )
    names = [read.admin.token_env, *(["PGPASSWORD"] if read.database_url.startswith("postgresql") else [])]
    return {name: environment[name] for name in names if environment.get(name)}


def _copy_study(study: Path, out: Path) -> None:
    from webapp.study.parse import FILE, file_of

    file = file_of(study)
    out.mkdir()
    shutil.copy(file, out / FILE)
    if texts := sorted((file.parent / "texts").glob("*.toml")):
        (out / "texts").mkdir()
        for text in texts:
            shutil.copy(text, out / "texts")
