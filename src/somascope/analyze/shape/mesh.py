"""Closed surfaces of triangles and closed polygons, in one form, and what is told from them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from somascope.analyze.shape import kernels
from somascope.analyze.shape.frame import Frame
from somascope.core.grid import Array, Float


@dataclass(frozen=True, eq=False)
class Mesh:
    """Points and faces that turn outwards.

    Parameters
    ----------
    points
        ``(n, d)`` in mm, d = 2 or 3.
    faces
        ``(m, d)``: triangles, or sides of polygons; int32.
    parts
        ``(n,)``: which body a point is of, from 0.
    """

    points: Float
    faces: Array
    parts: Array

    @property
    def bodies(self) -> int:
        """How many bodies there are."""
        return int(self.parts.max()) + 1

    @cached_property
    def laplacian(self) -> sparse.csr_matrix:
        """Degree less adjacency of the points along the faces' sides, ``(n, n)``."""
        n, d = len(self.points), self.faces.shape[1]
        sides = [self.faces[:, [i, (i + 1) % d]] for i in range(d if d == 3 else 1)]
        a, b = np.concatenate(sides).T
        ones = np.ones(2 * len(a))
        graph = sparse.coo_matrix((ones, (np.r_[a, b], np.r_[b, a])), (n, n)).tocsr()
        graph.data[:] = 1.0
        degree = np.asarray(graph.sum(axis=1)).ravel()
        return sparse.csr_matrix(sparse.diags(degree) - graph)

    def moved(self, points: Float) -> Mesh:
        """The same faces between other points."""
        return replace(self, points=points)


def normals(points: Float, faces: Array) -> Float:
    """Unit normals ``(n, d)`` that point outwards, each the mean of its faces' by their size."""
    if faces.shape[1] == 2:
        along = points[faces[:, 1]] - points[faces[:, 0]]
        each = np.stack([along[:, 1], -along[:, 0]], axis=1)
    else:
        a, b, c = (points[faces[:, i]] for i in range(3))
        each = np.cross(b - a, c - a)
    out = np.zeros_like(points)
    for i in range(faces.shape[1]):
        np.add.at(out, faces[:, i], each)
    return out / np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-12)


def content(points: Float, faces: Array) -> float:
    """Signed area (mm2) or volume (mm3) inside; negative where faces turn inwards."""
    if faces.shape[1] == 2:
        a, b = points[faces[:, 0]], points[faces[:, 1]]
        return float((a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).sum() / 2)
    a, b, c = (points[faces[:, i]] for i in range(3))
    return float(np.einsum("ij,ij->", a, np.cross(b, c)) / 6)


def outward(points: Float, faces: Array) -> Array:
    """``faces`` turned round where they enclose a negative content."""
    return faces if content(points, faces) >= 0 else np.ascontiguousarray(faces[:, ::-1])


def joined(meshes: list[Mesh]) -> Mesh:
    """Several bodies as one mesh with parts 0, 1, ..."""
    starts = np.cumsum([0, *(len(m.points) for m in meshes[:-1])])
    return Mesh(
        np.concatenate([m.points for m in meshes]),
        np.concatenate([m.faces + s for m, s in zip(meshes, starts, strict=True)]).astype(np.int32),
        np.concatenate([np.full(len(m.points), i, np.uint8) for i, m in enumerate(meshes)]),
    )


def largest(points: Float, faces: Array) -> tuple[Float, Array]:
    """The connected piece with the most points, renumbered."""
    n = len(points)
    a, b = faces[:, 0], faces[:, 1]
    more = (a, b) if faces.shape[1] == 2 else (np.r_[a, b], np.r_[b, faces[:, 2]])
    graph = sparse.coo_matrix((np.ones(len(more[0])), more), (n, n))
    _, piece = connected_components(graph, directed=False)
    kept = piece == np.bincount(piece).argmax()
    number = np.cumsum(kept) - 1
    return points[kept], number[faces[kept[a]]].astype(np.int32)


def filled(mesh: Mesh, frame: Frame, shape: tuple[int, int, int]) -> Array:
    """Voxels whose centres lie inside: 0 outside, 1 + part inside, ``(nz, ny, nx)`` uint8.

    Where bodies overlap the later one has the voxel.
    """
    out = np.zeros(shape, np.uint8)
    index = frame.index(mesh.points)
    for part in range(mesh.bodies):
        turns = np.zeros((*shape[:2], shape[2] + 1), np.int32)
        faces = mesh.faces[mesh.parts[mesh.faces[:, 0]] == part]
        kernels.fill(index, np.ascontiguousarray(faces, np.int32), turns)
        out[np.cumsum(turns, axis=2)[..., :-1] != 0] = part + 1
    return out
