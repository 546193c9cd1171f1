"""``python -m somascope.server.preview.worker``: holds a series and computes parts of results.

Standard input brings commands, one line of JSON each, the first one ``role`` and ``paths``; of
those that wait, the newest of each kind counts. Standard output gives for each thing told a head of
16 bytes (how many of JSON, how many of data) and both. A slice is sent as it is: the values, little
endian, row by row.

The role ``slice`` computes what is looked at. Where the chain sees neighbouring slices and that
takes long, the slice alone is computed and sent first (``draft``), the rest when nothing new was
asked for a moment. The role ``volume`` computes a whole volume, stops when it is overtaken, and
cuts slices of what it has.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from somascope.core import Image, Progress
from somascope.core.errors import Cancelled, NotFound, SomascopeError
from somascope.core.grid import Array
from somascope.process.chain import ChainStep, parse
from somascope.server.decode import cell
from somascope.server.live.pipe import Commands, tell
from somascope.server.preview.measured import measured
from somascope.server.preview.stock import Plane, Stock, Window, cut, slab

MEMORY = 12 << 30
"""Bytes that the process may take beyond what it needs to be there."""
QUICK = 0.06
"""Seconds that the neighbours of a slice may take before the slice is shown without them."""
REST = 0.12
"""Seconds without a new question after which they are computed."""
MOST_PIXELS = 4 << 20
"""Of one slice that is sent."""
WARM = ("clahe", "gaussian", "median", "bilateral", "frangi", "nlm", "gamma", "sigmoid")
"""Operations whose code is made ready at the start."""
TELLS = 4.0
"""Per second, of a volume's progress."""


