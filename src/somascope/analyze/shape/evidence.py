"""Where the border is, told along each point's normal from what images looked like in training.

Two kinds, both with one cost per offset: the Mahalanobis distance of normalised slopes (Cootes,
Taylor, Cooper and Graham, 1995), and a learned border: for each point a linear discriminant says
for every sample of the line whether it is inside, from values there and beside, at two scales, and
the offset is wanted at which that agrees best with how inside and outside followed in training.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from somascope.analyze.register.levels import scaled
from somascope.analyze.shape import kernels
from somascope.analyze.shape.bodies import Surface
from somascope.analyze.shape.correspond import Elastic
from somascope.analyze.shape.frame import Frame
from somascope.analyze.shape.mesh import Mesh, normals
from somascope.core import QUIET, Image, Progress
from somascope.core.errors import GeometryError, ParameterError
from somascope.core.grid import Array, Float
from somascope.process.filters import smooth

MOST_LEVELS = 3
REACH = 6
"""Offsets looked at on each side, in steps of the level."""

SPREAD = 2.0
"""Steps (standard deviation) by which a border is expected off before it is looked for."""

HALF = 4
"""Slopes on each side in a profile."""

WINDOW = 4
"""Samples on each side that a border is told from."""

BESIDE = 3
"""The farthest sample that a sample's own features look at."""

MIDDLE = REACH + WINDOW + BESIDE
"""Samples on each side of a line."""

FEATURES = 9
"""Of each sample, see `features`."""

SHARED = 4
"""Level of the elastic energy by which neighbours on the surface share what they saw."""


def volume_of(image: Image, what: str = "image") -> Array:
    """Its values ``(nz, ny, nx)`` float32, most of them between 0 and 1."""
    wide = [(a.name, n) for a, n in zip(image.axes, image.data.shape, strict=False) if n > 1]
    if wide:
        name, n = wide[0]
        raise GeometryError(
            f"the {what} has {n} entries along {name!r}; choose one with image.at({name}=0), or "
            "make a colour image grey"
        )
    if image.data.dtype.kind == "c":
        raise ParameterError(f"the {what} is complex; take its magnitude first")
    values = scaled(image.data.reshape(image.grid.shape))
    if not float(values.std()) > 1e-6:
        raise ParameterError(f"the {what} has one value everywhere; there is no border to see")
    return np.ascontiguousarray(values, np.float32)


def blurred(volume: Array, spacing: Sequence[float], step: float, *, levels: int) -> list[Array]:
    """The volume for ``step`` mm and its doubles: ``levels`` and one more, finest first."""
    out: list[Array] = []
    for level in range(levels + 1):
        sigma = [
            0.0 if n == 1 else 0.5 * step * 2**level / s
            for n, s in zip(volume.shape, spacing, strict=True)
        ]
        sigma = [s if s > 0.4 else 0.0 for s in sigma]
        calm = smooth(volume, (sigma[0], sigma[1], sigma[2])) if any(sigma) else volume
        out.append(np.ascontiguousarray(calm, np.float32))
    return out


def sampled(volume: Array, frame: Frame, points: Float, directions: Float) -> Array:
    """Lines ``(n, 2 MIDDLE + 1)`` through points along directions ``(n, d)`` in mm per sample."""
    out = np.empty((len(points), 2 * MIDDLE + 1), np.float32)
    kernels.lines(volume, frame.index(points), frame.steps(directions), out)
    return out


def features(fine: Array, coarse: Array) -> Array:
    """What is known of each sample: ``(n, 2 (REACH + WINDOW) + 1, FEATURES)`` float32.

    Values count by the mean and the deviation of all lines: scanners and coils differ.
    """
    m = fine.shape[1]
    middle, spread = fine.mean(), max(float(fine.std()), 1e-4)
    fine, coarse = (fine - middle) / spread, (coarse - middle) / spread

    def at(values: Array, shift: int) -> Array:
        return values[:, BESIDE + shift : m - BESIDE + shift]

    v, q = at(fine, 0), at(coarse, 0)
    return np.stack(
        [
            v, at(fine, -1), at(fine, 1), at(fine, -3), at(fine, 3), q, v * v, q * q,
            np.abs(at(fine, 1) - at(fine, -1)),
        ], axis=-1,
    )  # fmt: skip


