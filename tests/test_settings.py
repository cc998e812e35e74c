from pathlib import Path

import pytest

from duplex_runtime.errors import BadInput
from webapp.settings import Settings, root_path_of

NAMES = ("DUPLEX_MODEL", "DUPLEX_DATA", "DUPLEX_HOST", "PORT")


@pytest.fixture(autouse=True)
def empty_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)


def test_without_an_environment_the_defaults_hold() -> None:
    assert Settings.from_environment() == Settings()


def test_by_default_only_this_machine_is_served() -> None:
    assert Settings().host == "127.0.0.1"


def test_the_environment_sets_model_data_host_and_port(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in zip(NAMES, ("/models/m", "/data", "0.0.0.0", "8080"), strict=True):
        monkeypatch.setenv(name, value)
    assert Settings.from_environment() == Settings(model="/models/m", data=Path("/data"), host="0.0.0.0", port=8080)


@pytest.mark.parametrize("port", ["abc", "", "80.5"])
def test_a_port_that_is_no_number_is_told_by_name(port: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", port)
    with pytest.raises(BadInput, match="PORT"):
        Settings.from_environment()


def test_on_a_space_its_own_page_may_connect(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)  # a Space without storage keeps its data where it was started
    monkeypatch.setenv("SPACE_ID", "ann/arena")
    monkeypatch.setenv("SPACE_HOST", "ann-arena.hf.space")
    monkeypatch.setenv("DUPLEX_ORIGINS", "https://a.example https://b.example")
    settings = Settings.from_environment()
    assert settings.origins == ("https://a.example", "https://b.example", "https://ann-arena.hf.space")
    assert settings.on_space


@pytest.mark.parametrize(("text", "path"), [("/arena", "/arena"), ("/a/b-c/", "/a/b-c"), ("/", ""), ("", "")])
def test_the_path_of_a_proxy_has_no_end(text: str, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DUPLEX_ROOT_PATH", text)
    assert Settings.from_environment().root_path == path


@pytest.mark.parametrize("text", ["arena", "https://example.org/arena", "/a b", "//", "/a?b", "/a\n"])
def test_what_is_no_path_is_told_by_name(text: str) -> None:
    with pytest.raises(BadInput, match="--root-path"):
        root_path_of("--root-path", text)
