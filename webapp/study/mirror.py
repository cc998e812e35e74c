"""A copy of a running study in a private data set of the hub, for servers whose disk does not last.

mirror = Mirror.of(study)                # None without [storage] mirror; raises HubError
mirror.close()                           # what is new is sent first
copies_of(study).delete("p-abcdefgh", ["….jsonl"])          # what could not be deleted
copies_of(study).there("p-abcdefgh")                         # also after a disk was lost: is somebody in the mirror?

Journals and recordings, which only grow, are sent every five minutes by huggingface_hub's CommitScheduler. It sends
files that changed since it sent them last, whole, and deletes none: whoever leaves is deleted from the mirror by
`erase`, at once and from its history. The mirror is the study's own storage: who did not agree to publishing is in it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from webapp.study.definition import Study
from webapp.study.hub import DATASET, HubError, api_of, private_dataset, reached, remove
from webapp.study.journal import journal_of, recordings_in

log = logging.getLogger(__name__)

MINUTES = 5.0
#: How long the end of the server waits for the last copy.
LAST_SECONDS = 60.0


class Mirror:
    """See the module: from now on the study is mirrored."""

    def __init__(self, study: Study, api: Any, minutes: float = MINUTES) -> None:
        private_dataset(api, study.storage.mirror)
        with reached(study.storage.mirror):
            self._scheduler = _scheduler(study, api, minutes)

    @staticmethod
    def of(study: Study) -> Mirror | None:
        """That of a study, if it has one; raises HubError."""
        return Mirror(study, api_of()) if study.storage.mirror else None

    def send(self) -> None:
        """Send what is new now; raises HubError."""
        with reached(self._scheduler.repo_id):
            self._scheduler.trigger().result(LAST_SECONDS)

    def close(self) -> None:
        """Send what is new, and stop; what cannot be sent stays on this disk."""
        try:
            self.send()
        except HubError as error:
            log.error("the mirror is not complete: %s", error)
        self._scheduler.stop()


def _scheduler(study: Study, api: Any, minutes: float) -> Any:
    from huggingface_hub import CommitScheduler

    class Scheduler(CommitScheduler):
        """Puts nothing back that was deleted while it was being sent."""

        def push_to_hub(self) -> Any:
            before = dict(self.last_uploaded)
            info = super().push_to_hub()
            sent = [file for file, at in self.last_uploaded.items() if before.get(file) != at]
            gone = [file.relative_to(self.folder_path).as_posix() for file in sent if not file.exists()]
            if gone:
                remove(self.api, self.repo_id, gone)
            return info

    return Scheduler(
        repo_id=study.storage.mirror,
        repo_type=DATASET,
        private=True,
        folder_path=study.folder,
        allow_patterns=[f"{folder.name}/*" for folder in (study.journals, study.recordings)],
        every=minutes,
        hf_api=api,
    )


@dataclass(frozen=True)
class Copies:
    """Where else than in the database and its recordings a participant is: a journal, and the mirror `repo`."""

    repo: str
    journals: Path
    recordings: Path

    def delete(self, participant: str, recordings: Sequence[str]) -> list[str]:
        """Delete all of it, with the recordings that the mirror's journal names; what could not be, with the reason.

        What is left at the hub leaves an empty journal here, so that it is not forgotten.
        """
        journal = journal_of(self.journals, participant)
        left = self._delete_there(journal, recordings) if self.repo else []
        try:
            if left and journal.exists():
                journal.write_bytes(b"")
            else:
                journal.unlink(missing_ok=True)
        except OSError as error:
            left.append(f"{journal}: {error.strerror}")
        return left

    def pending(self, participant: str) -> bool:
        """Of somebody who left: is something still to be deleted?"""
        return journal_of(self.journals, participant).exists()

    def there(self, participant: str) -> bool:
        """Is somebody in the mirror? Raises HubError."""
        if not self.repo:
            return False
        with reached(self.repo):
            return self._there(journal_of(self.journals, participant)) in self._names(api_of())

    def _delete_there(self, journal: Path, recordings: Iterable[str]) -> list[str]:
        stems, copy = {Path(name).stem for name in recordings}, self._there(journal)
        try:
            with reached(self.repo):
                api = api_of()
                names = self._names(api)
                if copy in names:
                    with TemporaryDirectory() as folder:
                        file = api.hf_hub_download(self.repo, copy, repo_type=DATASET, local_dir=folder)
                        stems |= recordings_in(Path(file))
                remove(api, self.repo, [*(name for name in names if self._is(name, stems)), copy])
        except HubError as error:
            return [str(error)]
        return []

    def _there(self, journal: Path) -> str:
        return f"{self.journals.name}/{journal.name}"

    def _names(self, api: Any) -> list[str]:
        return list(api.list_repo_files(self.repo, repo_type=DATASET))

    def _is(self, name: str, stems: set[str]) -> bool:
        folder, _, file = name.partition("/")
        return folder == self.recordings.name and file.split(".")[0] in stems


def copies_of(study: Study) -> Copies:
    """Those of a study."""
    return Copies(study.storage.mirror, study.journals, study.recordings)
