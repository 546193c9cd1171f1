"""Events read a block at a time: from memory, or from a file larger than memory."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import h5py
import numpy as np

from somascope.acquire.likelihood import compared
from somascope.acquire.pet.listmode import ListModeScan
from somascope.acquire.pet.model import background, factors
from somascope.acquire.pet.psf import Blur
from somascope.core import Acquisition, Grid, Provenance
from somascope.core.errors import CorruptFile, ParameterError, UnsupportedFormat
from somascope.core.grid import Array

BLOCK = 1 << 20
"""Events at a time."""
_CALIBRATED = ("normalisation", "attenuation", "randoms", "scatter")


class EventSource(Protocol):
    """Where events come from, in the order of arrival."""

    @property
    def scan(self) -> ListModeScan:
        """A scan of no events: grid, scanner, centre, PSF."""
        ...

    def __len__(self) -> int: ...

    def read(self, start: int, stop: int) -> Acquisition:
        """Some of the events, with their share of the calibration."""
        ...


class Memory:
    """The events of an acquisition."""

    def __init__(self, acquisition: Acquisition) -> None:
        self.acquisition = acquisition
        operator: Any = acquisition.operator
        self._whole: ListModeScan = operator
        self.scan = self._whole.of_events(slice(0, 0))

    def __len__(self) -> int:
        return len(self._whole.crystals)

    def read(self, start: int, stop: int) -> Acquisition:
        """Some of the events, not copied."""
        part = slice(start, stop)
        return _part(
            self.acquisition, self._whole.of_events(part), self.acquisition.samples[part],
            {k: v[part] for k, v in self.acquisition.calibration.items() if _per_event(k, v)},
        )  # fmt: skip


class EventFile:
    """The events of a list-mode acquisition in a file of ours (HDF5), never all in memory.

    A context manager. ``head`` is the acquisition without its events: facts and scalars.

    Raises
    ------
    UnsupportedFormat
        Not a list-mode acquisition.
    CorruptFile
        Arrays of different lengths.
    """

    def __init__(self, path: str | Path) -> None:
        self._file: Any = h5py.File(path, "r")
        try:
            kind = self._file["operator"].attrs["kind"]
            if kind != ListModeScan.kind:
                raise UnsupportedFormat(f"{Path(path).name} holds {kind}; pet.listmode is needed")
            self._events: Any = self._file["operator/crystals"]
            count = len(self._events)
            self._tof: Any = self._file.get("operator/tof")
            self._samples: Any = self._file["samples"]
            aside: Any = self._file["calibration"]
            self._aside = {k: v for k, v in aside.items() if k in _CALIBRATED and v.shape}
            small = {k: np.asarray(v) for k, v in aside.items() if k not in self._aside}
            for name, array in {"samples": self._samples, "tof": self._tof, **self._aside}.items():
                if array is not None and len(array) != count:
                    raise CorruptFile(
                        f"{Path(path).name} has {count} events but {len(array)} {name}"
                    )
            where = self._file.get("operator/positions")
            self.scan = _scan(
                json.loads(self._file["operator"].attrs["values"]),
                None if where is None else np.asarray(where),
            )
            self.head = Acquisition(
                np.zeros(0, np.uint8), self.scan, "PT", unit=str(self._file.attrs["unit"]),
                calibration=small, attributes=json.loads(self._file.attrs["attributes"]),
                provenance=Provenance.from_json(self._file.attrs["provenance"]),
            )  # fmt: skip
        except KeyError as error:
            self._file.close()
            raise UnsupportedFormat(f"{Path(path).name} is no acquisition: {error}") from error
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self._file.close()

    def __len__(self) -> int:
        return len(self._events)

    def read(self, start: int, stop: int) -> Acquisition:
        """Some of the events, from the file."""
        tof = None if self._tof is None else self._tof[start:stop]
        scan = ListModeScan(
            grid=self.scan.grid,
            scanner=self.scan.scanner,
            crystals=self._events[start:stop],
            tof=tof,
            centre=self.scan.centre,
            psf=self.scan.psf,
            positions=self.scan.positions,
        )
        return _part(
            self.head, scan, self._samples[start:stop],
            {k: v[start:stop] for k, v in self._aside.items()},
        )  # fmt: skip


def _scan(values: Mapping[str, Any], positions: Array | None) -> ListModeScan:
    """The described scan with no events."""
    (nz, ny, nx), affine, frame = values["grid"]["grid"]
    scanner = values["scanner"]
    return ListModeScan(
        grid=Grid((nz, ny, nx), np.asarray(affine, float), frame),
        scanner=scanner,
        crystals=np.zeros((0, 2), np.int32),
        tof=np.zeros(0, np.int16) if scanner["tof_bins"] > 1 else None,
        centre=values["centre"],
        psf=values["psf"],
        positions=positions,
    )


def _per_event(name: str, array: Array) -> bool:
    return name in _CALIBRATED and array.ndim > 0


def _part(
    head: Acquisition, scan: ListModeScan, samples: Array, aside: Mapping[str, Array]
) -> Acquisition:
    return replace(head, samples=samples, operator=scan, calibration={**head.calibration, **aside})


class Subset:
    """A step of `likelihood.maximised` over every ``count``-th block of a source."""

    def __init__(
        self, source: EventSource, *, number: int, count: int, grid: Grid, psf: float
    ) -> None:
        self.source, self.number, self.count = source, number, count
        self.grid = grid
        self._blur = Blur(grid, psf) if psf > 0 else None

    def blocks(self) -> Iterator[Acquisition]:
        """The blocks of this subset, one after the other."""
        total = len(self.source)
        size = max(1, min(BLOCK, -(-total // self.count)))
        for k in range(self.number, -(-total // size), self.count):
            yield self.source.read(k * size, min((k + 1) * size, total))

    def __call__(self, x: Array) -> tuple[Array, float]:
        """``A^T (y / (A x + background))`` and minus twice the log of the expected counts."""
        seen = x if self._blur is None else self._blur.forward(x)
        back, deviance = np.zeros_like(x), 0.0
        for block in self.blocks():
            scan: Any = block.operator
            weights = np.broadcast_to(factors(block), scan.range)
            added = background(block)
            for part, lines in scan.on_grid(self.grid).lines():
                ratio, more = compared(
                    lines.forward(seen) * weights[part],
                    np.asarray(block.samples[part], np.float32),
                    0.0 if added is None else np.broadcast_to(added, scan.range)[part],
                )
                back += lines.adjoint(ratio * weights[part])
                deviance += more
        return back if self._blur is None else self._blur.adjoint(back), deviance


def counted(source: EventSource) -> float:
    """Sum of the counts of all events; they are checked on the way.

    Raises
    ------
    ParameterError
        Counts that are negative or not finite, or no events.
    """
    total = 0.0
    for start in range(0, len(source), BLOCK):
        block = source.read(start, min(start + BLOCK, len(source)))
        values = np.asarray(block.samples)
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise ParameterError(f"events {start} and after hold counts that are not finite")
        if values.min() < 0:
            raise ParameterError(f"events {start} and after hold negative counts")
        total += float(values.sum(dtype=np.float64))
    if total <= 0:
        raise ParameterError("there are no events to reconstruct from")
    return total
