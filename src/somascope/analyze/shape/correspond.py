"""The same points on every shape: a template is laid on each surface and bent to it.

Pose first (closest points, both ways), then an elastic fit that begins stiff and ends soft: points
are pulled to the closest border whose normal agrees, and every piece of border pulls the point
that is closest to it, so that ends are reached (non-rigid ICP; Amberg, Romdhani and Vetter, CVPR
2007). Or by registration of the distance fields, and the last soft part after it.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import splu
from scipy.spatial import KDTree

from somascope.analyze.register.engine import register
from somascope.analyze.register.transform import points as points_through
from somascope.analyze.shape.bodies import Surface
from somascope.analyze.shape.mesh import Mesh, normals
from somascope.analyze.shape.procrustes import Similarity, size, superimposed
from somascope.core import Grid, Image
from somascope.core.grid import Array, Float

STIFFNESS = (60.0, 30.0, 15.0, 8.0, 4.0, 2.0, 1.0, 0.6, 0.4)
"""Weight of the elastic energy beside the pull, step by step."""

SOFT = 6
"""Of them, where a template begins that lies well already."""

TURNS = 12
"""Starting angles in the plane, where a shape may lie any way round."""

ACROSS = 48
"""Voxels across the grids on which two bodies are registered."""


class Elastic:
    """A mesh's elastic energy, factorised once for all shapes."""

    def __init__(self, mesh: Mesh) -> None:
        self.mesh = mesh
        eye = sparse.eye(len(mesh.points), format="csc")
        each = [splu(sparse.csc_matrix(eye + k * mesh.laplacian)) for k in STIFFNESS]
        self.solvers = [one.solve for one in each]

    def evened(self, values: Float, level: int = -1) -> Float:
        """Values ``(n, ...)`` smoothed over the mesh."""
        flat = np.ascontiguousarray(values.reshape(len(values), -1), np.float64)
        return self.solvers[level](flat).reshape(values.shape)


def pulled(points: Float, mesh: Mesh, found: Sequence[Surface]) -> Float:
    """For each point ``(n, d)`` the place on its surface that it is pulled to."""
    out = np.empty_like(points)
    outwards = normals(points, mesh.faces)
    for part, surface in enumerate(found):
        mine = np.flatnonzero(mesh.parts == part)
        p, n = points[mine], outwards[mine]
        nearest = np.asarray(surface.tree.query(p, k=min(6, len(surface.points)))[1])
        agrees = np.einsum("ijk,ik->ij", surface.normals[nearest], n) > 0.2
        first = nearest[np.arange(len(p)), agrees.argmax(axis=1)]
        target = surface.points[first]
        owner = np.asarray(KDTree(p).query(surface.points)[1])
        fits = np.einsum("ij,ij->i", surface.normals, n[owner]) > 0.2
        owner, there = owner[fits], surface.points[fits]
        count = np.bincount(owner, minlength=len(p))
        sums = np.stack([np.bincount(owner, c, minlength=len(p)) for c in there.T], axis=1)
        drawn = sums / np.maximum(count, 1)[:, None]
        out[mine] = np.where(count[:, None] > 0, 0.5 * (target + drawn), target)
    return out


def posed(mesh: Mesh, found: Sequence[Surface], *, anyhow: bool = False) -> Float:
    """The mesh's points moved, turned and scaled onto the surfaces.

    ``anyhow``: the body may lie any way round; else it is begun as the mesh lies.
    """
    border = np.concatenate([s.points for s in found])
    centre, d = border.mean(axis=0), border.shape[1]
    begin = mesh.points - mesh.points.mean(axis=0)
    scale = size(border) / size(begin)
    best, least = begin, np.inf
    for turn in _turns(begin, border - centre) if anyhow else [np.eye(d)]:
        points = Similarity(scale, turn, centre)(begin)
        for _ in range(12):
            points = superimposed(begin, pulled(points, mesh, found))(begin)
        left = float(np.linalg.norm(pulled(points, mesh, found) - points, axis=1).mean())
        if left < least:
            best, least = points, left
    return best