class Bench:
    """The series, and the newest result."""

    def __init__(self, stock: Stock, answers: IO[bytes], commands: Commands) -> None:
        self.stock = stock
        self._answers = answers
        self._commands = commands
        self._speed: dict[tuple[str, ...], float] = {}
        self._deep: Mapping[str, Any] | None = None
        self._last: tuple[str, Image] | None = None
        self._whole: tuple[str, str, Image] | None = None

    def tell(self, said: Mapping[str, Any], data: Any = b"") -> None:
        """Write an answer."""
        tell(self._answers, said, data)

    # One slice

    def ask(self, asked: Mapping[str, Any]) -> None:
        """Compute and send a slice."""
        steps, plane, window = self._read(asked)
        self._deep = None
        if asked.get("whole"):
            began = time.perf_counter()
            self._send(asked, self._volume_of(asked, plane), plane, window, "volume", began)
            return
        piece = slab(plane, steps, window)
        names = tuple(s.operation.name for s in steps)
        voxels = piece.data.size
        # Nothing is known of a chain at first: its slice alone tells how fast it is.
        if piece.grid.shape[0] > 1 and self._speed.get(names, 1.0) * voxels > QUICK:
            self._run(asked, steps, plane, window, draft=True)
            self._deep = asked
            return
        self._run(asked, steps, plane, window, draft=False)

    def rest(self) -> None:
        """Nothing was asked for a moment: the neighbours of a draft."""
        asked, self._deep = self._deep, None
        if asked is not None:
            steps, plane, window = self._read(asked)
            self._run(asked, steps, plane, window, draft=False)

    @property
    def waits(self) -> float | None:
        """Seconds to wait for a command; None: as long as it takes."""
        return None if self._deep is None else REST

    def _run(
        self, asked: Mapping[str, Any], steps: Sequence[ChainStep], plane: Plane, window: Window,
        *, draft: bool,
    ) -> None:  # fmt: skip
        began = time.perf_counter()
        result = self._computed(steps, plane, window, draft=draft)
        self._send(asked, result, plane, window, "draft" if draft else "slice", began)

    def _computed(
        self, steps: Sequence[ChainStep], plane: Plane, window: Window, *, draft: bool = False
    ) -> Image:
        piece = slab(plane, steps, window)
        if draft:
            z = int(np.rint(piece.grid.to_index(plane.image.grid.to_world((plane.z, 0, 0)))[0]))
            _, ny, nx = piece.grid.shape
            piece = piece.crop(start=(z, 0, 0), stop=(z + 1, ny, nx))
        began = time.perf_counter()
        size = piece.data.size
        for step in steps:
            piece = step.operation.function(piece, **step.params)
        names = tuple(s.operation.name for s in steps)
        self._speed[names] = (time.perf_counter() - began) / size
        return piece

    def _read(self, asked: Mapping[str, Any]) -> tuple[tuple[ChainStep, ...], Plane, Window]:
        shape = (int(asked["rows"]), int(asked["columns"]))
        plane = self.stock.plane(str(asked["sop"]), int(asked["frame"]), shape)
        return parse(asked.get("chain", [])), plane, Window.read(asked.get("window"), shape)

    def _send(
        self, asked: Mapping[str, Any], result: Image, plane: Plane, window: Window, stage: str,
        began: float,
    ) -> None:  # fmt: skip
        one, place = cut(result, plane, window)
        rows, columns = one.grid.shape[1:]
        if rows * columns > MOST_PIXELS:
            raise SomascopeError(
                f"the result is {rows} x {columns} pixels, too many to preview; run it as a job"
            )
        values, channels = plain(one)
        low, high = usual(values)
        self.tell(
            {
                "kind": "slice", "id": asked.get("id", 0), "stage": stage, "rows": rows,
                "columns": columns, "channels": channels, "dtype": values.dtype.name,
                "unit": one.unit, "lower": low, "upper": high, "place": place,
                "volume": plane.volume, "image": plane.number, "images": len(self.stock.images),
                "slices": plane.image.grid.shape[0], "ms": (time.perf_counter() - began) * 1e3,
            },
            values,
        )  # fmt: skip

    # Histogram

    def histogram(self, asked: Mapping[str, Any]) -> None:
        """Count the values of a slice, of a region of it, or of a volume."""
        shape = (int(asked["rows"]), int(asked["columns"]))
        plane = self.stock.plane(str(asked["sop"]), int(asked["frame"]), shape)
        place: list[float] | None = None
        if asked.get("scope") == "volume":
            image = self._volume_of(asked, plane) if asked.get("chain") else plane.image
        else:
            key = json.dumps([asked.get("chain"), plane.volume, plane.z, asked.get("whole", False)])
            if self._last is None or self._last[0] != key:
                whole = bool(asked.get("whole"))
                steps = parse(asked.get("chain", []))
                found = (
                    self._volume_of(asked, plane)
                    if whole
                    else self._computed(steps, plane, Window(0, 0, *shape))
                )
                self._last = (key, found)
            image, place = cut(self._last[1], plane)
        self.tell({
            "kind": "histogram", "id": asked.get("id", 0),
            **measured(image, place, asked.get("shape")),
        })  # fmt: skip

    # Volume

    def volume(self, asked: Mapping[str, Any]) -> None:
        """Compute a whole volume; another one that is asked for stops it."""
        key, name = str(asked.get("key", "")), str(asked["volume"])
        steps = parse(asked["chain"])
        image = self.stock.volume(name)
        self._whole = None
        told = 0.0

        def report(fraction: float, message: str) -> None:
            nonlocal told
            if time.monotonic() - told > 1 / TELLS:
                told = time.monotonic()
                self._state(key, "running", progress=fraction, message=message)

        self._state(key, "running", progress=0.0)
        began = time.perf_counter()
        progress = Progress(report, lambda: self._commands.waits("volume"))
        try:
            for number, step in enumerate(steps):
                part = Progress(
                    lambda f, m, a=number, n=step.name: progress((a + f) / len(steps), m or n)
                )
                progress(number / len(steps), step.name)
                image = step.operation(image, progress=part, **step.params)
            progress(1.0)
        except Cancelled:
            self._state(key, "overtaken")
            return
        self._whole = (key, name, image)
        self._state(key, "ready", seconds=time.perf_counter() - began)

    def _state(self, key: str, state: str, **more: Any) -> None:
        self.tell({"kind": "volume", "key": key, "state": state, **more})

    def _volume_of(self, asked: Mapping[str, Any], plane: Plane) -> Image:
        if self._whole is None or self._whole[:2] != (str(asked.get("key", "")), plane.volume):
            raise NotFound("the volume is not computed yet")
        return self._whole[2]

    def warm(self) -> None:
        """Load the compiled code of usual operations by running them on a few pixels."""
        image = self.stock.images[0]
        nz, ny, nx = image.grid.shape
        some = image.crop(start=(0, 0, 0), stop=(min(nz, 2), min(ny, 24), min(nx, 24)))
        for name in WARM:
            with contextlib.suppress(Exception):  # it will be told when it is asked for
                (step,) = parse([{"operation": f"process.{name}"}])
                step.operation.function(some, **step.params)


