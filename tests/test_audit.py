"""scripts/audit.sh, with a pip-audit and an npm that only say what is put into their mouths."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
CLEAN = {"dependencies": [{"name": "six", "version": "1.17.0", "vulns": []}]}
BAD = {
    "dependencies": [
        {"name": "six", "version": "1.17.0", "vulns": []},
        {"name": "gradio", "version": "1.0", "vulns": [{"id": "PYSEC-2023-1", "fix_versions": ["1.1"]}]},
    ]
}
UNKNOWN = {"dependencies": [{"name": "six", "skip_reason": "not found"}]}
NPM_CLEAN = {"vulnerabilities": {}, "metadata": {"vulnerabilities": {"total": 0}}}
NPM_BAD = {"vulnerabilities": {"typescript": {"severity": "high"}}, "metadata": {"vulnerabilities": {"total": 1}}}
NPM_AWAY = {"message": "request failed, getaddrinfo ENOTFOUND", "error": {"summary": "", "detail": ""}}
AWAY = "requests.exceptions.ProxyError: HTTPSConnectionPool(host='example.com', port=443): Max retries exceeded"


class Checkout:
    """A folder with audit.sh; what both programs say is in files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "scripts").mkdir()
        shutil.copy(ROOT / "scripts" / "audit.sh", folder / "scripts")
        (folder / "constraints.txt").write_text("six==1.17.0\n")
        (folder / ".venv" / "bin").mkdir(parents=True)
        (folder / ".venv" / "bin" / "python").symlink_to(sys.executable)
        self._program(folder / ".venv" / "bin" / "pip-audit", "pip")
        (folder / "path").mkdir()
        self._program(folder / "path" / "npm", "npm")

    def _program(self, path: Path, name: str) -> None:
        path.write_text(
            f'#!/bin/sh\necho "$@" > "{self.folder}/{name}.asked"\ncat "{self.folder}/{name}.says"\n'
            f'cat "{self.folder}/{name}.fails" >&2\nexit 1\n'
        )
        path.chmod(0o755)

    def audit(
        self, pip: Any = CLEAN, npm: Any = NPM_CLEAN, pip_error: str = "", path: str = ""
    ) -> subprocess.CompletedProcess[str]:
        for name, says, fails in (("pip", pip, pip_error), ("npm", npm, "")):
            (self.folder / f"{name}.says").write_text(json.dumps(says) if says else "")
            (self.folder / f"{name}.fails").write_text(fails)
        search = path or f"{self.folder / 'path'}{os.pathsep}{os.environ['PATH']}"
        return subprocess.run(
            ["/bin/sh", "scripts/audit.sh"],
            cwd=self.folder, env={"PATH": search}, capture_output=True, text=True, timeout=60,
        )  # fmt: skip


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


def test_nothing_known_is_said_with_how_much_was_looked_up(checkout: Checkout) -> None:
    done = checkout.audit()
    assert done.returncode == 0, done.stderr
    assert "1 of 1 Python packages looked up" in done.stdout
    assert "JavaScript packages looked up, 0 known vulnerabilities" in done.stdout
    assert "-r constraints.txt" in (checkout.folder / "pip.asked").read_text()


def test_a_known_vulnerability_fails_and_is_named(checkout: Checkout) -> None:
    done = checkout.audit(pip=BAD)
    assert done.returncode == 1
    assert "gradio 1.0: PYSEC-2023-1, fixed in 1.1" in done.stderr
    assert "six" not in done.stderr


def test_one_in_javascript_fails_as_well(checkout: Checkout) -> None:
    done = checkout.audit(npm=NPM_BAD)
    assert done.returncode == 1
    assert "typescript: high" in done.stderr


def test_without_the_services_it_says_so_and_goes_on(checkout: Checkout) -> None:
    done = checkout.audit(pip=None, pip_error=AWAY, npm=NPM_AWAY)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("cannot be reached; nothing was looked at") == 2


def test_a_service_that_knows_nothing_is_no_clean_bill(checkout: Checkout) -> None:
    done = checkout.audit(pip=UNKNOWN)
    assert done.returncode == 0
    assert "knows none of the Python packages; nothing was looked at" in done.stdout


def test_an_audit_that_breaks_for_another_reason_fails(checkout: Checkout) -> None:
    done = checkout.audit(pip=None, pip_error="ERROR: constraints.txt: not pinned")
    assert done.returncode == 1
    assert "not pinned" in done.stderr


def test_without_npm_the_python_packages_are_still_looked_at(checkout: Checkout, tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("sh", "mktemp", "rm", "grep", "tail", "dirname", "cat"):
        (tools / name).symlink_to(shutil.which(name) or name)
    done = checkout.audit(path=str(tools))
    assert done.returncode == 0, done.stderr
    assert "npm was not found" in done.stdout
    assert "1 of 1 Python packages looked up" in done.stdout


def test_make_check_runs_it() -> None:
    check = (ROOT / "Makefile").read_text(encoding="utf-8").partition("\ncheck: dev\n")[2].partition("\n\n")[0]
    assert "sh scripts/audit.sh" in check