def _turns(points: Float, target: Float) -> list[Float]:
    if points.shape[1] == 2:
        angles = np.arange(TURNS) * 2 * np.pi / TURNS
        return [np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]]) for a in angles]
    axes = [np.linalg.svd(p, full_matrices=False)[2].T for p in (points, target)]
    found = []
    for signs in product((1.0, -1.0), repeat=3):
        turn = axes[1] @ np.diag(signs) @ axes[0].T
        if np.linalg.det(turn) > 0:
            found.append(turn)
    return [np.eye(3), *found]


def bent(
    points: Float, elastic: Elastic, found: Sequence[Surface], *, begin: int = 0
) -> Float:  # fmt: skip
    """Posed points ``(n, d)`` bent onto the surfaces, and at last on their zero level."""
    mesh = elastic.mesh
    rest = points
    for level in range(begin, len(STIFFNESS)):
        for _ in range(2):
            pull = pulled(points, mesh, found) - rest
            points = rest + elastic.evened(pull, level)
    for _ in range(3):
        points = _onto(points, mesh.parts, found)
        # Points slide along the surface to where their neighbours leave room, as in the template.
        shift = points - rest
        shift = elastic.evened(shift) - shift
        out = normals(points, mesh.faces)
        points = points + shift - (shift * out).sum(axis=1, keepdims=True) * out
    return _onto(points, mesh.parts, found)


def _onto(points: Float, parts: Array, found: Sequence[Surface]) -> Float:
    out = points.copy()
    for part, surface in enumerate(found):
        mine = parts == part
        out[mine] = surface.field.snapped(points[mine])
    return out


def corresponding(elastic: Elastic, found: Sequence[Surface], *, anyhow: bool = False) -> Float:
    """The points ``(n, d)`` of the template's kind on one mask's surfaces."""
    return bent(posed(elastic.mesh, found, anyhow=anyhow), elastic, found)


def registered(elastic: Elastic, found: Sequence[Surface], reference: Sequence[Surface]) -> Float:
    """As `corresponding`, the way told by registering the distance fields of the two.

    ``reference`` are the surfaces that the template was made on. Both are drawn about their own
    middle and registered by `analyze.register`; the soft end of the elastic fit follows.
    """
    mesh = elastic.mesh
    d = mesh.points.shape[1]
    (fixed, begin), (moving, end) = _drawn(reference), _drawn(found)
    warp = register(fixed, moving, "brain")
    world = np.zeros((len(mesh.points), 3))
    world[:, :d] = (mesh.points - begin)[:, ::-1] if d == 2 else mesh.points - begin
    carried = points_through(warp, world)[:, :d]
    return bent((carried[:, ::-1] if d == 2 else carried) + end, elastic, found, begin=SOFT)


def _drawn(found: Sequence[Surface]) -> tuple[Image, Float]:
    """The bodies' distance fields, bounded, on a cubic grid about their middle, and that middle."""
    border = np.concatenate([s.points for s in found])
    centre, d = border.mean(axis=0), border.shape[1]
    step = 2.7 * float(np.abs(border - centre).max()) / (ACROSS - 1)
    line = (np.arange(ACROSS) - (ACROSS - 1) / 2) * step
    axes = np.stack(np.meshgrid(*[line] * d, indexing="ij"), axis=-1).reshape(-1, d)
    places = centre + (axes if d == 2 else axes[:, ::-1])
    values = np.zeros(len(places), np.float32)
    for part, surface in enumerate(found):
        values -= np.tanh(surface.field.at(places)[0] / (4 * step)) / (part + 1)
    shape = (1, ACROSS, ACROSS) if d == 2 else (ACROSS,) * 3
    origin = (line[0], line[0], 0.0 if d == 2 else line[0])
    grid = Grid.from_spacing(shape, (step,) * 3, origin=origin)
    return Image(values.reshape(shape), grid), centre
