"""The folders of spaces/: front matter that Hugging Face takes, pins that are ours, programs that are short."""

import re
import tomllib
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from webapp.deploy import NAMES, ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
GROUPS = {"cpu": ("voice",), "gpu": ("voice",), "study": ("bench", "study", "voice")}
#: As on a Space: for the markers of requirements.
MACHINE = {
    "python_version": "3.11", "python_full_version": "3.11.9", "sys_platform": "linux", "platform_system": "Linux",
    "platform_machine": "x86_64", "os_name": "posix", "implementation_name": "cpython",
    "platform_python_implementation": "CPython",
}  # fmt: skip
#: Flavours that may be suggested, huggingface.co/docs/hub/spaces-config-reference.
HARDWARE = {"cpu-basic", "cpu-upgrade", "t4-small", "t4-medium", "l4x1", "l4x4", "a10g-small", "a10g-large"}


def pins(file: Path) -> dict[str, str]:
    lines = file.read_text(encoding="utf-8").splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


def front_matter(name: str) -> dict[str, Any]:
    text = (ROOT / "spaces" / name / "README.md").read_text(encoding="utf-8")
    value = yaml.safe_load(text.split("---\n")[1])
    assert isinstance(value, dict)
    return value


def needed(name: str) -> set[str]:
    """Every package that the server needs on a Space, direct or not, by what the installed ones say.

    Without those that have no pin of ours: the default build of PyTorch brings NVIDIA's, and pins them itself.
    """
    extras = PROJECT["optional-dependencies"]
    waiting = [Requirement(r) for r in (*PROJECT["dependencies"], *(r for g in GROUPS[name] for r in extras[g]))]
    seen: dict[str, set[str]] = {}
    while waiting:
        requirement = waiting.pop()
        package = canonicalize_name(requirement.name)
        if package in seen and requirement.extras <= seen[package]:
            continue
        seen.setdefault(package, set()).update(requirement.extras)
        inners: list[Requirement] = []
        with suppress(PackageNotFoundError):  # it is needed on a Space and not on this machine
            inners = [Requirement(inner) for inner in requires(package) or ()]
        for inner in inners:
            wanted = (MACHINE | {"extra": extra} for extra in ("", *seen[package]))
            if inner.marker is None or any(map(inner.marker.evaluate, wanted)):
                waiting.append(inner)
    return seen.keys() & pins(ROOT / "constraints.txt").keys()


def limits_of_a_space() -> list[Requirement]:
    """What a Space installs with its requirements: Gradio with these two extras."""
    wanted = [Requirement(r) for r in requires("gradio") or ()]
    return [r for r in wanted if r.marker and any(r.marker.evaluate(MACHINE | {"extra": e}) for e in ("mcp", "oauth"))]


@pytest.mark.parametrize("name", NAMES)
def test_the_front_matter_says_what_a_space_needs(name: str) -> None:
    about = front_matter(name)
    assert (about["sdk"], about["app_file"], about["license"]) == ("gradio", "app.py", "apache-2.0")
    assert about["sdk_version"] == pins(ROOT / "constraints.txt")["gradio"]
    assert about["python_version"] == "3.11" and isinstance(about["python_version"], str)
    assert about["suggested_hardware"] in HARDWARE
    assert about["header"] in ("mini", "default")
    assert 0 < len(about["short_description"]) <= 60, "longer ones are refused"


def test_the_gpu_space_preloads_the_model_that_it_starts_with() -> None:
    [model] = front_matter("gpu")["preload_from_hub"]
    assert f'MODEL = "{model}"' in (ROOT / "spaces" / "gpu" / "app.py").read_text(encoding="utf-8")
    assert front_matter("gpu")["models"] == [model]


def test_the_study_space_does_not_say_what_is_compared() -> None:
    about = (ROOT / "spaces" / "study" / "README.md").read_text(encoding="utf-8")
    assert not re.search(r"duplex|listens|turn", str(front_matter("study")), re.IGNORECASE)
    assert "models" not in front_matter("study")
    assert "listens" not in about


@pytest.mark.parametrize("name", NAMES)
def test_requirements_are_all_that_is_needed_in_our_versions(name: str) -> None:
    ours, file = pins(ROOT / "constraints.txt"), ROOT / "spaces" / name / "requirements.txt"
    # a Space installs an older pydantic: see the comment in the file
    wanted = [f"{package}=={ours[package]}" for package in sorted(needed(name) - {"pydantic", "pydantic-core"})]
    lines = [line for line in file.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    assert lines == wanted, "the lines should be\n" + "\n".join(wanted)


@pytest.mark.parametrize("name", NAMES)
def test_no_pin_contradicts_what_a_space_installs_beside_it(name: str) -> None:
    own = pins(ROOT / "spaces" / name / "requirements.txt")
    assert {limit.name for limit in limits_of_a_space()} >= {"mcp", "pydantic"}
    for limit in limits_of_a_space():
        assert limit.name not in own or own[limit.name] in limit.specifier, limit


@pytest.mark.parametrize("name", NAMES)
def test_the_program_of_a_space_is_short(name: str) -> None:
    text = (ROOT / "spaces" / name / "app.py").read_text(encoding="utf-8")
    assert len(text.splitlines()) < 20
    compile(text, "app.py", "exec")


def test_the_container_runs_as_nobody_in_particular() -> None:
    text = (ROOT / "Containerfile").read_text(encoding="utf-8")
    steps = [line.split(maxsplit=1) for line in re.sub(r"\\\n", " ", text).splitlines() if line and line[0] != "#"]
    said = {word: value for word, value in steps}
    known = {"FROM", "ARG", "ENV", "WORKDIR", "COPY", "RUN", "USER", "EXPOSE", "VOLUME", "HEALTHCHECK", "CMD"}
    assert set(said) <= known
    assert said["USER"] == "1000" and said["EXPOSE"] == "7860"
    assert "/healthz" in said["HEALTHCHECK"]
    assert said["CMD"] == '["duplex", "serve"]'
    copied = {name for word, value in steps if word == "COPY" for name in value.split()[:-1] if name[:2] != "--"}
    assert copied and all((ROOT / name).exists() for name in copied)