def learn(
    images: Sequence[Image],
    found: Sequence[Sequence[Surface]],
    points: Float,
    mesh: Mesh,
    *,
    step: float,
    levels: int,
    progress: Progress = QUIET,
) -> dict[str, Array]:
    """The arrays of both kinds from images, their surfaces, and the points ``(s, n, d)`` on them.

    ``profile_mean`` ``(l, n, k)``, ``profile_inverse`` ``(l, n, k, k)``, ``boundary``
    ``(l, n, f + 1)`` with the constant at the end, ``pattern`` ``(l, n, 2 WINDOW + 1)``: how often
    the sample at that offset from the border was inside. ``l`` levels, the finest first.
    """
    n = len(mesh.points)
    elastic = Elastic(mesh)
    slopes = np.empty((levels, len(images), n, 2 * HALF + 1), np.float32)
    moments = [_Moments(n) for _ in range(levels)]
    for i, image in enumerate(progress.over(images, "learning borders")):
        frame = Frame.of(image.grid)
        volumes = blurred(
            volume_of(image, f"image {i + 1}"), image.grid.spacing, step, levels=levels
        )
        out = normals(points[i], mesh.faces)
        for level in range(levels):
            along = out * step * 2**level
            fine = sampled(volumes[level], frame, points[i], along)
            coarse = sampled(volumes[level + 1], frame, points[i], along)
            slopes[level, i] = _normalised(fine)
            moments[level].add(features(fine, coarse), _inside(found[i], mesh, points[i], along))
    means, inverses = zip(*(_gaussian(s) for s in slopes), strict=True)
    learned = [m.solved(elastic) for m in moments]
    return {
        "profile_mean": np.stack(means), "profile_inverse": np.stack(inverses),
        "boundary": np.stack([b for b, _ in learned]), "pattern": np.stack([p for _, p in learned]),
    }  # fmt: skip


def _normalised(lines: Array) -> Array:
    """Slopes about the middle ``(n, 2 HALF + 1)``, divided by the sum of their sizes."""
    m = lines.shape[1] // 2
    apart = lines[:, m - HALF + 1 : m + HALF + 2] - lines[:, m - HALF - 1 : m + HALF]
    return apart / (np.abs(apart).sum(axis=1, keepdims=True) + np.float32(1e-3))


def _gaussian(slopes: Array) -> tuple[Array, Array]:
    """Mean and inverse covariance of each point's profiles ``(s, n, k)``.

    Few images do not tell a covariance: it is shrunk towards the mean of all points'.
    """
    s, _, k = slopes.shape
    mean = slopes.mean(axis=0)
    apart = (slopes - mean).astype(np.float64)
    own = np.einsum("sni,snj->nij", apart, apart) / max(s - 1, 1)
    share = k / (k + s)
    both = (1 - share) * own + share * own.mean(axis=0)
    both += 0.02 * np.trace(own.mean(axis=0)) / k * np.eye(k)
    return mean.astype(np.float32), np.linalg.inv(both).astype(np.float32)


def _inside(found: Sequence[Surface], mesh: Mesh, points: Float, along: Float) -> Array:
    """Whether each sample of the lines' features is inside its point's body, ``(n, m)``."""
    out = np.empty((len(points), 2 * MIDDLE + 1), np.float32)
    for part, surface in enumerate(found):
        mine = mesh.parts == part
        out[mine] = sampled(surface.field.values, surface.field.frame, points[mine], along[mine])
    return out[:, BESIDE:-BESIDE] < 0


