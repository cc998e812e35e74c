from pathlib import Path

import pytest

from duplex_runtime.errors import BadInput
from webapp.settings import Settings

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
