"""Where live frames come from: a simulated probe, simulated fluoroscopy, a series played again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from somascope.core import Axis, Grid, Image, Provenance
from somascope.core import Source as Origin
from somascope.core.errors import ParameterError
from somascope.core.grid import Array
from somascope.server.live.chain import small

MOST_BYTES = 1 << 30
"""Of a series that is played again."""
SIZES = (128, 256, 512)


class Source(Protocol):
    """Something that always has a next frame."""

    name: str

    def capture(self, number: int) -> Any:
        """What arrives from the device: frame ``number``."""
        ...

    @property
    def stages(self) -> Sequence[tuple[str, Callable[[Any], Any]]]:
        """What makes a picture (an `Image`) of it, step by step."""
        ...


@dataclass(frozen=True)
class Kind:
    """What the viewer is told about a source."""

    name: str
    title: str
    summary: str
    rate: float


GROUP = "somascope.sources"
"""Entry points under which packages publish live sources: classes made with ``size=``."""
KINDS = (
    Kind("ultrasound", "Ultrasound", "A simulated linear probe over an artery: channel data of "
         "three plane waves, beamformed as it arrives", 25.0),
    Kind("fluoroscopy", "Fluoroscopy", "A simulated chest in X-rays with a catheter that moves, at "
         "low dose", 15.0),
    Kind("series", "Series", "A cine of the archive, played again", 25.0),
)  # fmt: skip


def kinds() -> list[Kind]:
    """All sources: ours, and those that other packages publish."""
    known = {k.name for k in KINDS}
    others = [p for p in entry_points(group=GROUP) if p.name not in known]
    return [*KINDS, *(Kind(p.name, p.name, f"published as {p.value}", 25.0) for p in others)]


def make(kind: str, *, size: int, paths: Sequence[Path]) -> Source:
    """The source of that kind; ``paths`` are the instances of a series."""
    if size not in SIZES:
        raise ParameterError(f"a size of {size} pixels; choose {', '.join(map(str, SIZES))}")
    if kind == "fluoroscopy":
        return Fluoroscopy(size)
    if kind == "series":
        return Series(paths)
    published = {p.name: p for p in entry_points(group=GROUP)}
    if kind not in published:
        raise ParameterError(
            f"no source {kind[:40]!r}; there is {', '.join(k.name for k in kinds())}"
        )
    made: Source = published[kind].load()(size=size)
    return made


class Fluoroscopy:
    """Photons behind a chest whose heart beats, with a wire on its way; noise of a low dose."""

    name = "fluoroscopy"
    photons = 220.0
    """Behind air, per pixel and frame."""
    beat = 16
    """Frames."""

    def __init__(self, size: int) -> None:
        from somascope.phantoms import thorax_ct, thorax_grid

        grid = thorax_grid((96, 96, 96), (4.0, 4.0, 4.0))
        body = np.asarray(thorax_ct(grid, noise_hu=0.0).data, np.float32)
        # Water at 70 keV: 0.0193 per mm; the beam goes from front to back.
        depth = (np.clip(body + 1000, 0, None) * (0.0193e-3 * 4.0)).sum(axis=1)[::-1]
        fine = (np.arange(size) + 0.5) * 96 / size - 0.5
        self._y, self._x = np.meshgrid(fine, fine, indexing="ij")
        self._depth = depth
        self._grid = Grid.from_spacing((1, size, size), (1.0, 384 / size, 384 / size))
        self._still: list[Array | None] = [None] * self.beat
        self._rng = np.random.default_rng(7)
        self._size = size

    def capture(self, number: int) -> Array:
        """Photons counted, float32 ``(size, size)``."""
        light = self._behind(number % self.beat) * np.exp(-1.6 * self._wire(number))
        # Normal instead of Poisson: ten times quicker, and equal above some ten photons.
        noise = self._rng.standard_normal(light.shape, np.float32)
        return np.maximum(light + np.sqrt(light) * noise, 0)

    def _behind(self, phase: int) -> Array:
        found = self._still[phase]
        if found is None:
            from scipy.ndimage import map_coordinates

            cy, cx, radius = 52.0, 52.0, 20.0
            dy, dx = self._y - cy, self._x - cx
            pull = 0.06 * np.cos(2 * np.pi * phase / self.beat)
            pull = pull * np.exp(-(dy**2 + dx**2) / radius**2)
            at = [self._y + pull * dy, self._x + pull * dx]
            path = map_coordinates(self._depth, at, order=1, mode="nearest")
            scale = self.photons * np.exp(1.2)  # the exposure control's work
            found = self._still[phase] = np.minimum(scale * np.exp(-path), self.photons).astype(
                np.float32
            )
        return found

    def _wire(self, number: int) -> Array:
        """How much wire is on each pixel's way: it goes in, and out again."""
        n = self._size
        way = 0.5 - 0.5 * np.cos(2 * np.pi * number / 180)
        t = np.linspace(0, way, 6 * n)
        x = n * (0.42 + 0.10 * np.sin(2.6 * t) + 0.004 * np.sin(2 * np.pi * number / self.beat))
        y = n * (0.98 - 0.62 * t)
        out = np.zeros((n, n), np.float32)
        wide = max(round(n / 256), 1)
        for d in range(-wide, wide + 1):
            at = np.clip(np.rint(x + d).astype(int), 0, n - 1)
            out[np.clip(y.astype(int), 0, n - 1), at] = 1.0 - abs(d) / (wide + 1)
        return out

    @property
    def stages(self) -> Sequence[tuple[str, Callable[[Any], Any]]]:
        """Logarithm: proportional to what lay in the beam's way, bones bright."""
        return (("logarithm", self._shown),)

    def _shown(self, light: Array) -> Image:
        path = np.log(np.float32(self.photons) / np.maximum(light, np.float32(1)))
        return Image(
            np.maximum(path, 0)[None], self._grid, "XA",
            provenance=Provenance((Origin("phantom", "thorax fluoroscopy"),)),
        )  # fmt: skip


