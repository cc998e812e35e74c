"""The README is true where a machine can tell."""

from __future__ import annotations

import argparse
import json
import re
import shlex
from pathlib import Path
from textwrap import dedent

import pytest

from duplex_runtime.alignment.corpus import load
from duplex_runtime.evaluation.acts import KINDS
from duplex_runtime.evaluation.conduct import SYSTEMS
from duplex_runtime.evaluation.interaction import NAMES
from duplex_runtime.evaluation.scenarios import library, parse_scenario
from duplex_runtime.evaluation.script import read_script
from webapp.cli import parser

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
MEASURING = (ROOT / "docs/measuring.md").read_text(encoding="utf-8")
DOCUMENTS = [ROOT / "README.md", ROOT / "duplex_runtime/models/embedded/README.md", *sorted(ROOT.glob("docs/*.md"))]
TEXT = "\n".join(path.read_text(encoding="utf-8") for path in DOCUMENTS)
#: Options in the text that are those of inference servers.
OTHER_PROGRAMS = {"--enable-streaming-session"}


def blocks(language: str) -> list[str]:
    return [dedent(block) for block in re.findall(rf"^ *```{language}\n(.*?)```", TEXT, re.DOTALL | re.MULTILINE)]


def commands() -> list[str]:
    lines = [line.split("#")[0].strip() for block in blocks("sh") for line in block.splitlines()]
    return [line for line in lines if line.startswith(".venv/bin/duplex")]


@pytest.mark.parametrize("command", commands())
def test_every_command_is_one_that_the_command_line_takes(command: str) -> None:
    parser().parse_args(shlex.split(command)[1:])


def test_there_are_commands_to_test() -> None:
    assert len(commands()) >= 8


def options(top: argparse.ArgumentParser) -> set[str]:
    """All options of a command line, with those of its commands and of theirs."""
    found = set(top._option_string_actions)
    for action in top._actions:
        if isinstance(action, argparse._SubParsersAction):
            found |= {option for sub in action.choices.values() for option in options(sub)}
    return found


def test_options_named_in_the_text_exist() -> None:
    named = {
        option
        for code in re.findall(r"`(duplex [^`]*|--[^`]*)`", TEXT)
        for option in re.findall(r"(?<![\w-])--[a-z][a-z-]+", code)
    }
    assert len(named) > 10
    assert not named - options(parser()) - OTHER_PROGRAMS


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_link_inside_the_repository_leads_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", document.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            assert (document.parent / target).exists(), target


def test_the_example_script_is_a_script() -> None:
    script = next(block for block in blocks("json") if block.startswith('{"at"'))
    assert len(read_script(script.splitlines())) == len(script.splitlines())


def test_the_example_output_has_the_fields_that_the_table_explains() -> None:
    line = json.loads(next(block for block in blocks("json") if '"slice"' in block))
    table = README[README.index("| `opened_at`, `at` |") : README.index("Between them stand")]
    explained = set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\|([^|]*)\|", table, re.MULTILINE))))
    assert explained <= set(line)


def test_the_size_of_the_corpus_is_as_said() -> None:
    corpus = load()
    assert f"{len(corpus.facts)} facts" in README
    assert f"of {len(corpus.topics)} topics" in README.replace("\n", " ")
    assert f"{len(corpus.howtos)} how-tos" in README


def test_no_figure_was_left_out() -> None:
    for document in DOCUMENTS:
        assert "@" not in re.sub(r"`[^`]*`", "", document.read_text(encoding="utf-8"))


def test_the_example_scenario_is_a_scenario() -> None:
    example = MEASURING[MEASURING.index("# The person breaks") :].split("```")[0]
    assert [step.kind for step in parse_scenario("example.txt", example.splitlines()).steps][-1] == "silence"
    scenarios = library()
    assert f"The library has {len(scenarios)} of them" in MEASURING
    assert all(situation in MEASURING for situation in {s.situation for s in scenarios})


def test_the_guide_explains_everything_that_a_scenario_may_say() -> None:
    assert all(f"| `{kind}` |" in MEASURING for kind in KINDS)
    assert all(f"`{name}`" in MEASURING for name in (*SYSTEMS, *NAMES))
