"""The Hugging Face hub in memory, as far as a study uses it.

hub = FakeHub()
monkeypatch.setattr("webapp.study.mirror.api_of", lambda: hub)
hub.files("ann/mirror"), hub.ever("ann/mirror")       # what is there, and what its history still has
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
from huggingface_hub import CommitOperationAdd, CommitOperationDelete
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError


@dataclass
class Repo:
    """Files by name; `before`: the files of earlier commits; `large`: files in the store of large ones."""

    private: bool = True
    files: dict[str, bytes] = field(default_factory=dict)
    before: list[dict[str, bytes]] = field(default_factory=list)
    large: dict[str, bytes] = field(default_factory=dict)


def refused(status: int, kind: type[HfHubHTTPError] = HfHubHTTPError) -> HfHubHTTPError:
    """An answer of the hub that is an error."""
    response = httpx.Response(status, request=httpx.Request("POST", "https://hub.invalid/"))
    return kind(f"{status} from the hub", response=response)


class FakeHub:
    """`HfApi` over a dict. `fails`: raised by everything; `meanwhile`: called while a commit is on its way."""

    def __init__(self) -> None:
        self.repos: dict[str, Repo] = {}
        self.fails: Exception | None = None
        self.meanwhile: Callable[[], None] = lambda: None
        self._pool = ThreadPoolExecutor(1)

    def files(self, repo: str) -> list[str]:
        return sorted(self.repos[repo].files)

    def ever(self, repo: str) -> set[str]:
        """Names of everything that can still be had."""
        there = self.repos[repo]
        return {name for files in (there.files, there.large, *there.before) for name in files}

    def _repo(self, name: str) -> Repo:
        if self.fails:
            raise self.fails
        if name not in self.repos:
            raise refused(404, RepositoryNotFoundError)
        return self.repos[name]

    # — as HfApi has it —

    def whoami(self) -> dict[str, str]:
        if self.fails:
            raise self.fails
        return {"name": "ann"}

    def create_repo(self, repo_id: str, *, private: bool, repo_type: str, exist_ok: bool) -> Any:
        assert exist_ok and repo_type == "dataset"
        if self.fails:
            raise self.fails
        self.repos.setdefault(repo_id, Repo(private))
        return SimpleNamespace(repo_id=repo_id)

    def repo_info(self, repo_id: str, *, repo_type: str) -> Any:
        return SimpleNamespace(private=self._repo(repo_id).private)

    def list_repo_files(self, repo_id: str, *, repo_type: str) -> list[str]:
        return self.files(repo_id) if self._repo(repo_id) else []

    def hf_hub_download(self, repo_id: str, filename: str, *, repo_type: str, local_dir: str) -> str:
        file = Path(local_dir) / filename
        file.parent.mkdir(parents=True)
        file.write_bytes(self._repo(repo_id).files[filename])
        return str(file)

    def create_commit(self, repo_id: str, operations: Any, *, commit_message: str, repo_type: str, **_: Any) -> Any:
        repo = self._repo(repo_id)
        repo.before.append(dict(repo.files))
        for operation in operations:
            if isinstance(operation, CommitOperationAdd):
                with operation.as_file() as file:
                    data = file.read()
                self.meanwhile()
                repo.files[operation.path_in_repo] = data
                if operation.path_in_repo.endswith(".wav"):
                    repo.large[operation.path_in_repo] = data
            else:
                assert isinstance(operation, CommitOperationDelete)
                del repo.files[operation.path_in_repo]
        return SimpleNamespace(oid="1")

    def super_squash_history(self, repo_id: str, *, repo_type: str, commit_message: str = "") -> None:
        self._repo(repo_id).before.clear()

    def list_lfs_files(self, repo_id: str, *, repo_type: str) -> list[Any]:
        return [SimpleNamespace(filename=name) for name in self._repo(repo_id).large]

    def permanently_delete_lfs_files(self, repo_id: str, files: Any, *, repo_type: str) -> None:
        for file in files:
            del self._repo(repo_id).large[file.filename]

    def upload_folder(
        self, *, repo_id: str, folder_path: Path, repo_type: str, commit_message: str, delete_patterns: str
    ) -> None:
        assert delete_patterns == "*"
        repo = self._repo(repo_id)
        repo.before.append(dict(repo.files))
        files = {f.relative_to(folder_path).as_posix(): f for f in folder_path.rglob("*") if f.is_file()}
        repo.files = {name: file.read_bytes() for name, file in files.items()}

    def run_as_future(self, call: Callable[[], Any]) -> Future[Any]:
        return self._pool.submit(call)
