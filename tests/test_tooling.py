"""Makefile, scripts and pins: a fresh clone sets itself up, once for each change of the pins."""

import os
import re
import shutil
import socket
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


def repository_files() -> list[Path]:
    """Tracked files and those that a commit would add."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    paths = (ROOT / os.fsdecode(name) for name in listed.stdout.split(b"\0") if name)
    return [path for path in paths if path.is_file()]


# --- pins ---


@pytest.mark.parametrize("group", ["base", *PROJECT["optional-dependencies"]])
def test_every_dependency_is_pinned_to_a_version_that_it_allows(group: str) -> None:
    groups = PROJECT["optional-dependencies"] | {"base": PROJECT["dependencies"]}
    pinned = pins()
    for requirement in map(Requirement, groups[group]):
        if requirement.name == PROJECT["name"]:  # other groups of this project
            assert requirement.extras <= groups.keys()
            continue
        assert requirement.name in pinned, f"{requirement.name} has no line in constraints.txt"
        assert pinned[requirement.name] in requirement.specifier, f"{requirement} is pinned outside"


def test_constraints_are_plain_pins() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    names = []
    for line in lines:
        if not line.startswith("#"):
            assert re.fullmatch(r"[a-z0-9.-]+==[0-9][0-9a-z.]*", line), line
            names.append(line.split("==")[0])
    assert names == sorted(set(names))


def test_no_file_names_the_host_of_a_package_registry() -> None:
    hosts = [
        ".".join(parts).encode()
        for parts in (
            ("pypi", "org"),
            ("pypi", "python", "org"),
            ("pythonhosted", "org"),
            ("npmjs", "org"),
            ("yarnpkg", "com"),
            ("deb", "debian", "org"),
            ("download", "pytorch", "org"),
        )
    ]
    found = [
        f"{path.relative_to(ROOT)} names {host.decode()}"
        for path in repository_files()
        for host in hosts
        if host in path.read_bytes()
    ]
    assert not found, "\n".join(found)


# --- Makefile ---


def make_targets() -> set[str]:
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    return {name for line in re.findall(r"^([a-z ]+):(?!=)", text, re.M) for name in line.split()}


def test_make_has_its_four_targets_and_help_names_them() -> None:
    wanted = {"demo", "test", "check", "bench"}
    assert wanted <= make_targets()
    shown = subprocess.run(["make", "-s"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert wanted <= set(re.findall(r"^make ([a-z]+)", shown.stdout, re.M))


def test_make_targets_named_in_documents_exist() -> None:
    for path in repository_files():
        if path.suffix != ".md":
            continue
        text = path.read_text(encoding="utf-8")
        code = "\n".join(re.findall(r"```.*?```|`[^`\n]+`", text, re.S))
        named = set(re.findall(r"(?:^|[`$;&] ?)make ([a-z]+)", code, re.M))
        assert named <= make_targets(), f"{path.name} names {named - make_targets()}"


# --- scripts/setup.sh, with a Python that only pretends ---

FAKE_PYTHON = """#!/bin/sh
echo "$*" | head -n 1 >> "$CALLS"
case "$*" in
    "-m venv --clear .venv") mkdir -p .venv/bin; cp "$0" .venv/bin/python ;;
    "-m pip install"*) exit "${PIP_STATUS:-0}" ;;
    "-m pip --version" | --version) echo fake ;;
    *) echo "${KIND:-ok}" ;;
esac
"""


class FakeCheckout:
    """A folder with setup.sh and a Python that notes how it is called and installs nothing."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.calls = folder / "calls"
        self.python = folder / "fake-python"
        self.python.write_text(FAKE_PYTHON)
        self.python.chmod(0o755)
        (folder / "scripts").mkdir()
        shutil.copy(ROOT / "scripts" / "setup.sh", folder / "scripts")
        for name in ("pyproject.toml", "constraints.txt"):
            shutil.copy(ROOT / name, folder)

    def set_up(self, level: str, **environment: str) -> subprocess.CompletedProcess[str]:
        self.calls.write_text("")
        keep = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        return subprocess.run(
            ["sh", "scripts/setup.sh", level],
            cwd=self.folder,
            env=keep | {"PYTHON": str(self.python), "CALLS": str(self.calls)} | environment,
            capture_output=True,
            text=True,
        )

    def installed(self) -> list[str]:
        return [line.split()[-1] for line in self.calls.read_text().splitlines() if "-e" in line]


@pytest.fixture
def checkout(tmp_path: Path) -> FakeCheckout:
    return FakeCheckout(tmp_path)


def test_set_up_installs_once_and_again_when_the_pins_change(checkout: FakeCheckout) -> None:
    assert checkout.set_up("base").returncode == 0
    assert checkout.installed() == [".[bench,voice]"]
    assert checkout.set_up("base").returncode == 0
    assert checkout.calls.read_text() == ""

    with (checkout.folder / "constraints.txt").open("a") as constraints:
        constraints.write("zzz==1.0\n")
    checkout.set_up("base")
    assert checkout.installed() == [".[bench,voice]"]


def test_the_tests_environment_serves_the_demo_too(checkout: FakeCheckout) -> None:
    checkout.set_up("dev")
    assert checkout.installed() == [".[dev]"]
    checkout.set_up("base")
    assert checkout.installed() == []


def test_a_failed_install_is_taken_up_again(checkout: FakeCheckout) -> None:
    assert checkout.set_up("base", PIP_STATUS="1").returncode == 1
    assert checkout.set_up("base").returncode == 0
    assert checkout.installed() == [".[bench,voice]"]

    checkout.set_up("dev", PIP_STATUS="1")  # may have changed packages of the base
    checkout.set_up("base")
    assert checkout.installed() == [".[bench,voice]"]


@pytest.mark.parametrize(("kind", "message"), [("old", "Python 3.11 or newer"), ("no-venv", "apt-get install python")])
def test_set_up_says_what_is_missing(checkout: FakeCheckout, kind: str, message: str) -> None:
    done = checkout.set_up("base", KIND=kind)
    assert done.returncode != 0
    assert message in done.stderr
    assert not (checkout.folder / ".venv").exists()


# --- scripts/chromium.sh ---


@pytest.mark.parametrize("status", [0, 1])
def test_a_named_browser_is_taken_when_it_runs(tmp_path: Path, status: int) -> None:
    browser = tmp_path / "a browser"
    browser.write_text(f"#!/bin/sh\nexit {status}\n")
    browser.chmod(0o755)
    done = subprocess.run(
        ["sh", "scripts/chromium.sh"],
        cwd=ROOT,
        env=os.environ | {"DUPLEX_CHROMIUM": str(browser)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == status
    assert done.stdout.strip() == (str(browser) if status == 0 else "")


# --- conftest.py ---


def test_tests_reach_only_this_machine() -> None:
    with pytest.raises(RuntimeError, match=r"reached for 'example\.com'"):
        socket.create_connection(("example.com", 80), timeout=1)
    with socket.socket() as outside, pytest.raises(RuntimeError, match=r"'192\.0\.2\.1'"):
        outside.connect_ex(("192.0.2.1", 80))
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(server.getsockname(), timeout=1).close()
