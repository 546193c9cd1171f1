"""A worker's ends of its pipes: commands in, answers out."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Mapping
from typing import IO, Any

from somascope.server.decode.tasks import HEAD


def tell(answers: IO[bytes], said: Mapping[str, Any], data: Any = b"") -> None:
    """Write an answer: how long, JSON, data (anything with a buffer)."""
    text = json.dumps(said).encode()
    body = memoryview(data).cast("B") if len(data) else memoryview(b"")
    for piece in (memoryview(HEAD.pack(len(text), len(body)) + text), body):
        rest = piece
        while rest:
            rest = rest[os.write(answers.fileno(), rest) :]


def merged(waiting: dict[str, Any], command: Mapping[str, Any]) -> None:
    """Put a command into those that wait: credits add up, of all else the newest counts."""
    credit = waiting.get("credit", 0) + command.get("credit", 0)
    waiting.update(command)
    if credit:
        waiting["credit"] = credit


class Commands:
    """Lines from standard input, read by a thread of their own; the newest of each kind waits."""

    def __init__(self, lines: IO[bytes]) -> None:
        self._lines = lines
        self._waiting: dict[str, Any] = {}
        self._news = threading.Condition()
        self._ended = False
        threading.Thread(target=self._read, name="commands", daemon=True).start()

    def _read(self) -> None:
        for line in self._lines:
            with self._news:
                merged(self._waiting, json.loads(line))
                self._news.notify()
        with self._news:
            self._ended = True
            self._news.notify()

    def take(self, seconds: float | None) -> dict[str, Any] | None:
        """What was asked since the last time; None after ``seconds`` without anything.

        Raises EOFError at the end.
        """
        with self._news:
            if not self._waiting and not self._ended:
                self._news.wait(seconds)
            if self._ended:
                raise EOFError
            found, self._waiting = self._waiting, {}
            return found or None

    def waits(self, kind: str) -> bool:
        """Whether a command of that kind has come, or none will come any more."""
        with self._news:
            return self._ended or kind in self._waiting
