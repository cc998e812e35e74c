"""The Hugging Face hub: private data sets, and its errors in words.

api = api_of()
with reached("ann/my-study"):
    private_dataset(api, "ann/my-study")          # it is there, and nobody else can read it; raises HubError
    remove(api, "ann/my-study", ["recordings/a.jsonl"])

Whatever keeps the hub from working comes out as `HubError`. A token is read from HF_TOKEN or from `hf auth login`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from duplex_runtime.errors import BadInput, DuplexError

DATASET = "dataset"
REPO = r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}"
#: What a status of the hub means to somebody who wants to store something there.
_MEANS: dict[int | None, str] = {
    401: "the token is not valid: make one at huggingface.co/settings/tokens and set HF_TOKEN",
    403: "the token may not write there: make one with write access and set HF_TOKEN",
    404: "it is not there, or this token may not see it: check the name and the token",
}


class HubError(DuplexError):
    """The hub cannot be reached, or does not do what was asked; the message says which and what to do."""

    def __init__(self, repo: str, problem: str) -> None:
        super().__init__("hub", f"{repo} on the Hugging Face hub: {problem}")


def api_of() -> Any:
    """The hub as whoever's token is set."""
    from huggingface_hub import HfApi

    return HfApi()


def has_token() -> bool:
    """Is there a token to write with?"""
    from huggingface_hub import get_token

    return bool(get_token())


def checked_repo(name: str) -> str:
    """The name of a data set; raises BadInput."""
    if not re.fullmatch(REPO, name):
        raise BadInput(f"expected a data set of the hub as OWNER/NAME, got {name[:60]!r}")
    return name


@contextmanager
def reached(repo: str) -> Iterator[None]:
    """What can go wrong on the way to the hub and there, as a HubError."""
    from httpx import HTTPError
    from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError

    try:
        yield
    except HfHubHTTPError as error:
        status = getattr(error.response, "status_code", None)
        said = error.server_message or str(error).splitlines()[0]
        raise HubError(repo, _MEANS.get(status) or f"it answered {status}: {said[:200]}") from error
    except LocalTokenNotFoundError as error:
        raise HubError(repo, "there is no token: set HF_TOKEN to one with write access") from error
    except (HTTPError, OSError, ValueError) as error:
        said = (str(error).splitlines() or [""])[0]
        raise HubError(
            repo, f"it cannot be reached ({type(error).__name__}: {said[:200]}): check the network, and try again"
        ) from error


def private_dataset(api: Any, repo: str) -> None:
    """See that the data set is there and private. An existing one stays as it is, so that it is looked at.

    Raises HubError if others can read it.
    """
    with reached(repo):
        api.create_repo(repo, repo_type=DATASET, private=True, exist_ok=True)
        public = not api.repo_info(repo, repo_type=DATASET).private
    if public:
        raise HubError(repo, "everybody can read it: make it private, or give another one")


def problem_of(repo: str) -> str:
    """What keeps data from being stored in a private data set, or nothing. Changes nothing: one that is not there yet
    is made later."""
    from huggingface_hub.errors import RepositoryNotFoundError

    if not has_token():
        return "it needs a token with write access: set HF_TOKEN"
    try:
        with reached(repo):
            api = api_of()
            api.whoami()
            try:
                public = not api.repo_info(repo, repo_type=DATASET).private
            except RepositoryNotFoundError:
                public = False
    except HubError as error:
        return str(error)
    return f"everybody can read {repo} on the hub: make it private, or give another one" if public else ""


def remove(api: Any, repo: str, files: Iterable[str]) -> int:
    """Delete files so that nothing of them is left, also in the history; how many there were.

    A commit that deletes a file leaves it in those before: the history becomes one commit. Large files have a store of
    their own, from which they are taken as well. Call it inside `reached`.
    """
    from huggingface_hub import CommitOperationDelete

    wanted = set(files)
    there = sorted(wanted & set(api.list_repo_files(repo, repo_type=DATASET)))
    if there:
        operations = [CommitOperationDelete(path_in_repo=name) for name in there]
        api.create_commit(repo, operations, commit_message="Delete", repo_type=DATASET)
    # also if nothing is there: the step before may have been the last that worked
    api.super_squash_history(repo, repo_type=DATASET)
    large = [file for file in api.list_lfs_files(repo, repo_type=DATASET) if file.filename in wanted]
    if large:
        api.permanently_delete_lfs_files(repo, large, repo_type=DATASET)
    return len(there)