class Series:
    """The frames of a stored series, over and over: its time axis, or its slices."""

    name = "series"

    def __init__(self, paths: Sequence[Path]) -> None:
        from somascope.io.dicom.series import volumes

        images, problems = volumes(list(paths))
        if not images:
            reason = problems[0].reason if problems else "it holds no image"
            raise ParameterError(f"the series cannot be played: {reason}")
        image = images[0]
        if image.data.nbytes > MOST_BYTES:
            raise ParameterError(
                f"the series has {image.data.nbytes >> 20} MiB; at most {MOST_BYTES >> 20} are "
                "played live"
            )
        self._image = image
        self._leading = image.data.shape[: len(image.axes)]
        names = [a.name for a in image.axes]
        self._channel = names.index("channel") if "channel" in names else None
        count = image.grid.shape[0]
        for k, n in enumerate(self._leading):
            count *= 1 if k == self._channel else n
        self.count = int(count)
        small(self.frame(0), "the series")

    def frame(self, number: int) -> Image:
        """Frame ``number`` as a plane; colour as its channels."""
        image, number = self._image, number % self.count
        nz = image.grid.shape[0]
        entry, z = divmod(number, nz)
        index: dict[str, int] = {}
        for axis, n in reversed(list(zip(image.axes, self._leading, strict=True))):
            if axis.name != "channel":
                entry, index[axis.name] = divmod(entry, n)
        one = image.at(**index)
        _, ny, nx = one.grid.shape
        if nz > 1:
            one = one.crop(start=(z, 0, 0), stop=(z + 1, ny, nx))
        return one

    def capture(self, number: int) -> Image:
        """The stored values."""
        return self.frame(number)

    @property
    def stages(self) -> Sequence[tuple[str, Callable[[Any], Any]]]:
        """Nothing but making the values its own."""
        return (("read", lambda image: image),)


def film(frames: Sequence[tuple[float, Image, Array]], *, attributes: Mapping[str, Any]) -> Image:
    """What was shown as one image of bytes with an axis ``t`` (and ``channel`` before it).

    ``frames`` are capture time in s, the chain's result, and the bytes shown ``(ny, nx)`` or
    ``(ny, nx, 3)``.
    """
    last = frames[-1][1]
    shape = frames[-1][2].shape
    kept = [f for f in frames if f[2].shape == shape]
    data = np.stack([f[2] for f in kept])
    times = tuple(f[0] - kept[0][0] for f in kept)
    axes: tuple[Axis, ...] = (Axis("t", times, "s"),)
    if data.ndim == 4:
        axes = (*axes, Axis("channel"))
        data = np.moveaxis(data, -1, 1)
    return replace(
        last, data=data[..., None, :, :], axes=axes, unit="1",
        attributes={**last.attributes, **attributes},
    )  # fmt: skip
