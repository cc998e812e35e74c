"""An export as a private data set of the hub: `duplex study push`.

pushed = push(study, database, Path("my-study/export"), "ann/my-study")
pushed.files, pushed.size_bytes, pushed.url

The data set then has this export and nothing else, also in its history: who was deleted here since the last one is
deleted there. So it is refused for a data set that holds anything but an export. An export that was changed, or that
has somebody in it who may not be in it any more, is refused as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from duplex_runtime.errors import BadInput
from webapp.study.definition import Study
from webapp.study.export import CHECKSUMS, MANIFEST, changed, is_export, manifest_of
from webapp.study.gather import allowed
from webapp.study.hub import DATASET, HubError, api_of, checked_repo, has_token, private_dataset, reached

if TYPE_CHECKING:
    from webapp.study.database import Database

#: What the hub puts into a new data set by itself.
_OF_THE_HUB = {".gitattributes", "README.md"}


@dataclass(frozen=True)
class Pushed:
    """What went, or would go: so many files. `url` is empty if nothing was sent."""

    files: int
    size_bytes: int
    url: str


def push(study: Study, database: Database, folder: Path, repo: str, dry_run: bool = False) -> Pushed:
    """See the module; without a token, or with `dry_run`, nothing is sent. Raises BadInput and HubError."""
    checked_repo(repo)
    check(study, database, folder)
    files = [file for file in folder.rglob("*") if file.is_file()]
    size = sum(file.stat().st_size for file in files)
    if dry_run or not has_token():
        return Pushed(len(files), size, "")
    api = api_of()
    private_dataset(api, repo)
    with reached(repo):
        _only_an_export(api, repo)
        # uploads what is new and deletes what is there and not here, in one commit
        message = f"Export of {study.name}"
        api.upload_folder(
            repo_id=repo, folder_path=folder, repo_type=DATASET, commit_message=message, delete_patterns="*"
        )
        api.super_squash_history(repo, repo_type=DATASET, commit_message=message)
    return Pushed(len(files), size, f"https://huggingface.co/datasets/{repo}")


def check(study: Study, database: Database, folder: Path) -> None:
    """May this export be sent? Raises BadInput if it is another study's, was changed, or is out of date."""
    manifest = manifest_of(folder)
    if not is_export(folder) or manifest.get("study") != study.name:
        raise BadInput(
            f"{folder}: expected an export of {study.name}; make one with duplex study export {study.folder}"
        )
    if other := changed(folder):
        some = ", ".join(other[:3]) + (" …" if len(other) > 3 else "")
        raise BadInput(f"{folder}: {len(other)} files are not as they were exported ({some}): export again")
    gone = set(manifest["participants"]) - allowed(study, database, manifest["audience"])
    if gone:
        raise BadInput(
            f"{folder}: {len(gone)} participants in it were deleted or excluded since ({', '.join(sorted(gone)[:3])}): "
            "export again"
        )


def _only_an_export(api: Any, repo: str) -> None:
    there = set(api.list_repo_files(repo, repo_type=DATASET))
    if there - _OF_THE_HUB and not {MANIFEST, CHECKSUMS} <= there:
        raise HubError(repo, "it holds other things than an export, which would be deleted: give another data set")