def plain(one: Image) -> tuple[Array, int]:
    """The values of a slice as they are sent: ``(ny, nx)``, or uint8 ``(ny, nx, 3)``."""
    names = [a.name for a in one.axes]
    data = one.data
    if "channel" in names:
        data = np.moveaxis(data, names.index("channel"), -1).reshape(*one.grid.shape[1:], -1)
        if data.dtype != np.uint8:
            data = (data / max(float(data.max()), 1.0) * 255).astype(np.uint8)
        return np.ascontiguousarray(data[..., :3]), 3
    data = data.reshape(-1, *one.grid.shape[1:])[0]
    if data.dtype.kind == "c":
        data = np.abs(data)
    if data.dtype.kind == "b":
        data = data.astype(np.uint8)
    if data.dtype not in (np.uint8, np.int16, np.uint16, np.float32):
        data = data.astype(np.float32)
    return np.ascontiguousarray(data), 1


def usual(values: Array) -> tuple[float, float]:
    """Limits that show most of the values: their 1st and 99.5th percentile."""
    if values.ndim == 3:
        return 0.0, 255.0
    step = max(min(values.shape) // 100, 1)
    some = values[::step, ::step]
    some = some[np.isfinite(some)]
    if not some.size:
        return 0.0, 1.0
    low, high = (float(v) for v in np.percentile(some, (1, 99.5)))
    return (low, high) if high > low else (float(some.min()), max(float(some.max()), low + 1e-6))


def obey(bench: Bench, command: Mapping[str, Any]) -> None:
    """Slices first, then what is counted, then volumes."""
    for kind, act in (("ask", bench.ask), ("histogram", bench.histogram), ("volume", bench.volume)):
        if kind in command:
            asked = command[kind]
            attempt(bench, lambda act=act, asked=asked: act(asked), kind, asked.get("id", 0))


def attempt(bench: Bench, act: Callable[[], None], kind: str, number: Any) -> None:
    """Do it, and tell what went wrong."""
    said: dict[str, Any] = {"kind": "problem", "of": kind, "id": number}
    try:
        act()
    except SomascopeError as error:
        bench.tell({**said, "message": str(error)})
    except MemoryError:
        bench.tell({**said, "message": "this takes more memory than a preview may"})
    except (BrokenPipeError, EOFError):
        raise
    except Exception as error:
        bench.tell({**said, "message": f"{type(error).__name__}: {error}"[:300]})


def work(bench: Bench, commands: Commands) -> None:
    """Obey until the commands end."""
    while True:
        command = commands.take(bench.waits)
        if command is not None:
            obey(bench, command)
        else:
            attempt(bench, bench.rest, "ask", 0)


def main() -> int:
    """Work until standard input ends."""
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # what a library prints is no answer
    lines = os.fdopen(os.dup(0), "rb")
    first = json.loads(lines.readline())
    behind = first.get("role") == "volume"
    if behind:
        with contextlib.suppress(OSError):
            os.nice(5)  # slices are looked at while it works
    _threads()
    confined = cell.confine(memory=MEMORY, writes=True)
    try:
        stock = Stock([Path(p) for p in first["paths"]])
    except (SomascopeError, MemoryError) as error:
        tell(answers, {"kind": "end", "message": str(error) or "the series takes too much memory"})
        return 1
    commands = Commands(lines)
    bench = Bench(stock, answers, commands)
    bench.tell({"kind": "ready", "role": first.get("role"), "confined": confined})
    if not behind:
        # Beside the questions: what has to be compiled may take long, and nobody waits for it.
        threading.Thread(target=bench.warm, name="warm", daemon=True).start()
    try:
        work(bench, commands)
    except (EOFError, BrokenPipeError):
        return 0
    return 0


def _threads() -> None:
    """Start the compiled code's threads: a confined process may not make their locks any more."""
    from somascope.process.speckle import local

    local(np.zeros((1, 8, 8), np.float32), 3)


if __name__ == "__main__":
    sys.exit(main())
