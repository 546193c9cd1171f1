"""Run filters in a process of their own and print the peak of their memory; for `test_memory`.

One line each: name, the peak of NumPy's arrays and the growth of the process (0: not told), both
over the bytes of input and result. Everything is run small first, so that no compiler is counted.
"""

from __future__ import annotations

import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np

from somascope.core import Grid, Image
from somascope.process import components, denoise, distance, filters, histogram, median, vessels
from somascope.process.enhance import clahe
from somascope.process.resample import resample

SPACING = (1.0, 1.0, 1.0)


def image(v: np.ndarray) -> Image:
    return Image(v, Grid.from_spacing(v.shape, SPACING))


FILTERS: dict[str, tuple[Callable, tuple[type, ...]]] = {
    "gaussian": (lambda v: filters.smooth(v, (2.0, 2.0, 2.0)), (np.int16, np.float32)),
    "median": (lambda v: median.median(v, (3, 3, 3)), (np.int16, np.float32)),
    "bilateral": (
        lambda v: denoise.bilateral(v, space=(0.4, 0.4, 0.4), value=50.0), (np.float32,)
    ),
    "nlm": (
        lambda v: denoise.nonlocal_means(v, search=(0, 1, 1), patch=(1, 1, 1), h=30.0),
        (np.float32,),
    ),
    "frangi": (
        lambda v: vessels.tubes(v, SPACING, scales=(1.0,), measure="frangi"), (np.float32,)
    ),
    "clahe": (lambda v: clahe(image(v)).data, (np.int16, np.float32)),
    "clahe-volume": (
        lambda v: clahe(image(v), dimensions="volume").data, (np.int16, np.float32)
    ),
    "distance": (lambda v: distance.distance(v, SPACING), (np.bool_,)),
    "components": (lambda v: components.label(v)[0], (np.bool_,)),
    "histogram": (lambda v: histogram.of_values(v.reshape(-1)).counts, (np.int16, np.float32)),
    "resample": (
        lambda v: resample(image(v), spacing=(1.5,), antialias=False).data, (np.float32,)
    ),
}  # fmt: skip


def volume(shape: tuple[int, int, int], dtype: type) -> np.ndarray:
    z, y, x = (np.arange(n) for n in shape)
    wave = np.sin(x / 9.0) * np.cos(y / 11.0)[:, None] + np.cos(z / 5.0)[:, None, None]
    noise = np.random.default_rng(0).normal(0, 10, shape)
    values = (100 * wave + noise).astype(np.float32)
    return values > 60 if dtype is np.bool_ else values.astype(dtype)


def resident() -> int:
    """The greatest resident memory since the last reset, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def reset() -> bool:
    """Forget the greatest resident memory."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def main() -> None:
    for name in sys.argv[1:] or FILTERS:
        function, kinds = FILTERS[name]
        for dtype in kinds:
            function(volume((8, 24, 24), dtype))
            given = volume((48, 256, 256), dtype)
            tracemalloc.start()
            found = function(given)
            most = tracemalloc.get_traced_memory()[1] + given.nbytes
            tracemalloc.stop()
            least = given.nbytes + found.nbytes
            del found
            grown = 0
            if reset():
                before = resident() - given.nbytes
                kept = function(given)
                grown = max(resident() - before, kept.nbytes)
            print(name, np.dtype(dtype).name, most / least, grown / least, flush=True)


if __name__ == "__main__":
    main()
