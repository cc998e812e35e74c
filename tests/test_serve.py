import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from duplex_runtime.errors import DuplexError
from tests.web_fakes import PATIENCE, Client, save_tiny_model
from webapp.cli import main
from webapp.serve import bind

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """What `duplex serve` says as it gives up with status 2."""
    assert main(["serve", *map(str, arguments)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("duplex: ") and error.count("\n") == 1
    return error


def test_a_port_in_use_is_told_with_what_to_do(taken: int, capsys: pytest.CaptureFixture[str]) -> None:
    error = refused(capsys, "--port", taken)
    assert f"port {taken} is in use" in error
    assert f"--port {taken + 1}" in error


def test_two_servers_that_start_together_do_not_share_a_port() -> None:
    with bind("127.0.0.1", 0) as first, pytest.raises(DuplexError, match="in use"):
        bind("127.0.0.1", first.getsockname()[1]).close()


@pytest.mark.parametrize("port", [-1, 65536, 10**30])
def test_a_port_that_does_not_exist_is_told(port: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert str(port) in refused(capsys, "--port", port)


def test_an_address_that_is_not_of_this_machine_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert "cannot listen on 192.0.2.1" in refused(capsys, "--host", "192.0.2.1", "--port", 0)


def test_a_port_that_is_no_number_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["serve", "--port", "abc"])
    assert caught.value.code == 2
    assert "--port" in capsys.readouterr().err


def broken(folder: Path, how: str) -> Path:
    if how == "no such folder":
        return folder / "nowhere"
    save_tiny_model(folder)
    config, weights = folder / "duplex" / "config.json", folder / "duplex" / "model.safetensors"
    match how:
        case "empty folder":
            (folder / "empty").mkdir()
            return folder / "empty"
        case "empty config":
            config.write_text("")
        case "config of another kind":
            config.write_text('{"model_type": "nonsense"}')
        case "config is a list":
            config.write_text("[]")
        case "no weights":
            weights.unlink()
        case "truncated weights":
            weights.write_bytes(weights.read_bytes()[:1000])
        case "empty weights":
            weights.write_bytes(b"")
        case "junk for weights":
            weights.write_bytes(b"\xff" * 5000)
        case "no tokenizer":
            (folder / "tokenizer.json").unlink()
        case "broken tokenizer":
            (folder / "tokenizer.json").write_text("{}")
        case _:
            raise ValueError(how)
    return folder


@pytest.mark.parametrize(
    "how",
    ["no such folder", "empty folder", "empty config", "config of another kind", "config is a list", "no weights",
     "truncated weights", "empty weights", "junk for weights", "no tokenizer", "broken tokenizer"],
)  # fmt: skip
def test_a_model_that_does_not_load_is_told_with_its_folder(
    how: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = broken(tmp_path / "model", how)
    capsys.readouterr()
    error = refused(capsys, "--port", 0, "--model", folder, "--data", tmp_path / "data")
    assert str(folder) in error


def test_a_home_that_does_not_exist_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    refused(capsys, "--port", 0, "--model", "~nobody-of-that-name/model", "--data", tmp_path)


def test_a_data_folder_that_cannot_be_written_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("in the way")
    error = refused(capsys, "--port", 0, "--data", tmp_path / "file" / "data")
    assert "--data" in error


def test_the_server_says_where_it_is_and_ends_when_asked(tmp_path: Path) -> None:
    model = save_tiny_model(tmp_path / "model")
    command = [sys.executable, "-m", "webapp.cli", "serve", "--port", "0",
               "--model", str(model), "--data", str(tmp_path / "data")]  # fmt: skip
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | {"PORT": "7860"}
    ) as process:
        try:
            assert process.stdout and process.stderr
            said = ""
            while not (found := re.search(r"http://127\.0\.0\.1:(\d+)", said)):
                line = process.stdout.readline()
                assert line, process.stderr.read()
                said += line
            assert str(tmp_path / "data") in said
            transport = httpx.HTTPTransport(retries=8)  # it listens a moment later
            with httpx.Client(transport=transport, timeout=PATIENCE, trust_env=False) as http:
                assert http.get(found[0]).status_code == 200
            with Client(f"ws://127.0.0.1:{found[1]}/v1/realtime") as client:
                client.begin()
                client.type("hello.")
                client.until("duplex.slice", system="duplex")
                process.send_signal(signal.SIGINT)
                client.until_closed()
            _, error = process.communicate(timeout=PATIENCE)
            assert process.returncode in (0, 130, -signal.SIGINT)
            assert "Traceback" not in error
        finally:
            process.kill()
