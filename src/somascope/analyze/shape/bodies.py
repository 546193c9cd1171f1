"""From a mask to the surfaces of its segments, and from a surface to a mesh with few points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial import KDTree

from somascope.analyze.measure.regions import Region, regions
from somascope.analyze.shape import kernels
from somascope.analyze.shape.frame import Frame, dimensions
from somascope.analyze.shape.mesh import Mesh, joined, largest, outward
from somascope.core import Mask
from somascope.core.errors import GeometryError, ParameterError
from somascope.core.grid import Array, Float
from somascope.process.components import fill_holes, label
from somascope.process.distance import distance
from somascope.process.filters import smooth

MARGIN = 4
"""Voxels kept around a body."""

BLUR = 0.6
"""Voxels (standard deviation) over which the steps of a voxel border are evened out."""

MOST = 96
"""Voxels along an axis; the distance field of a larger body is thinned."""


@dataclass(frozen=True, eq=False)
class Field:
    """A value that is negative inside a body, ``(nz, ny, nx)`` float32, and where it is."""

    values: Array
    frame: Frame

    def at(self, places: Float) -> tuple[Array, Float]:
        """Values ``(n,)`` at places ``(n, d)``, and the slope there in 1/mm ``(n, d)``."""
        index = self.frame.index(places)
        out = np.empty((len(index), 3), np.float32)
        slope = np.zeros_like(index)
        for axis in range(3):
            if self.values.shape[axis] == 1:
                continue
            half = np.zeros_like(index)
            half[:, axis] = 0.5
            kernels.lines(self.values, index, half, out)
            slope[:, axis] = out[:, 2] - out[:, 0]
        return out[:, 1].copy(), slope @ self.frame.matrix

    def snapped(self, places: Float, *, steps: int = 3) -> Float:
        """The places moved along the slope to where the field is 0."""
        for _ in range(steps):
            value, slope = self.at(places)
            square = np.maximum((slope**2).sum(axis=1), 0.05)
            step = -(value / square)[:, None] * slope
            size = np.linalg.norm(step, axis=1, keepdims=True)
            longest = 2.0 * np.linalg.norm(self.frame.back, axis=0).max()
            places = places + step * np.minimum(1.0, longest / np.maximum(size, 1e-9))
        return places


@dataclass(frozen=True, eq=False)
class Surface:
    """One body: its field, and points ``(m, d)`` of its border with their outward normals."""

    field: Field
    points: Float
    normals: Float
    faces: Array
    tree: KDTree


def numbers_of(mask: Mask, segments: Sequence[int] = ()) -> tuple[int, ...]:
    """The segments asked for, or all that the mask names."""
    there = [s.number for s in mask.segments]
    missing = [n for n in segments if n not in there]
    if missing:
        raise ParameterError(f"the mask has no segment {missing[0]}; it has {there}")
    return tuple(segments) or tuple(there)


def surfaces(mask: Mask, numbers: Sequence[int]) -> list[Surface]:
    """The largest body of each segment, without its holes.

    Raises
    ------
    ParameterError
        A segment that is not there or has no voxel.
    """
    frame = Frame.of(mask.grid)
    made: list[Surface] = []
    for number in numbers:
        (region,) = regions(mask, segment=number)
        labels, _ = label(region.inside, connectivity=6)
        made.append(_surface(fill_holes(labels == 1), region, frame))
    return made


def signed(inside: Array, spacing: tuple[float, float, float]) -> Array:
    """Distance in mm to the border, negative inside; steps of voxels evened out."""
    far = distance(~inside, spacing) - distance(inside, spacing)
    return smooth(far, (0.0 if inside.shape[0] == 1 else BLUR, BLUR, BLUR))


def field_of(
    inside: Array, start: Sequence[int], frame: Frame, spacing: tuple[float, ...]
) -> Field:
    """The distance field of voxels ``inside`` that begin at ``start`` of the frame's array."""
    margin = np.array([0 if frame.d == 2 else MARGIN, MARGIN, MARGIN])
    padded = np.pad(inside, [(m, m) for m in margin])
    values = signed(padded, (spacing[0], spacing[1], spacing[2]))
    there = frame.moved(np.asarray(start) - margin)
    step = max(1, -(-max(inside.shape) // MOST))
    if step > 1:
        values = values[:: 1 if frame.d == 2 else step, ::step, ::step]
        there = there.moved(np.zeros(3), step=step)
    return Field(np.ascontiguousarray(values, np.float32), there)


def _surface(inside: Array, region: Region, frame: Frame) -> Surface:
    field = field_of(inside, region.start, frame, region.grid.spacing)
    points, faces = bordered(field)
    if len(points) < 3 * frame.d:
        raise GeometryError(
            f"segment {region.segment.number} ({region.segment.label or 'unnamed'}) has "
            f"{int(inside.sum())} voxels; that is too few to tell a shape from. Leave the case out "
            "or resample the mask"
        )
    points = field.snapped(points, steps=1)
    _, slope = field.at(points)
    out = slope / np.maximum(np.linalg.norm(slope, axis=1, keepdims=True), 1e-9)
    few = slice(None, None, max(1, len(points) // 6000))
    return Surface(field, points[few], out[few], faces, KDTree(points[few]))


def bordered(field: Field) -> tuple[Float, Array]:
    """Points and faces of the field's zero level, one per voxel side that it crosses."""
    if field.frame.d == 2:
        from skimage.measure import find_contours

        found = find_contours(np.pad(field.values[0], 1, constant_values=1e3), 0.0)
        if not found:
            return np.zeros((0, 2)), np.zeros((0, 2), np.int32)
        line = max(found, key=len)[:-1] - 1
        points = field.frame.place(np.concatenate([np.zeros((len(line), 1)), line], axis=1))
        number = np.arange(len(points))
        faces = np.stack([number, np.roll(number, -1)], axis=1).astype(np.int32)
        return points, outward(points, faces)
    from skimage.measure import marching_cubes

    if field.values.min() >= 0:
        return np.zeros((0, 3)), np.zeros((0, 3), np.int32)
    solid = np.pad(field.values, 1, constant_values=float(field.values.max()) + 1)
    index, faces, _, _ = marching_cubes(solid, 0.0, allow_degenerate=False)
    points, faces = largest(field.frame.place(index - 1.0), faces.astype(np.int32))
    return points, outward(points, faces)


def templates(found: Sequence[Surface], count: int) -> Mesh:
    """A mesh of about ``count`` points in all, evenly over the surfaces."""
    sizes = [extent(s) for s in found]
    shares = [max(16, round(count * size / sum(sizes))) for size in sizes]
    return joined([_template(s, n) for s, n in zip(found, shares, strict=True)])


def extent(surface: Surface) -> float:
    """Length (mm) or area (mm2) of a surface."""
    points, faces = bordered(surface.field)
    corners = points[faces]
    if faces.shape[1] == 2:
        return float(np.linalg.norm(corners[:, 1] - corners[:, 0], axis=1).sum())
    across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    return float(np.linalg.norm(across, axis=1).sum() / 2)


def _template(surface: Surface, count: int) -> Mesh:
    if surface.field.frame.d == 2:
        line, faces = bordered(surface.field)
        line = line[np.r_[faces[:, 0], faces[0, 0]]]
        run = np.r_[0.0, np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))]
        at = np.linspace(0, run[-1], count, endpoint=False)
        points = np.stack([np.interp(at, run, c) for c in line.T], axis=1)
        number = np.arange(count)
        faces = np.stack([number, np.roll(number, -1)], axis=1).astype(np.int32)
        return Mesh(points, outward(points, faces), np.zeros(count, np.uint8))
    # Of marching cubes on a lattice of this spacing about 1.5 corners come per square of it.
    spacing = float(np.sqrt(1.5 * extent(surface) / count))
    points, faces = np.zeros((0, 3)), np.zeros((0, 3), np.int32)
    for _ in range(4):
        points, faces = bordered(_coarser(surface, spacing))
        if len(points) >= 16 and abs(len(points) / count - 1) < 0.08:
            break
        spacing *= float(np.clip(np.sqrt(max(len(points), 1) / count), 0.5, 2.0))
    mesh = Mesh(points, faces, np.zeros(len(points), np.uint8))
    around = mesh.laplacian
    degree = np.asarray(around.diagonal(), np.float64)
    for _ in range(12):  # slivers become even triangles
        points = surface.field.snapped(points - 0.6 * (around @ points) / degree[:, None], steps=1)
    return mesh.moved(points)


def _coarser(surface: Surface, spacing: float) -> Field:
    """The field on a cubic lattice about the surface."""
    low, high = surface.points.min(axis=0), surface.points.max(axis=0)
    shape = np.ceil((high - low) / spacing).astype(int) + 4
    origin = (low + high) / 2 - spacing * (shape - 1) / 2
    frame = Frame(np.eye(3) / spacing, -origin / spacing, np.eye(3) * spacing)
    index = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), -1).reshape(-1, 3)
    values, _ = surface.field.at(frame.place(index))
    # Beyond the field's margin its border goes on, which is outside.
    return Field(values.reshape(tuple(shape)).astype(np.float32), frame)


def one_dimension(masks: Sequence[Mask]) -> int:
    """2 or 3, the same for all; `GeometryError` names the first that differs."""
    first = dimensions(masks[0].grid)
    for k, mask in enumerate(masks):
        if dimensions(mask.grid) != first:
            raise GeometryError(
                f"mask 1 is {first}-D {masks[0].grid.shape} and mask {k + 1} is "
                f"{dimensions(mask.grid)}-D {mask.grid.shape}; a model is of slices or of volumes"
            )
    return first
