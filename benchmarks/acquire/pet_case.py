"""The scanner and body that the PET benchmarks share, and a plain C projector as yardstick."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from somascope.acquire.pet.scanner import Scanner
from somascope.acquire.pet.sinogram import SinogramScan
from somascope.core import Grid
from somascope.phantoms import Ellipsoid

Array = np.ndarray
_P = ctypes.POINTER(ctypes.c_float)
_N = ctypes.POINTER(ctypes.c_int)

BODY = [
    Ellipsoid(5000.0, (0, 0, 0), (95, 75, 200)),
    Ellipsoid(20000.0, (40, 0, 0), (12, 12, 200)),
    Ellipsoid(0.0, (-40, 10, 0), (20, 20, 200)),
]
WATER = [Ellipsoid(0.0096, (0, 0, 0), (95, 75, 200))]


def scene(*, small: bool) -> SinogramScan:
    """0.81 M lines (7 rings of 256 crystals, 49 planes) through 128 x 128 x 13 voxels of 2 mm."""
    crystals, n, nz = (64, 32, 5) if small else (256, 128, 13)
    rings, side = (3, 8.0) if small else (7, 2.0)
    scanner = Scanner(
        name="Bench", rings=rings, crystals=crystals, radius=150.0, ring_spacing=2 * side,
        radial_bins=crystals // 2 + 1,
    )  # fmt: skip
    origin = [-(k - 1) / 2 * side for k in (n, n, nz)]
    return SinogramScan(
        grid=Grid.from_spacing((nz, n, n), (side, side, side), origin=origin), scanner=scanner
    )


class Plain:
    """The C projector (``pet_joseph.c``), compiled here with gcc and OpenMP, for this scan."""

    def __init__(self, scan: SinogramScan) -> None:
        gcc = shutil.which("gcc")
        if gcc is None:
            raise RuntimeError("the yardstick is a C program; install gcc")
        self._folder = tempfile.TemporaryDirectory()
        library = Path(self._folder.name) / "joseph.so"
        source = Path(__file__).with_name("pet_joseph.c")
        command = [gcc, "-O3", "-march=native", "-ffast-math", "-fopenmp", "-shared", "-fPIC",
                   "-o", str(library), str(source), "-lm"]  # fmt: skip
        subprocess.run(command, check=True)
        self._c = ctypes.CDLL(str(library))
        self.scan = scan
        # (z, y, x) in mm, as the volume's axes.
        ends = [np.ascontiguousarray(e[..., ::-1], np.float32) for e in scan.endpoints()]
        self._ends = [e.reshape(-1, 3) for e in ends]
        self._origin = np.array(scan.grid.origin[::-1], np.float32)
        self._step = np.array(scan.grid.spacing, np.float32)
        self._shape = np.array(scan.grid.shape, np.int32)

    def forward(self, x: Array) -> Array:
        out = np.zeros(len(self._ends[0]), np.float32)
        x = np.ascontiguousarray(x, np.float32)
        self._c.joseph_forward(*(_f(e) for e in self._ends), _f(x), _f(self._origin),
                               _f(self._step), self._shape.ctypes.data_as(_N), _f(out),
                               ctypes.c_size_t(out.size))  # fmt: skip
        return out.reshape(self.scan.range)

    def adjoint(self, y: Array) -> Array:
        out = np.zeros(self.scan.domain, np.float32)
        y = np.ascontiguousarray(y, np.float32)
        self._c.joseph_back(*(_f(e) for e in self._ends), _f(out), _f(self._origin),
                            _f(self._step), self._shape.ctypes.data_as(_N), _f(y),
                            ctypes.c_size_t(y.size))  # fmt: skip
        return out


def _f(array: Array) -> object:
    return array.ctypes.data_as(_P)
