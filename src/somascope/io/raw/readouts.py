"""MR readouts with their counters and gradients, and the stacks of slices they lie in.

ISMRMRD and Siemens twix both deliver single readouts in the order of time; what they mean together
is the same. `sorting` makes k-space of them, `trajectories` a non-Cartesian acquisition.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from somascope.core.errors import CorruptFile, UnsupportedFormat
from somascope.core.grid import Array, Float, Grid

COUNTERS = ("line", "partition", "slice", "echo", "repetition", "average", "set", "phase")


@dataclass(frozen=True, eq=False)
class Encoding:
    """How the scanner encoded space. Sizes and lengths are ``(z, y, x)``, x the readout.

    ``matrix`` and ``field_mm`` are of k-space (with oversampling), ``image`` of the image that is
    wanted; ``centre`` is the ``(partition, line)`` with DC. ``values`` holds the coordinates of
    leading axes by name. ``negated`` says that the samples follow ``exp(+2 pi i k.r)``.
    """

    matrix: tuple[int, int, int]
    field_mm: tuple[float, float, float]
    image: tuple[int, int, int]
    centre: tuple[int, int]
    dimensions: int
    thickness: float
    values: dict[str, tuple[float, ...]] = field(default_factory=dict[str, tuple[float, ...]])
    negated: bool = False
    frame_of_reference: str = ""


@dataclass(frozen=True, eq=False)
class Readouts:
    """All readouts of a measurement, in the order of time; every array has one entry for each.

    Parameters
    ----------
    counters
        Integers by name (`COUNTERS`).
    imaging, noise, navigator, reference, reverse
        What a readout is for; ``reference`` are calibration lines of parallel imaging (which may
        be imaging too), ``reverse`` those measured against the readout direction.
    samples, coils, centre
        Samples of each readout, its coils, and the sample with DC.
    position, directions
        Centre of the slice in LPS mm ``(n, 3)``; unit vectors ``(n, 3, 3)``: rows are slice, phase
        and read direction.
    load
        Samples of readout ``i``, complex64 ``(coils, samples)``, in the order of time.
    """

    counters: dict[str, Array]
    imaging: Array
    noise: Array
    navigator: Array
    reference: Array
    reverse: Array
    samples: Array
    coils: Array
    centre: Array
    position: Float
    directions: Float
    load: Callable[[int], Array]

    def __len__(self) -> int:
        return len(self.imaging)


@dataclass(frozen=True)
class Stack:
    """Parallel slices: their counters in the order of z, the grid, and the sign of each axis."""

    slices: tuple[int, ...]
    grid: Grid
    signs: tuple[int, int, int]


def placed(readouts: Readouts, encoding: Encoding, chosen: Array, name: str) -> list[Stack]:
    """Slices that share their directions and lie evenly become one stack, others one each."""
    _check_geometry(readouts, chosen, name)
    slices = readouts.counters["slice"][chosen]
    first = {int(s): int(chosen[np.argmax(slices == s)]) for s in np.unique(slices)}
    groups: list[list[int]] = []
    for s, at in first.items():
        for group in groups:
            other = readouts.directions[first[group[0]]]
            if np.abs(readouts.directions[at] - other).max() < 1e-3:
                group.append(s)
                break
        else:
            groups.append([s])
    if encoding.dimensions == 3:
        groups = [[s] for group in groups for s in group]  # slabs
    found: list[Stack] = []
    for group in groups:
        places = np.array([readouts.position[first[s]] for s in group], np.float64)
        frame = readouts.directions[first[group[0]]].astype(np.float64)
        signs = _signs(frame)
        along = places @ (frame[0] * signs[0])
        order = np.argsort(along)
        gaps = np.diff(along[order])
        ordered = [group[i] for i in order]
        even = len(gaps) == 0 or (gaps.min() > 1e-3 and np.ptp(gaps) < 0.02 * gaps.mean())
        drift = places[order] - np.outer(along[order], frame[0] * signs[0])
        even = even and np.abs(drift - drift[0]).max() < 0.5
        parts = [ordered] if even else [[s] for s in ordered]
        for part in parts:
            step = float(gaps.mean()) if len(part) > 1 else encoding.thickness
            where = readouts.position[first[part[0]]].astype(np.float64)
            grid = _grid(encoding, len(part), frame, signs, step, where)
            found.append(Stack(tuple(part), grid, signs))
    return found


def _signs(frame: Float) -> tuple[int, int, int]:
    """For slice, phase and read direction: 1 where it runs the way a picture is looked at, or -1.

    In the plane to the left, the back or the feet; across to the left, the back or the head.
    """
    wanted = np.array([[1, 1, 1], [1, 1, -1], [1, 1, -1]])
    main = np.argmax(np.abs(frame), axis=1)
    z, y, x = (1 if wanted[i, m] * frame[i, m] > 0 else -1 for i, m in enumerate(main))
    return z, y, x


def _grid(
    encoding: Encoding,
    slices: int,
    frame: Float,
    signs: tuple[int, int, int],
    step: float,
    first: Float,
) -> Grid:
    voxel = [f / n for f, n in zip(encoding.field_mm, encoding.matrix, strict=True)]
    shape = encoding.image
    if encoding.dimensions == 2:
        voxel[0] = step
        shape = (slices, *shape[1:])
    axes = frame.T * np.array(signs)
    centre = np.array([0 if encoding.dimensions == 2 else shape[0] // 2,
                       shape[1] // 2, shape[2] // 2])  # fmt: skip
    origin = first - axes @ (np.array(voxel) * centre)
    return Grid.from_spacing(
        shape, voxel, origin=origin.tolist(), direction=axes,
        frame_of_reference=encoding.frame_of_reference,
    )  # fmt: skip


def _check_geometry(readouts: Readouts, chosen: Array, name: str) -> None:
    directions, position = readouts.directions[chosen], readouts.position[chosen]
    if not (np.isfinite(directions).all() and np.isfinite(position).all()):
        raise CorruptFile(f"{name} has positions or directions that are not finite")
    gram = directions @ directions.transpose(0, 2, 1)
    if np.abs(gram - np.eye(3)).max() > 1e-2:
        raise CorruptFile(
            f"{name} has gradient directions that are not at right angles, such as "
            f"{directions[0].round(3).tolist()}"
        )


def demand_cartesian(trajectory: str, name: str) -> None:
    """Refuse a trajectory that the file does not hold.

    A twix file says that its readouts are spokes or arms and how many; which angles or which
    gradients they had is the sequence's secret, and a wrong guess gives a wrong picture.
    """
    if trajectory != "cartesian":
        raise UnsupportedFormat(
            f"{name} was measured along a {trajectory} trajectory, whose angles and gradients are "
            "known to the sequence and not written into the file; convert it to ISMRMRD with the "
            "trajectory of the sequence (siemens_to_ismrmrd), or make an Acquisition of the "
            "samples with acquire.mri.noncartesian.NonCartesianScan(trajectory=...)"
        )
