"""Folders to write to, also where the home folder cannot be written: in a container, on a Space.

for line in settle(os.environ):        # before huggingface_hub, gradio or matplotlib are imported: they look once
    print(line)
data = data_folder(os.environ)         # where ratings and recordings go if nobody says
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping, MutableMapping, Sequence
from pathlib import Path

#: Where the storage that is attached to a Space is.
STORAGE = Path("/data")


def settle(environment: MutableMapping[str, str]) -> list[str]:
    """Give libraries whose cache cannot be written another one, below the temporary folder; says which."""
    said = []
    for name, folder in _caches(environment).items():
        if not writable(folder):
            other = _temporary() / name.lower()
            environment[name] = str(other)
            said.append(f"{folder} cannot be written: {name} is {other} for now, and is empty after a restart")
    return said


def data_folder(environment: Mapping[str, str], storage: Path = STORAGE) -> Path:
    """DUPLEX_DATA; on a Space its storage if it has any, else what can be written; everywhere else `data`."""
    if chosen := environment.get("DUPLEX_DATA"):
        return Path(chosen)
    if "SPACE_ID" not in environment:
        return Path("data")
    # the storage is there or not: a folder of that name on the Space's own disk would only look as if it lasted
    places = ([storage] if storage.is_dir() else []) + [Path("data"), _temporary() / "data"]
    return next(filter(writable, places), Path("data"))


def on_storage(study: Path, storage: Path = STORAGE) -> Path:
    """A study's folder, copied to the storage of the Space if it has any: answers and recordings are stored in it.

    What is there already stays; the study's own files are those of the Space.
    """
    if not storage.is_dir() or not writable(storage):
        return study
    return Path(shutil.copytree(study, storage / study.name, dirs_exist_ok=True))


def lasts(folder: Path, storages: Sequence[Path] = (STORAGE,)) -> bool:
    """Is what lies in this folder of a Space there after a restart?"""
    return any(folder.resolve().is_relative_to(storage) for storage in storages)


def writable(folder: Path) -> bool:
    """Can files be made in the folder? It is made if need be: asking for permissions tells nothing where a disk is
    mounted read-only."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _caches(environment: Mapping[str, str]) -> dict[str, Path]:
    """Variable → the folder that its library would use; each has its own way of choosing one."""
    home = Path(environment.get("HOME") or os.path.expanduser("~"))
    cache = Path(environment.get("XDG_CACHE_HOME") or home / ".cache")
    config = Path(environment.get("XDG_CONFIG_HOME") or home / ".config")
    usual = {
        "HF_HOME": cache / "huggingface",
        "MPLCONFIGDIR": config / "matplotlib",
        "GRADIO_TEMP_DIR": Path(tempfile.gettempdir()) / "gradio",
    }
    return {name: Path(environment.get(name) or folder) for name, folder in usual.items()}


def _temporary() -> Path:
    """Below the temporary folder, one for each user: others may not write to ours."""
    return Path(tempfile.gettempdir()) / f"duplex-arena-{os.getuid() if hasattr(os, 'getuid') else 'own'}"
