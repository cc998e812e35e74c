import inspect
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError

from duplex_runtime.errors import DuplexError
from tests.study_files import study_file
from webapp import deploy
from webapp.cli import main, parser
from webapp.deploy import NAMES, PACKAGES, ROOT, Plan, build, plan_of, upload

TOKEN = "a-token-that-nobody-can-guess"


class FakeHub:
    """HfApi as far as it is used: notes every call, with the method's own signature checked."""

    def __init__(self, fails: str = "", error: Exception | None = None) -> None:
        self.calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []
        self._fails, self._error = fails, error

    def __getattr__(self, name: str) -> Callable[..., None]:
        signature = inspect.signature(getattr(HfApi, name))

        def call(*args: Any, **options: Any) -> None:
            signature.bind(self, *args, **options)
            self.calls.append((name, args, options))
            if name == self._fails and self._error:
                raise self._error

        return call

    def named(self, name: str) -> list[tuple[tuple[Any, ...], dict[str, Any]]]:
        return [(args, options) for called, args, options in self.calls if called == name]


@pytest.fixture(autouse=True)
def nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No token and none of our settings; a project of a few files, so that building takes no time."""
    for name in (*deploy.VARIABLES, *deploy.SECRETS, "HF_TOKEN", "DUPLEX_STUDY_TOKEN", "PGPASSWORD"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(deploy, "has_token", lambda: False)
    root = tmp_path / "project"
    shutil.copytree(ROOT / "spaces", root / "spaces")
    for package in PACKAGES:
        (root / package / "inner" / "__pycache__").mkdir(parents=True)
        (root / package / "inner" / "module.py").write_text("'of the package'")
        (root / package / "inner" / "__pycache__" / "module.cpython-311.pyc").write_bytes(b"compiled")
    (root / "LICENSE").write_text("Apache")
    monkeypatch.setattr(deploy, "ROOT", root)


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A study that is fit for people, some of whom have taken part."""
    folder = tmp_path / "my-study"
    study_file(folder)
    (folder / "texts").mkdir()
    (folder / "texts" / "en.toml").write_text("")
    (folder / "texts" / "notes.txt").write_text("not of the study")
    (folder / "study.db").touch()
    (folder / "recordings").mkdir()
    (folder / "recordings" / "talk.jsonl").write_text("what somebody said")
    (folder / ".env").write_text("PGPASSWORD=secret")
    monkeypatch.setenv("DUPLEX_STUDY_TOKEN", TOKEN)
    return folder


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


# — the folder —


@pytest.mark.parametrize("name", NAMES)
def test_a_folder_has_the_space_and_the_packages_and_nothing_compiled(name: str, tmp_path: Path) -> None:
    found = files(build(name, tmp_path / "out"))
    assert {"README.md", "app.py", "requirements.txt", "LICENSE"} <= found
    assert {f"{package}/inner/module.py" for package in PACKAGES} <= found
    assert not [path for path in found if "__pycache__" in path]


def test_a_folder_is_built_anew(tmp_path: Path) -> None:
    out = tmp_path / "out"
    (out / "webapp").mkdir(parents=True)
    (out / "webapp" / "old.py").write_text("removed long ago")
    build("cpu", out)
    assert "webapp/old.py" not in files(out)


def test_of_a_study_only_what_its_author_wrote_is_taken(study: Path, tmp_path: Path) -> None:
    found = files(build("study", tmp_path / "out", study))
    assert {path for path in found if path.startswith("study/")} == {"study/study.toml", "study/texts/en.toml"}


def test_a_study_may_be_named_by_its_file(study: Path, tmp_path: Path) -> None:
    assert "study/study.toml" in files(build("study", tmp_path / "out", study / "study.toml"))


def test_without_a_checkout_it_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deploy, "ROOT", tmp_path / "site-packages")
    with pytest.raises(DuplexError, match="checkout"):
        build("cpu", tmp_path / "out")


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DuplexError, match="cannot be written"):
        build("cpu", tmp_path / "file" / "out")


# — what is set beside it —


def test_settings_of_the_environment_become_variables_and_tokens_become_secrets(tmp_path: Path) -> None:
    environment = {
        "DUPLEX_MODEL": "ann/model", "DUPLEX_METRICS_TOKEN": "m" * 20, "HF_TOKEN": "h" * 20, "DUPLEX_LOG": "",
    }  # fmt: skip
    plan = plan_of("cpu", "ann/arena", None, environment, tmp_path)
    assert plan.variables == {"DUPLEX_MODEL": "ann/model"}
    assert plan.secrets == {"DUPLEX_METRICS_TOKEN": "m" * 20}, "the token of whoever deploys stays here"
    assert "m" * 20 not in plan.described() + repr(plan)


def test_a_study_brings_the_token_of_its_results(study: Path, tmp_path: Path) -> None:
    plan = plan_of("study", "ann/my-study", study, {"DUPLEX_STUDY_TOKEN": TOKEN, "PGPASSWORD": "p"}, tmp_path / "out")
    assert plan.secrets == {"DUPLEX_STUDY_TOKEN": TOKEN}, "no password where there is no PostgreSQL"


