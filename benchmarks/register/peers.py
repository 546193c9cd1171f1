"""The peers: each registers two images and gives the map from fixed to moving points.

Images of one slice are handed over as two-dimensional, with their own spacing from 0.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Literal, TypeAlias

import numpy as np
from scipy.ndimage import map_coordinates

from benchmarks.register.case import Array, Mapping
from somascope.core import Grid, Image

How: TypeAlias = Literal["rigid", "dense"]
Peer: TypeAlias = Callable[[Image, Image, How, bool], Mapping]
"""(fixed, moving, rigid or dense, whether the contrasts differ) to the map found."""

FLIP = np.diag([-1.0, -1.0, 1.0, 1.0])


class Frame:
    """Between LPS mm and the peer's own coordinates, x first: its own for a slice, else LPS."""

    def __init__(self, grid: Grid) -> None:
        self.grid = grid
        self.flat = grid.shape[0] == 1
        self.dimensions = 2 if self.flat else 3

    def inwards(self, points: Array) -> Array:
        """LPS mm ``(n, 3)`` to the peer's ``(n, d)``."""
        if not self.flat:
            return points
        return self.grid.to_index(points)[:, :0:-1] * np.asarray(self.grid.spacing)[:0:-1]

    def outwards(self, points: Array) -> Array:
        """The peer's ``(n, d)`` to LPS mm."""
        if not self.flat:
            return points
        index = (points / np.asarray(self.grid.spacing)[:0:-1])[:, ::-1]
        return self.grid.to_world(np.concatenate([np.zeros((len(index), 1)), index], axis=1))

    def placed(self, image: Any) -> Any:
        """Spacing, origin and direction given to a SimpleITK or ITK image."""
        grid = self.grid
        image.SetSpacing([float(s) for s in grid.spacing[::-1][: self.dimensions]])
        if not self.flat:
            image.SetOrigin([float(o) for o in grid.origin])
            image.SetDirection([float(v) for v in grid.direction[:, ::-1].ravel()])
        return image


def simple(image: Image) -> Any:
    """As a SimpleITK image of float32."""
    import SimpleITK as sitk  # noqa: N813

    data = np.asarray(image.data, np.float32)
    frame = Frame(image.grid)
    return frame.placed(sitk.GetImageFromArray(data[0] if frame.flat else data))


def displaced(field: Any, points: Array) -> Array:
    """Displacement of a SimpleITK vector image at points ``(n, d)`` in its coordinates."""
    import SimpleITK as sitk  # noqa: N813

    d = field.GetDimension()
    turn = np.asarray(field.GetDirection()).reshape(d, d) * np.asarray(field.GetSpacing())
    index = (points - np.asarray(field.GetOrigin())) @ np.linalg.inv(turn).T
    values = sitk.GetArrayFromImage(field).reshape(*field.GetSize()[::-1], d)
    at = index[:, ::-1].T
    return np.stack(
        [map_coordinates(values[..., i], at, order=1, mode="nearest") for i in range(d)], axis=-1
    )


def between(fixed: Image, moving: Image, own: Mapping) -> Mapping:
    """A map in the peer's coordinates as one in LPS mm."""
    from_, to = Frame(fixed.grid), Frame(moving.grid)
    return lambda points: to.outwards(own(from_.inwards(points)))