class _Moments:
    """Counts, sums and squares of features inside and outside, point by point."""

    def __init__(self, n: int) -> None:
        f = FEATURES
        self.counts = np.zeros((2, n))
        self.sums = np.zeros((2, n, f))
        self.squares = np.zeros((n, f, f))
        self.pattern = np.zeros((n, 2 * WINDOW + 1))
        self.images = 0

    def add(self, values: Array, inside: Array) -> None:
        values = values.astype(np.float64)
        for k, chosen in enumerate((inside, ~inside)):
            self.counts[k] += chosen.sum(axis=1)
            self.sums[k] += np.einsum("nmf,nm->nf", values, chosen.astype(np.float64))
        self.squares += np.einsum("nmf,nmg->nfg", values, values)
        self.images += 1
        middle = inside.shape[1] // 2
        self.pattern += inside[:, middle - WINDOW : middle + WINDOW + 1]

    def solved(self, elastic: Elastic) -> tuple[Array, Array]:
        """Weights ``(n, f + 1)`` whose sum is the log odds of inside, and the pattern."""
        total = self.counts.sum(axis=0).mean()
        counts = np.stack([elastic.evened(c, SHARED) for c in self.counts])
        counts = np.maximum(counts, 1e-3 * total)
        means = np.stack([
            elastic.evened(s, SHARED) / c[:, None] for s, c in zip(self.sums, counts, strict=True)
        ])  # fmt: skip
        squares = elastic.evened(self.squares, SHARED)
        both = counts.sum(axis=0)[:, None, None]
        within = squares - np.einsum("cn,cnf,cng->nfg", counts, means, means)
        within = within / both
        size = np.einsum("nff->nf", within).mean(axis=0)
        within += np.eye(len(size)) * (0.03 * size + 1e-5)
        weights = np.linalg.solve(within, (means[0] - means[1])[..., None])[..., 0]
        constant = -0.5 * np.einsum("nf,nf->n", weights, means[0] + means[1])
        share = np.clip(elastic.evened(self.pattern, SHARED) / self.images, 0.02, 0.98)
        return (
            np.concatenate([weights, constant[:, None]], axis=1).astype(np.float32),
            share.astype(np.float32),
        )


def costs(
    kind: str,
    evidence: Mapping[str, Array],
    level: int,
    volumes: Sequence[Array],
    frame: Frame,
    points: Float,
    directions: Float,
) -> Array:
    """Cost ``(n, 2 REACH + 1)`` of each offset along the directions; less the likelier.

    Half a negative log likelihood in both kinds: neighbouring samples are not independent.
    """
    fine = sampled(volumes[level], frame, points, directions)
    total = np.zeros((len(points), 2 * REACH + 1), np.float32)
    if kind in ("profile", "both"):
        cut = MIDDLE - REACH - HALF - 1
        out = np.empty((len(points), 2 * REACH + 1), np.float32)
        kernels.mahalanobis(
            np.ascontiguousarray(fine[:, cut : fine.shape[1] - cut]),
            evidence["profile_mean"][level], evidence["profile_inverse"][level], out,
        )  # fmt: skip
        total += out / 4
    if kind == "profile":
        return total
    coarse = sampled(volumes[level + 1], frame, points, directions)
    weights = evidence["boundary"][level]
    odds = np.einsum("nmf,nf->nm", features(fine, coarse), weights[:, :-1]) + weights[:, -1:]
    odds = np.clip(odds, -6, 6)
    # Of inside -log p is log(1 + exp(-odds)); of outside the same with odds more.
    far = np.logaddexp(0, -odds)
    pattern = evidence["pattern"][level]
    windows = np.lib.stride_tricks.sliding_window_view(far, 2 * WINDOW + 1, axis=1)
    other = np.lib.stride_tricks.sliding_window_view(odds, 2 * WINDOW + 1, axis=1)
    borders = windows.sum(axis=2) + np.einsum("ntj,nj->nt", other, 1 - pattern)
    return total + borders.astype(np.float32) / 2


def told(cost: Array) -> tuple[Float, Float]:
    """The offset expected under the costs, in steps, and how sure it is: ``(n,)`` each.

    The surety is the inverse variance less that of an offset of which nothing is known.
    """
    t = np.arange(cost.shape[1]) - cost.shape[1] // 2
    prior = 0.5 * (t / SPREAD) ** 2
    both = cost.astype(np.float64) + prior
    p = np.exp(both.min(axis=1, keepdims=True) - both)
    p /= p.sum(axis=1, keepdims=True)
    offset = p @ t
    variance = p @ (t * t) - offset**2
    nothing = float(np.exp(-prior) @ (t * t) / np.exp(-prior).sum())
    sure = 1 / (variance + 0.25) - 1 / (nothing + 0.25)
    return offset, np.maximum(sure, 0.0)
