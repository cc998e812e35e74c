"""Errors that people read: each says what was expected, what came and what to do."""

from __future__ import annotations


class DuplexError(Exception):
    """An error with a message for the person; the process goes on, or ends without a traceback.

    `code` is a stable word for programs (`bad_event`, `model_missing` …).
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class BadInput(DuplexError):
    """Something from outside (an event, a script line, a rating) is not of the stated form."""

    def __init__(self, message: str) -> None:
        super().__init__("bad_input", message)


class ModelError(DuplexError):
    """A model folder is missing, broken or not what its files say."""

    def __init__(self, message: str) -> None:
        super().__init__("model_error", message)