@contextmanager
def silent() -> Iterator[None]:
    """What compiled code writes to stdout goes to stderr: stdout is for the lines."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


def greedy(metric: str) -> Peer:
    """picsl-greedy with its usual steps, and ``metric`` in the dense part."""

    def run(fixed: Image, moving: Image, how: How, other: bool) -> Mapping:  # noqa: FBT001
        import picsl_greedy

        flat = fixed.grid.shape[0] == 1
        engine: Any = picsl_greedy.Greedy2D() if flat else picsl_greedy.Greedy3D()
        window = "2x2" if flat else "2x2x2"
        linear = "NMI" if other else f"NCC {window}"
        dense = f"NCC {window}" if metric == "NCC" or other else metric
        said = f"-V 0 -threads {os.cpu_count()} -i fixed moving"
        freedom = "-dof 6" if how == "rigid" else "-dof 12"
        with silent():
            engine.execute(
                f"{said} -a {freedom} -ia-image-centers -n 60x40x0 -m {linear} -o found",
                fixed=simple(fixed), moving=simple(moving), found=None,
            )  # fmt: skip
        matrix = np.asarray(engine["found"], np.float64)
        d = len(matrix) - 1
        turn = FLIP[:d, :d] if d == 3 else -np.eye(2)
        linear_part, shift = turn @ matrix[:d, :d] @ turn, turn @ matrix[:d, d]
        field: Any = None
        if how == "dense":
            with silent():
                engine.execute(f"{said} -it found -n 100x50x10 -m {dense} -o warp", warp=None)
            field = engine["warp"]

        def own(points: Array) -> Array:
            moved = points if field is None else points + displaced(field, points)
            return moved @ linear_part.T + shift

        return between(fixed, moving, own)

    return run


def simpleitk(fixed: Image, moving: Image, how: How, other: bool) -> Mapping:  # noqa: FBT001
    """SimpleITK: Mattes' information, then diffeomorphic demons (B-splines for two contrasts)."""
    import SimpleITK as sitk  # noqa: N813

    one, two = simple(fixed), simple(moving)
    d = one.GetDimension()
    kind = (
        (sitk.Euler2DTransform if d == 2 else sitk.Euler3DTransform)()
        if how == "rigid"
        else sitk.AffineTransform(d)
    )
    begin = sitk.CenteredTransformInitializer(
        one, two, kind, sitk.CenteredTransformInitializerFilter.GEOMETRY
    )
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(32)
    method.SetMetricSamplingStrategy(method.RANDOM)
    method.SetMetricSamplingPercentage(0.1 if d == 3 else 1.0, 1)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsGradientDescent(1.0, 200, 1e-6, 10)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel([4, 2, 1])
    method.SetSmoothingSigmasPerLevel([2, 1, 0])
    method.SetInitialTransform(begin, inPlace=False)
    linear = method.Execute(one, two)
    whole = sitk.CompositeTransform(linear)
    if how == "dense" and other:
        method = sitk.ImageRegistrationMethod()
        method.SetMetricAsMattesMutualInformation(32)
        method.SetMetricSamplingStrategy(method.RANDOM)
        method.SetMetricSamplingPercentage(0.1 if d == 3 else 1.0, 1)
        method.SetInterpolator(sitk.sitkLinear)
        method.SetOptimizerAsLBFGSB(numberOfIterations=40)
        method.SetShrinkFactorsPerLevel([4, 2])
        method.SetSmoothingSigmasPerLevel([2, 1])
        method.SetMovingInitialTransform(linear)
        mesh = sitk.BSplineTransformInitializer(one, [10] * d)
        method.SetInitialTransform(mesh, inPlace=False)
        whole = sitk.CompositeTransform([linear, method.Execute(one, two)])
    elif how == "dense":
        moved = sitk.Resample(two, one, linear, sitk.sitkLinear, 0.0)
        demons = sitk.DiffeomorphicDemonsRegistrationFilter()
        demons.SetStandardDeviations(1.5)
        field: Any = None
        for factor, steps in ((4, 100), (2, 50), (1, 15)):
            f, m = (sitk.SmoothingRecursiveGaussian(i, [factor / 2] * d) for i in (one, moved))
            f, m = (sitk.Shrink(i, [factor] * d) for i in (f, m))
            demons.SetNumberOfIterations(steps)
            field = demons.Execute(f, m, *([] if field is None else [sitk.Resample(field, f)]))
        whole = sitk.CompositeTransform([linear, sitk.DisplacementFieldTransform(field)])

    def own(points: Array) -> Array:
        return np.array([whole.TransformPoint([float(v) for v in p]) for p in points])

    return between(fixed, moving, own)


def installed(*, metric: str = "SSD") -> dict[str, Peer]:
    """Every peer that is there, by the name of its package; the others are named on stderr.

    ``metric``: greedy's in its dense part.
    """
    from benchmarks.register.apart import VARIABLES, apart, python_of

    found: dict[str, Peer] = {}
    own: tuple[tuple[str, str, Peer], ...] = (
        ("picsl-greedy", "picsl_greedy", greedy(metric)), ("SimpleITK", "SimpleITK", simpleitk)
    )  # fmt: skip
    for package, module, peer in own:
        try:
            __import__(module)
        except ImportError:
            print(f"register: {package} is not installed", file=sys.stderr)
            continue
        found[package] = peer
    for package in VARIABLES:
        if python_of(package) is not None:
            found[package] = partial(apart, package)
    return found
