"""`duplex study export`, `push`, `list` and `delete`: what is done with the data of a study.

duplex study export my-study                      # my-study/export: who agreed to publishing
duplex study export my-study --all --out mine     # everybody who consented, for one's own analysis
duplex study push my-study --repo ann/my-study    # the export as a private data set of the hub
duplex study list my-study                        # who is where; nothing of what they said
duplex study delete my-study p-abcdefgh           # status 1 if something is left
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from duplex_runtime.errors import BadInput
from webapp.study.definition import Study
from webapp.study.parse import FILE

if TYPE_CHECKING:
    from webapp.study.database import Database

FOLDERS = {"public": "export", "all": "export-all"}


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Put them among the commands of `duplex study`."""
    _add_export(commands)
    text = "Send an export to a private data set of the Hugging Face hub, in the place of the one before."
    push = commands.add_parser("push", help=text, description=text)
    _study(push)
    push.add_argument("--repo", required=True, metavar="OWNER/NAME", help="the data set; it is made if it is not there")
    push.add_argument("--export", type=Path, metavar="DIR", help="which export (default: the folder export in PATH)")
    push.add_argument("--dry-run", action="store_true", help="check everything here, and send nothing")
    push.set_defaults(run=_push)
    text = "List the participants: who is where since when, and nothing of what they said."
    list_ = commands.add_parser("list", help=text, description=text)
    _study(list_)
    list_.set_defaults(run=_list)
    text = (
        "Delete all that a participant left, also in the mirror, at once and for good; status 1 if something is left."
    )
    delete = commands.add_parser("delete", help=text, description=text)
    _study(delete)
    delete.add_argument("participant", metavar="PARTICIPANT", help="an id such as p-abcdefgh, see `duplex study list`")
    delete.set_defaults(run=_delete)


def _add_export(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    text = "Export a study as CSV, Parquet and JSONL with a data dictionary and a dataset card."
    export = commands.add_parser("export", help=text, description=text)
    _study(export)
    export.add_argument(
        "--out", type=Path, metavar="DIR",
        help="where to; an earlier export there is replaced (default: export, or with --all export-all, in PATH)",
    )  # fmt: skip
    export.add_argument(
        "--format", default="csv,parquet,jsonl", metavar="NAME,…", help="some of them (default: %(default)s)"
    )
    who = export.add_mutually_exclusive_group()
    who.add_argument(
        "--public", dest="audience", action="store_const", const="public", default="public",
        help="only participants who agreed to publishing (default)",
    )  # fmt: skip
    who.add_argument(
        "--all", dest="audience", action="store_const", const="all",
        help="everybody who consented, for your own analysis and not for publication",
    )  # fmt: skip
    export.add_argument("--talks", action="store_true", help="the recordings as well")
    export.add_argument("--rows", action="store_true", help="the talks as training data as well")
    export.add_argument(
        "--min-overall", type=int, default=0, metavar="N",
        help="--rows: only of systems that the participant rated N or more overall (default: all talks)",
    )  # fmt: skip
    export.set_defaults(run=_export)


def _study(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("study", type=Path, metavar="PATH", help=f"the study's folder, or its {FILE}")


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Study, Database]]:
    from webapp.study.database import Database

    study = Study.read(path)
    database = Database(study.database_url)
    try:
        yield study, database
    finally:
        database.close()


def _export(a: argparse.Namespace) -> int:
    from webapp.study.export import Options, export

    formats = tuple(part.strip() for part in a.format.split(","))
    options = Options(a.audience, formats, a.talks, a.rows or a.min_overall > 0, a.min_overall)
    with _opened(a.study) as (study, database):
        done = export(study, database, a.out or study.folder / FOLDERS[a.audience], options)
    print(f"{done.folder}: {done.participants} participants, {done.talks} talks")
    if done.aligned:
        print(f"training data: {len(done.aligned.rows)} rows, {len(done.aligned.dialogues)} dialogues")
        for reason, count in done.aligned.left_out.items():
            print(f"left out, {reason}: {count}")
    if a.audience == "public" and not done.participants:
        print("Nobody agreed to publishing: --all exports everybody who consented, for your own analysis.")
    if a.audience == "all":
        print("Not for publication: participants are in it who did not agree to that.")
    return 0


def _push(a: argparse.Namespace) -> int:
    from webapp.study.push import push

    with _opened(a.study) as (study, database):
        folder = a.export or study.folder / FOLDERS["public"]
        done = push(study, database, folder, a.repo, a.dry_run)
    size = f"{done.files} files, {done.size_bytes / 1e6:.1f} MB"
    if done.url:
        print(f"{done.url}: {size}")
        return 0
    print(f"{folder} is in order: {size} would go to {a.repo}. Nothing was sent.")
    if a.dry_run:
        return 0
    print("There is no token: set HF_TOKEN to one with write access, from huggingface.co/settings/tokens.")
    return 1


def _list(a: argparse.Namespace) -> int:
    from webapp.study.roll import roll_of

    with _opened(a.study) as (study, database):
        print(roll_of(study, database).text())
    return 0


def _delete(a: argparse.Namespace) -> int:
    from webapp.study.erase import Erased, erase
    from webapp.study.mirror import copies_of
    from webapp.study.roll import exports_with

    with _opened(a.study) as (study, database):
        copies = copies_of(study)
        try:
            erased = erase(database, study.recordings, a.participant, copies)
        except BadInput:  # the database may have been lost, and the mirror not
            if not copies.there(a.participant):
                raise
            erased = Erased(a.participant, 0, 0, tuple(copies.delete(a.participant, [])))
        left = [*erased.left, *(f"{folder}: an export that has them" for folder in exports_with(study, a.participant))]
    mirrored = f" here, and what was in {copies.repo}" if copies.repo and not erased.left else ""
    print(f"{a.participant}: deleted {erased.rows} rows and {erased.files} files{mirrored}")
    for what in left:
        print(f"left: {what}")
    return 1 if left else 0
