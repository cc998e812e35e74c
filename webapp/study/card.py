"""The README of an export: a dataset card for the hub and for whoever opens the folder.

text = card_of(study, gathered, tables, options, aligned, mark)

It is made of the study's own file and counts; what only its authors know says FILL IN.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from webapp.study.aligned import LEAST_SLICES, LEAST_TURNS
from webapp.study.dictionary import TableShape, language_of
from webapp.study.frames import FATES
from webapp.study.texts import texts_of

if TYPE_CHECKING:
    from webapp.study.aligned import Aligned
    from webapp.study.definition import Study
    from webapp.study.export import Options
    from webapp.study.gather import Gathered

FILL_IN = "FILL IN"
_PREFERRED = ("parquet", "jsonl", "csv")
_SIZES = ((1000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"))


def card_of(
    study: Study,
    gathered: Gathered,
    tables: Sequence[TableShape],
    options: Options,
    aligned: Aligned | None,
    mark: Mapping[str, Any] | None,
) -> str:
    """The whole file. `aligned`: what became training data, if any was asked for; `mark`: of a simulated study."""
    parts = [
        _front(study, gathered, tables, options, aligned),
        f"# {study.title.of(language_of(study))}",
        *_warnings(options, mark),
        _what(study, gathered),
        _who(gathered),
        _how(study, gathered),
        _consent(study, gathered, options),
        _exclusions(study),
        _files(tables, options, aligned),
        _limits(study),
        _cite(study),
    ]
    return "\n\n".join(parts) + "\n"


def _front(
    study: Study, gathered: Gathered, tables: Sequence[TableShape], options: Options, aligned: Aligned | None
) -> str:
    """What the hub reads: YAML, in which every text is written as JSON, which is YAML as well."""
    kind = next(format_ for format_ in _PREFERRED if format_ in options.formats)
    # `datasets` does not load a table without rows
    configs = [(table.name, f"{kind}/{table.name}.{kind}") for table in tables if gathered.rows.get(table.name)]
    if aligned:
        configs += [(name, f"rows/{name}.jsonl") for name, rows in aligned.files().items() if rows]
    largest = max(len(rows) for rows in gathered.rows.values())
    size = next((words for limit, words in _SIZES if largest < limit), "100K<n<1M")
    lines = ["license: other", f"license_name: {FILL_IN.lower().replace(' ', '-')}-before-publishing", "language:"]
    lines += [f"- {language}" for language in dict.fromkeys((*study.speaks, *study.languages))]
    title = json.dumps(study.title.of(language_of(study)), ensure_ascii=False)
    lines += [f"pretty_name: {title}", "size_categories:", f"- {size}", "tags:"]
    lines += [f"- {tag}" for tag in ("user-study", "human-evaluation", "dialogue", "full-duplex")]
    lines += ["configs:"] if configs else []
    for name, path in configs:
        lines += [f"- config_name: {name}", f"  data_files: {path}"]
        lines += ["  default: true"] if name == "ratings" else []
    return "\n".join(["---", *lines, "---"])


def _warnings(options: Options, mark: Mapping[str, Any] | None) -> list[str]:
    found = []
    if mark:
        found.append("> **Simulated.** Nobody took part in this study: it was filled by `duplex study simulate`.")
    if options.audience == "all":
        found.append(
            "> **Not for publication.** This export holds data of participants who did not agree to publishing them. "
            "It is for the analysis by those whom the consent text names."
        )
    return found


def _what(study: Study, gathered: Gathered) -> str:
    systems = texts_of(study, language_of(study))
    lines = [
        "## What this is",
        f"Ratings of {len(study.systems)} dialogue systems by people who talked with each of them and did not know "
        f"which was which, with what they said about them and how the talks went. Model of all systems: "
        f"`{shown_model(study.model)}`.",
        "\n".join(f"- **{system}**: {systems[f'done.system.{system}']}" for system in study.systems),
        f"In this export: {len(gathered.participants)} participants, {len(gathered.rows['ratings'])} rated systems, "
        f"{len(gathered.rows['talks'])} talks.",
    ]
    return "\n\n".join(lines)


def shown_model(model: str) -> str:
    """A hub id as it is, of a folder only the last part."""
    return model if model.count("/") <= 1 and model[:1] not in "./~" else model.rstrip("/").rpartition("/")[2]


def _who(gathered: Gathered) -> str:
    flow = gathered.flow
    rows = [("opened the first page", flow["came"]), *((FATES[fate], flow[fate]) for fate in FATES)]
    table = ["| participants | n |", "|---|---|", *(f"| {words} | {count} |" for words, count in rows)]
    table.append(f"| **in this export** | **{flow['exported']}** |")
    began = sorted(row["began_at"][:10] for row in gathered.rows["participants"])
    when = f"They took part from {began[0]} to {began[-1]} (UTC)." if began else ""
    recruited = f"How they were recruited, and what they were paid: {FILL_IN}."
    return "\n\n".join(filter(None, ("## Who took part", "\n".join(table), f"{when} {recruited}".strip())))


def _how(study: Study, gathered: Gathered) -> str:
    tasks = study.tasks
    order = (
        "Odd-numbered participants began with the duplex system; labels were fixed (protocol of arXiv 2406.15718)."
        if study.protocol == "paper"
        else f"Orders were assigned by the server in balanced blocks of {study.block}; labels and sides were drawn for "
        f"each participant (seed {study.seed})."
    )
    ways = {"typing": "typed", "voice": "spoke", "either": "typed or spoke, as they chose"}
    checks = f" {study.ratings.attention} attention checks stood among them." if study.ratings.attention else ""
    scales = ", ".join(study.ratings.scales)
    lines = [
        "## How it was collected",
        f"With Duplex Arena, in a browser. Participants {ways[study.way]}. With each system they held {tasks.sessions} "
        f"talks of at least {tasks.min_seconds} s and {tasks.min_turns} turns, about topic cards (the same for all of "
        f"their systems). {order} No page showed names, timings or signs of silence before the end.",
        f"After the talks with a system they rated it from 1 to 7: {scales}.{checks} Questions, anchors and cards are "
        "in `dictionary.md`.",
    ]
    told = [words for asked, words in (
        (study.compare.preference, "which system they would rather talk with again"),
        (study.compare.guess, "which one they thought had listened while it spoke"),
    ) if asked]  # fmt: skip
    if told:
        lines.append(f"At the end they said {' and '.join(told)}.")
    parts = Counter(row["problem"] is None for row in gathered.rows["talks"])
    lines.append(
        f"Columns from `answer_s` on in `talks` are measured in the recordings: {parts[True]} talks could be read, "
        f"{parts[False]} could not."
    )
    return "\n\n".join(lines)


def _consent(study: Study, gathered: Gathered, options: Options) -> str:
    texts = texts_of(study, language_of(study))
    versions = sorted({row["consent_version"] for row in gathered.rows["participants"]})
    lines = [
        "## Consent",
        f"Everybody here agreed to take part (consent text version {', '.join(versions) or study.consent.version}).",
    ]
    if options.audience == "public":
        lines.append(f"Everybody here also ticked: “{texts['consent.publish']}”")
    else:
        agreed = sum(row["publish"] for row in gathered.rows["participants"])
        lines.append(f"{agreed} of {len(gathered.participants)} also agreed to publishing.")
    lines.append(
        "Ids are drawn at random. Not here, in no file: ids of recruitment services, tokens, what the page saw of "
        "devices, and anybody who withdrew. Sound is here only of those who agreed to that as well. Free texts and "
        f"talks are as people wrote them: read them before you publish. Ethics approval: {FILL_IN}."
    )
    return "\n\n".join(lines)


def _exclusions(study: Study) -> str:
    rules = study.exclude
    fixed = []
    if rules.attention_failed:
        fixed.append(f"{rules.attention_failed} or more failed attention checks")
    if rules.min_minutes:
        fixed.append(f"less than {rules.min_minutes} minutes from consent to the end")
    rule = f"Fixed before anybody came: {', '.join(fixed)}." if fixed else "No rule was fixed."
    return (
        f"## Exclusions\n\n{rule} Those who fall under a rule, and those who stopped, are in the tables; `fate` in "
        "`participants` says who is analysed. Those whom the researcher excluded by hand are in no public export."
    )


def _files(tables: Sequence[TableShape], options: Options, aligned: Aligned | None) -> str:
    lines = ["| table | one row |", "|---|---|"]
    lines += [f"| `{table.name}` | {table.row} |" for table in tables]
    parts = ["## Files", f"Every table is here as {', '.join(options.formats)}.", "\n".join(lines)]
    if options.talks:
        parts.append(
            "`talks/` has the recordings, named by participant, position, session and part: every event with its time, "
            "one JSON object a line; `duplex replay` plays them again. `.wav` is the participant's voice."
        )
    if aligned:
        parts.append(_rows(aligned, options))
    parts.append(
        "`dictionary.md` (also `.json`, `.csv`) explains every column. `checksums.sha256` is checked by "
        "`sha256sum -c checksums.sha256`. `export.json` says what was exported."
    )
    return "\n\n".join(parts)


def _rows(aligned: Aligned, options: Options) -> str:
    left = "; ".join(f"{reason}: {count}" for reason, count in aligned.left_out.items()) or "none"
    bound = f"rated at least {options.min_overall} overall" if options.min_overall else "with any rating"
    return (
        f"`rows/rows.jsonl` has {len(aligned.rows)} talks with the system that listens while it speaks, in the schema "
        f"of Duplex-UltraChat: what was said, and what was said back and heard, slice by slice. `rows/dialogues.jsonl` "
        f"has {len(aligned.dialogues)} talks with the other systems, as messages. `duplex data build --source` reads "
        f"both. Only talks {bound} whose recording is whole, with the person's words in {LEAST_SLICES} slices or more "
        f"and an answer, or with {LEAST_TURNS} or more answered turns; left out: {left}. They are what people and "
        "models said: models are wrong at times."
    )


def _limits(study: Study) -> str:
    model = " It is a small model with a narrow field of knowledge." if study.model == "embedded" else ""
    return (
        f"## Limits\n\nRatings are of these systems with this model, these topics and these people.{model} Times of "
        "answers depend on the server and, but for what the recording's clock says, on the participant's connection. "
        "What a participant meant by a sound or a word (a backchannel, a stop) is told from the words alone. "
        f"{FILL_IN}: what else should be known before these data are used."
    )


def _cite(study: Study) -> str:
    return (
        f"## How to cite\n\n{FILL_IN}: authors, title, year, address. Contact: {study.consent.contact}\n\n"
        f"License: {FILL_IN} before publishing (also in the first lines of this file)."
    )
