"""What holds for every test: nothing from outside this machine, no GPU unless there is one."""

import os

# Before any test imports a library that reads them.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import ipaddress
import shutil
import socket
from collections.abc import Iterator
from typing import Any

import pytest


class NetworkBlocked(RuntimeError):
    """A test reached for another machine. Not an OSError, which libraries catch and try again."""


def _is_loopback(host: Any) -> bool:
    if isinstance(host, bytes):
        host = host.decode()
    if host in (None, "", "localhost", "testserver", socket.gethostname()):
        return True
    try:
        return ipaddress.ip_address(host.split("%")[0]).is_loopback
    except ValueError:
        return False


@pytest.fixture(scope="session", autouse=True)
def no_network() -> Iterator[None]:
    """Connections and name look-ups reach this machine only."""

    def require_loopback(host: Any) -> None:
        if not _is_loopback(host):
            raise NetworkBlocked(f"tests stay on this machine, but this one reached for {host!r}")

    def guarded_connect(method: Any) -> Any:
        def connect(self: socket.socket, address: Any) -> Any:
            if self.family in (socket.AF_INET, socket.AF_INET6):
                require_loopback(address[0])
            return method(self, address)

        return connect

    look_up = socket.getaddrinfo

    def guarded_look_up(host: Any, *args: Any, **kwargs: Any) -> Any:
        numeric = kwargs.get("flags", args[4] if len(args) > 4 else 0) & socket.AI_NUMERICHOST
        if host != "0.0.0.0" and not numeric:
            require_loopback(host)
        return look_up(host, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", guarded_connect(socket.socket.connect))
        patch.setattr(socket.socket, "connect_ex", guarded_connect(socket.socket.connect_ex))
        patch.setattr(socket, "getaddrinfo", guarded_look_up)
        yield


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of the browser for the tests marked e2e; `make test` finds or installs one."""
    path = os.environ.get("DUPLEX_CHROMIUM")
    if path is None:
        names = ("chromium", "chromium-browser", "google-chrome")
        path = next(filter(None, map(shutil.which, names)), None)
    if not path:
        pytest.fail("no Chromium: run `make test`, or set DUPLEX_CHROMIUM=/path/to/chromium")
    return path


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Small models are too small to be split."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # the browser last: what is quick fails first, and Playwright's event loop runs until the end of the session
    items.sort(key=lambda item: item.get_closest_marker("e2e") is not None)
    gpu_items = [item for item in items if item.get_closest_marker("gpu")]
    if not gpu_items:
        return
    import torch

    if not torch.cuda.is_available():
        for item in gpu_items:
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))
