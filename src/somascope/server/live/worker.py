"""``python -m somascope.server.live.worker``: captures, runs the chain, gives the newest frame.

Standard input brings commands, one line of JSON each, the first one what to play; standard output
gives for each thing told a head of 16 bytes (how many of JSON, how many of data) and both. With
every beat of the clock a frame arrives, and takes the place of the one before. The newest is worked
on when the browser has drawn an earlier one (a *credit*): if anything behind is slow, frames are
left out, none waits in a queue, and none is older than a beat when it is begun.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from somascope.core import Image
from somascope.core.errors import SomascopeError
from somascope.core.grid import Array
from somascope.server.decode import cell
from somascope.server.live import chain
from somascope.server.live.pipe import Commands, tell
from somascope.server.live.sources import Source, film, make

MEMORY = 6 << 30
"""Bytes that the process may take beyond what it needs to be there."""
MOST_KEPT = 512
KEPT_BYTES = 192 << 20
"""Frames kept to be saved, and their bytes, shown and computed together."""
RATES = (1.0, 60.0)


class Display:
    """From values to what is shown: bytes, and which values are black and white.

    uint8 is shown as it is; anything else between its 1st and 99.5th percentile, followed slowly,
    or between limits that are given.
    """

    def __init__(self) -> None:
        self.limits: tuple[float, float] | None = None
        self._seen: tuple[float, float] | None = None
        self._key: tuple[Any, ...] = ()

    def __call__(self, image: Image, key: tuple[Any, ...]) -> tuple[Array, float, float]:
        """Bytes ``(ny, nx)`` or ``(ny, nx, 3)``; another ``key``: values mean another thing."""
        data = image.data
        colour = [k for k, a in enumerate(image.axes) if a.name == "channel"]
        data = np.moveaxis(data, colour[0], -1)[0] if colour else data.reshape(data.shape[-2:])
        if data.dtype == np.uint8 and self.limits is None:
            return data, 0.0, 255.0
        values = np.asarray(np.abs(data) if data.dtype.kind == "c" else data, np.float32)
        if self.limits is not None:
            low, high = self.limits
        else:
            step = max(min(values.shape[:2]) // 100, 1)
            some = values[::step, ::step]
            some = some[np.isfinite(some)]
            now = tuple(map(float, np.percentile(some, (1, 99.5)))) if some.size else (0.0, 1.0)
            if self._seen is None or key != self._key:
                self._seen, self._key = (now[0], now[1]), key
            low, high = (0.9 * a + 0.1 * b for a, b in zip(self._seen, now, strict=True))
            self._seen = (low, high)
        span = high - low if high > low else 1.0
        shown = np.clip((values - np.float32(low)) * np.float32(255 / span), 0, 255)
        return np.nan_to_num(shown, copy=False).astype(np.uint8), low, high


class Player:
    """The state of one live view."""

    def __init__(self, source: Source, *, rate: float, answers: IO[bytes]) -> None:
        self.source = source
        self.rate = rate
        self.steps: tuple[chain.ChainStep, ...] = ()
        self.display = Display()
        self.credits = 0
        self.frozen = False
        self.skipped = 0
        self.kept: deque[tuple[float, Image, Array]] = deque(maxlen=MOST_KEPT)
        self._bytes = 0
        self._answers = answers
        self._told = ""
        self._before: Image | None = None
        self._warm: set[str] = set()

    def change(self, steps: tuple[chain.ChainStep, ...]) -> None:
        """Run another chain from now on.

        Code that is compiled when first used is compiled here, before a frame is captured: else
        that frame would be late by all of it.
        """
        new = {s.operation.name for s in steps} - self._warm
        if new:
            image: Any = self._before
            if image is None:
                image = self.source.capture(0)
                for _, stage in self.source.stages:
                    image = stage(image)
            with contextlib.suppress(Exception):  # it will be told when a frame fails
                chain.run(image, steps, {})
            self._warm |= new
        self.steps = steps

    def frame(self, number: int, *, age: float = 0.0) -> None:
        """Run, show, keep and send frame ``number``, which arrived ``age`` seconds ago."""
        stages: dict[str, float] = {}
        raw = self.source.capture(number)
        captured = time.time() - age
        value: Any = raw
        for name, stage in self.source.stages:
            began = time.perf_counter()
            value = stage(value)
            stages[name] = (time.perf_counter() - began) * 1e3
        image: Image = value
        self._before = image
        try:
            image = chain.run(image, self.steps, stages)
            self._told = ""
        except SomascopeError as error:
            self._problem(str(error))
        except Exception as error:
            self._problem(f"{type(error).__name__}: {error}"[:300])
        began = time.perf_counter()
        key = tuple(s.operation.name for s in self.steps)
        shown, low, high = self.display(image, key)
        shown = np.ascontiguousarray(shown)
        stages["display"] = (time.perf_counter() - began) * 1e3
        self._keep(captured, image, shown)
        rows, columns = shown.shape[:2]
        self.credits -= 1
        self.tell(
            {
                "kind": "frame", "number": number, "captured": captured, "stages": stages,
                "rows": rows, "columns": columns, "channels": 3 if shown.ndim == 3 else 1,
                "lower": low, "upper": high, "unit": image.unit, "skipped": self.skipped,
                "spacing": image.grid.spacing[1:], "kept": len(self.kept),
            },
            shown,
        )  # fmt: skip

    def _problem(self, text: str) -> None:
        if text != self._told:
            self._told = text
            self.tell({"kind": "problem", "message": text})

    def _keep(self, captured: float, image: Image, shown: Array) -> None:
        # Only what the last one was computed to is needed beside what was shown.
        light = (
            image.with_data(np.broadcast_to(np.uint8(0), image.grid.shape))
            if (not image.axes)
            else image.with_data(np.broadcast_to(np.uint8(0), image.data.shape))
        )
        self.kept.append((captured, light, shown))
        self._bytes = sum(s.nbytes for _, _, s in self.kept)
        while self._bytes > KEPT_BYTES and len(self.kept) > 1:
            self._bytes -= self.kept.popleft()[2].nbytes

    def save(self, count: int, attributes: Mapping[str, Any]) -> None:
        """Send the last ``count`` frames as one DICOM instance."""
        from somascope.io.dicom.write import instances

        try:
            if not self.kept:
                raise SomascopeError("there is no frame to save yet; start the source first")
            image = film(list(self.kept)[-max(count, 1) :], attributes=attributes)
            files = instances(image)
        except SomascopeError as error:
            self.tell({"kind": "saved", "message": str(error)})
            return
        self.tell({"kind": "saved", "sizes": [len(f) for f in files], "frames": image.shape[0]},
                  b"".join(files))  # fmt: skip

    def tell(self, said: Mapping[str, Any], data: Any = b"") -> None:
        """Write an answer."""
        tell(self._answers, said, data)


def obey(player: Player, command: Mapping[str, Any]) -> None:
    """One command: credit, chain, freeze, rate, limits, save."""
    player.credits = min(player.credits + int(command.get("credit", 0)), 4)
    if "chain" in command:
        try:
            player.change(chain.parse(command["chain"]))
        except SomascopeError as error:
            player.tell({"kind": "problem", "message": str(error)})
    if "freeze" in command:
        player.frozen = bool(command["freeze"])
    if "rate" in command:
        player.rate = min(max(float(command["rate"]), RATES[0]), RATES[1])
    if "limits" in command:
        given = command["limits"]
        player.display.limits = None if given is None else (float(given[0]), float(given[1]))
    if "save" in command:
        player.save(int(command["save"]), command.get("attributes", {}))


def play(player: Player, commands: Commands) -> None:
    """Frames on the beat of the clock until the commands end."""
    start, beat = time.perf_counter(), 0
    rate = player.rate
    while True:
        if rate != player.rate:
            start, beat, rate = time.perf_counter(), 0, player.rate
        if player.frozen or player.credits <= 0:
            command = commands.take(None)
            if command is not None:
                obey(player, command)
            continue
        now = time.perf_counter() - start
        newest = int(now * rate)
        if newest < beat:  # what has arrived is done
            command = commands.take(beat / rate - now)
            if command is not None:
                obey(player, command)
            continue
        if beat:
            player.skipped += newest - beat
        beat = newest + 1
        player.frame(newest, age=now - newest / rate)


def main() -> int:
    """Play until standard input ends."""
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # what a library prints is no answer
    lines = os.fdopen(os.dup(0), "rb")
    first = json.loads(lines.readline())
    _warm()
    confined = cell.confine(memory=MEMORY, writes=True)
    try:
        source = make(
            str(first["source"]), size=int(first["size"]),
            paths=[Path(p) for p in first.get("paths", [])],
        )  # fmt: skip
    except SomascopeError as error:
        Player(_NOTHING, rate=1.0, answers=answers).tell({"kind": "end", "message": str(error)})
        return 1
    player = Player(source, rate=min(max(float(first["rate"]), RATES[0]), RATES[1]),
                    answers=answers)  # fmt: skip
    obey(player, {"chain": first.get("chain", [])})
    player.tell({"kind": "ready", "confined": confined})
    try:
        play(player, Commands(lines))
    except (EOFError, BrokenPipeError):
        return 0
    return 0


def _warm() -> None:
    """Start the compiled code's threads: a confined process may not make their locks any more."""
    from somascope.process.speckle import local

    local(np.zeros((1, 8, 8), np.float32), 3)


class _Nothing:
    name = ""
    stages = ()

    def capture(self, number: int) -> int:
        return number


_NOTHING = _Nothing()

if __name__ == "__main__":
    sys.exit(main())
