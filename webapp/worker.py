"""One thread owns one model and its loop; everybody else leaves notes for it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from duplex_runtime.loop import Loop


class Worker:
    """Runs a `Loop` until `stop`. `call` runs a function on its thread, between two forward passes."""

    def __init__(self, name: str, loop: Loop) -> None:
        self.loop = loop
        self._notes: list[tuple[Callable[[], Any], Future[Any]]] = []
        self._wake = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Does its thread run?"""
        return self._thread.is_alive()

    def call(self, function: Callable[..., Any], *args: Any) -> Future[Any]:
        """Run `function(*args)` on the worker's thread; the future holds its result or error."""
        future: Future[Any] = Future()
        with self._wake:
            self._notes.append((lambda: function(*args), future))
            self._wake.notify()
        return future

    def stop(self) -> None:
        """End the thread after its current forward pass, and its engine."""
        with self._wake:
            self._stopping = True
            self._wake.notify()
        self._thread.join()
        self.loop.engine.shutdown()

    def _run(self) -> None:
        while True:
            with self._wake:
                if not self._notes and not self._stopping:
                    wait = self.loop.wait_seconds()
                    if wait != 0.0:
                        self._wake.wait(wait)
                if self._stopping:
                    return
                notes, self._notes = self._notes, []
            for note, future in notes:
                if not future.set_running_or_notify_cancel():  # whoever asked has left
                    continue
                try:
                    future.set_result(note())
                except Exception as error:  # belongs to whoever asked
                    future.set_exception(error)
            self.loop.turn()