def test_a_study_that_is_not_ready_is_not_uploaded(study: Path, tmp_path: Path) -> None:
    with pytest.raises(DuplexError, match="DUPLEX_STUDY_TOKEN"):
        plan_of("study", "ann/my-study", study, {}, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_model_that_is_only_here_is_refused(study: Path, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    with pytest.raises(DuplexError, match="which the Space does not have"):
        plan_of("cpu", "ann/arena", None, {"DUPLEX_MODEL": str(tmp_path / "model")}, tmp_path / "out")
    text = (study / "study.toml").read_text()
    (study / "study.toml").write_text(text.replace('model = "embedded"', f'model = "{tmp_path / "model"}"'))
    with pytest.raises(DuplexError, match="which the Space does not have"):
        plan_of("study", "ann/my-study", study, {"DUPLEX_STUDY_TOKEN": TOKEN}, tmp_path / "out")


# — the upload —


def plan(tmp_path: Path, **values: Any) -> Plan:
    folder = build("cpu", tmp_path / "out")
    return Plan(**{"name": "cpu", "space": "ann/arena", "folder": folder, "variables": {}, "secrets": {}} | values)


def test_the_space_is_made_and_set_before_the_files_come(tmp_path: Path) -> None:
    hub = FakeHub()
    upload(plan(tmp_path, variables={"DUPLEX_LOG": "json"}, secrets={"S": "x"}), hub)
    assert [name for name, _, _ in hub.calls] == [
        "create_repo", "add_space_secret", "add_space_variable", "upload_folder"
    ]  # fmt: skip
    made = {"repo_type": "space", "space_sdk": "gradio", "exist_ok": True}
    assert hub.named("create_repo") == [(("ann/arena",), made)]
    assert hub.named("add_space_secret") == [(("ann/arena", "S", "x"), {})]
    assert hub.named("add_space_variable") == [(("ann/arena", "DUPLEX_LOG", "json"), {})]
    [(_, options)] = hub.named("upload_folder")
    assert (options["repo_id"], options["repo_type"]) == ("ann/arena", "space")
    assert (Path(options["folder_path"]) / "app.py").is_file()
    assert options["delete_patterns"] == ["duplex_runtime/*", "webapp/*", "static/*"]


def answer(status: int) -> HfHubHTTPError:
    request = httpx.Request("POST", "https://huggingface.co/api/repos/create")
    return HfHubHTTPError("no", response=httpx.Response(status, request=request))


@pytest.mark.parametrize(
    ("error", "said"),
    [(answer(401), "not valid"), (answer(403), "write access"), (httpx.ConnectError("no route"), "check the network")],
)
def test_what_goes_wrong_at_the_hub_is_told_in_words(error: Exception, said: str, tmp_path: Path) -> None:
    hub = FakeHub("create_repo", error)
    with pytest.raises(DuplexError, match=said) as caught:
        upload(plan(tmp_path), hub)
    assert "ann/arena" in str(caught.value)
    assert not hub.named("upload_folder")


# — the command —


def test_a_dry_run_lists_and_says_where_tokens_come_from(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(deploy, "api_of", lambda: pytest.fail("a dry run reaches for nobody"))
    monkeypatch.setattr(deploy, "has_token", lambda: True)
    assert main(["deploy", "cpu", "--space", "ann/arena", "--dry-run"]) == 0
    said = capsys.readouterr().out
    for part in ("app.py", "requirements.txt", "webapp/", "MB", "https://huggingface.co/settings/tokens"):
        assert part in said


def test_without_a_token_it_builds_and_says_where_to_get_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["deploy", "gpu", "--space", "ann/arena"]) == 2
    captured = capsys.readouterr()
    assert "app.py" in captured.out
    assert "nothing was uploaded" in captured.err and "https://huggingface.co/settings/tokens" in captured.err


def test_with_a_token_it_uploads_and_says_where_the_space_is(
    study: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    hub = FakeHub()
    monkeypatch.setattr(deploy, "has_token", lambda: True)
    monkeypatch.setattr(deploy, "api_of", lambda: hub)
    assert main(["deploy", "study", "--space", "ann/my-study", "--study", str(study)]) == 0
    assert hub.named("add_space_secret") == [(("ann/my-study", "DUPLEX_STUDY_TOKEN", TOKEN), {})]
    said = capsys.readouterr().out
    assert "https://huggingface.co/spaces/ann/my-study" in said
    assert TOKEN not in said


@pytest.mark.parametrize(
    "arguments",
    [("cpu", "--space", "arena"), ("cpu", "--space", "https://huggingface.co/spaces/a/b"), ("study", "--space", "a/b"),
     ("cpu", "--space", "a/b", "--study", "x")],
    ids=lambda arguments: " ".join(arguments),
)  # fmt: skip
def test_what_makes_no_sense_is_refused_before_anything_is_built(
    arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["deploy", *arguments]) == 2
    assert capsys.readouterr().err.startswith("duplex: ")
    assert not (deploy.ROOT / "build").exists()


def test_the_command_knows_every_space() -> None:
    assert {path.name for path in (ROOT / "spaces").iterdir() if path.is_dir()} == set(NAMES)
    for name in NAMES:
        assert parser().parse_args(["deploy", name, "--space", "a/b"]).name == name
