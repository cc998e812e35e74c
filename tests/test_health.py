from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from duplex_runtime.loop import Loop
from tests.fakes import FakeEngine
from tests.web_fakes import PATIENCE, Served, app_of
from webapp import health
from webapp.health import Health, cannot_write
from webapp.worker import Worker


@pytest.fixture
def worker() -> Iterator[Worker]:
    worker = Worker("duplex", Loop(FakeEngine()))
    yield worker
    worker.stop()


def problems(worker: Worker, folder: Path, seconds: float = PATIENCE) -> list[str]:
    return asyncio.run(Health({"duplex": worker}, [folder], seconds).problems())


def test_all_is_well(worker: Worker, tmp_path: Path) -> None:
    assert problems(worker, tmp_path) == []
    assert not list(tmp_path.iterdir())


def test_a_thread_that_has_ended_is_told(worker: Worker, tmp_path: Path) -> None:
    worker.stop()
    assert problems(worker, tmp_path) == ["the thread of 'duplex' has ended: start the server again"]


def test_a_model_that_hangs_is_told_and_the_question_is_taken_back(worker: Worker, tmp_path: Path) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def hang() -> None:
        begun.set()
        go_on.wait(PATIENCE)

    worker.call(hang)
    assert begun.wait(PATIENCE)
    try:
        assert problems(worker, tmp_path, 0.02) == ["the model of 'duplex' did not answer within 0.02 s"]
        assert all(future.cancelled() for _, future in worker._notes)
    finally:
        go_on.set()
    assert problems(worker, tmp_path) == []


def test_a_folder_that_is_gone_is_told_without_its_path(worker: Worker, tmp_path: Path) -> None:
    (told,) = problems(worker, tmp_path / "data")
    assert told == "the data folder cannot be written: No such file or directory"
    assert str(tmp_path) not in told


def test_a_full_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(**_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(health.tempfile, "TemporaryFile", full)
    assert cannot_write(tmp_path) == f"the {tmp_path.name} folder cannot be written: No space left on device"


def test_many_who_ask_at_once_cost_one_look(worker: Worker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = []
    monkeypatch.setattr(health, "cannot_write", lambda folder: looks.append(folder))
    looked = Health({"duplex": worker}, [tmp_path], PATIENCE)

    async def ask() -> list[int]:
        answers = await asyncio.gather(*(looked.answer(None) for _ in range(20)))  # type: ignore[arg-type]
        return [answer.status_code for answer in answers]

    assert asyncio.run(ask()) == [200] * 20
    assert looks == [tmp_path]


def test_the_server_tells_200_until_a_model_has_ended_and_then_503(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "FRESH_SECONDS", 0.0)
    with Served(app_of(tmp_path)) as served, served.http() as http:
        well = http.get("/healthz")
        assert (well.status_code, well.json()) == (200, {"status": "ok", "workers": 2})
        assert well.headers["cache-control"] == "no-store"
        assert http.head("/healthz").status_code == 200
        served.arena.workers["turns"].stop()
        ill = http.get("/healthz")
        assert ill.status_code == 503
        assert ill.json()["status"] == "failing"
        assert ill.json()["reasons"] == ["the thread of 'turns' has ended: start the server again"]
