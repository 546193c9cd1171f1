"""Whether an image is like those a model was trained on: plain facts of it, held against theirs.

Some forty numbers say how bright which part is, how the shades are spread, how fine the texture
is, how large the whole. Their mean and covariance over the training images are kept on the card;
an image whose Mahalanobis distance exceeds what images left out at training had is a stranger:
another organ, another direction, another kind of picture. Needs neither PyTorch nor the network.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from somascope.core import Image
from somascope.core.errors import CorruptFile
from somascope.core.grid import Array, Float
from somascope.models.prepare import channels_of, oriented

LEAST = 12
"""Images from which what is usual can be told."""
PATIENTS = 5
"""Patients from which it can be told."""
MOST = 96
"""Facts of a card."""
MARGIN = 1.5
"""Of the limit over the distances of images that were left out."""
FOLDS = 10
_STEADY = {"texture": 0.05, "size": 0.15, "aspect": 0.1, "level": 0.0}
"""Least deviation of facts by the start of their names; of others three hundredths."""


@dataclass(frozen=True)
class Familiar:
    """What is usual.

    Parameters
    ----------
    names
        Of the facts.
    mean, spread
        Of each fact over the training images; ``spread`` has a floor.
    precision
        Inverse covariance of the facts in units of their spread, shrunk by Ledoit and Wolf.
    limit
        The largest distance that is not strange.
    """

    names: tuple[str, ...]
    mean: tuple[float, ...]
    spread: tuple[float, ...]
    precision: tuple[tuple[float, ...], ...]
    limit: float

    def distance(self, image: Image) -> tuple[float, str]:
        """Root mean squared distance (about 1 is usual), and in words the fact that is furthest."""
        found = facts(image)
        x = np.array([found.get(n, np.nan) for n in self.names])
        x = np.where(np.isfinite(x), x, 1e3)
        z = (x - np.asarray(self.mean)) / np.asarray(self.spread)
        furthest = int(np.abs(z).argmax())
        side = "above" if z[furthest] > 0 else "below"
        said = f"its {self.names[furthest]} is {abs(z[furthest]):.1f} deviations {side} theirs"
        return float(np.sqrt(max(z @ np.asarray(self.precision) @ z, 0.0) / len(z))), said

    def to_record(self) -> dict[str, Any]:
        """For a card: one line of text for each row of the matrix."""
        return {
            "names": list(self.names), "mean": list(self.mean), "spread": list(self.spread),
            "precision": [" ".join(f"{v:.5g}" for v in row) for row in self.precision],
            "limit": self.limit,
        }  # fmt: skip

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Familiar:
        """Read what `to_record` wrote; `CorruptFile` where the numbers do not belong together."""
        made = cls(
            tuple(map(str, record["names"])), tuple(float(v) for v in record["mean"]),
            tuple(float(v) for v in record["spread"]),
            tuple(tuple(float(v) for v in str(row).split()) for row in record["precision"]),
            float(record["limit"]),
        )  # fmt: skip
        n = len(made.names)
        rows = [made.mean, made.spread, *made.precision]
        finite = all(np.isfinite(row).all() for row in rows) and 0 < made.limit < 1e6
        if not 1 <= n <= MOST or any(len(r) != n for r in rows) or len(rows) != n + 2 or not finite:
            raise CorruptFile("card.json: familiar holds numbers that do not belong together")
        if min(made.spread) <= 0:
            raise CorruptFile("card.json: familiar has a spread that is not positive")
        return made


def facts(image: Image) -> dict[str, float]:
    """The facts of an image by name; shades are parts of the way from its dark to its bright."""
    colour = _colour(image)
    image = channels_of(image, 1)
    image = oriented(image) if image.grid.shape[0] > 1 else image
    values = image.data[0]
    most = (64, 64, 64) if values.shape[0] > 1 else (1, 512, 512)
    few = values[tuple(slice(None, None, -(-n // m)) for n, m in zip(values.shape, most,
                                                                     strict=True))]  # fmt: skip
    few = few.astype(np.float32)
    low, middle, high = (float(v) for v in np.percentile(few, (1, 50, 99)))
    found = {"level at 1 %": low, "level at 50 %": middle, "level at 99 %": high, "colour": colour}
    if high <= low:
        low, high = float(few.min()), float(few.max())
    width = max(high - low, 1e-12)
    few = np.clip((few - np.float32(low)) / np.float32(width), 0, 1)
    for part in (10, 25, 50, 75, 90):
        found[f"shade at {part} %"] = float(np.percentile(few, part))
    parts = (2, 3, 3) if values.shape[0] > 1 else (1, 4, 4)
    for where, mean in np.ndenumerate(_blocks(few, parts)):
        found["brightness at " + " ".join(map(str, where))] = float(mean)
    for name, grain in zip(("fine", "medium", "coarse"), _grain(values, width), strict=True):
        found[f"texture, {name}"] = grain
    edges = np.log2(np.asarray(image.grid.shape) * np.asarray(image.grid.spacing))
    for name, edge in zip(("height", "depth", "width"), edges, strict=True):
        found[f"size in {name}"] = float(edge)
    found["aspect"] = float(edges[1] - edges[2])
    return found


def _colour(image: Image) -> float:
    """Mean distance of a pixel's channels, in parts of the largest value; gray has 0."""
    if [a.name for a in image.axes] != ["channel"] or image.data.shape[0] != 3:
        return 0.0
    few = image.data[:, :, ::2, ::2].astype(np.float32)
    return float((few.max(axis=0) - few.min(axis=0)).mean() / max(float(few.max()), 1e-6))


def _blocks(values: Array, parts: Sequence[int]) -> Array:
    """Means of ``parts`` equal blocks along each axis; short axes are repeated first."""
    for axis, count in enumerate(parts):
        n = values.shape[axis]
        if n < count:
            values = values.repeat(-(-count // n), axis=axis)
            n = values.shape[axis]
        edges = np.linspace(0, n, count + 1).astype(int)
        sums = np.add.reduceat(values, edges[:-1], axis=axis, dtype=np.float64)
        shape = [1] * values.ndim
        shape[axis] = count
        values = sums / np.diff(edges).reshape(shape)
    return values


def _grain(values: Array, width: float) -> list[float]:
    """log10 of the mean difference of neighbours in the plane, at 1, 2 and 4 pixels."""
    planes = values[:: max(values.shape[0] // 8, 1)][:12].astype(np.float32) / np.float32(width)
    found: list[float] = []
    for scale in range(3):
        if scale:
            h, w = (n // 2 * 2 for n in planes.shape[1:])
            if min(h, w) >= 4:
                cut = planes[:, :h, :w].reshape(len(planes), h // 2, 2, w // 2, 2)
                planes = cut.mean(axis=(2, 4))
        steps = [np.abs(np.diff(planes, axis=a)).mean() for a in (1, 2) if planes.shape[a] > 1]
        found.append(float(np.log10(np.mean(steps) + 1e-4)) if steps else -4.0)
    return found


def learned(
    images: Sequence[Mapping[str, float]],
    patients: Sequence[str],
    *,
    measured: bool,
    fixed: bool,
    colour: bool,
) -> Familiar | None:
    """What is usual among the `facts` of images.

    None where they are too few: fewer images than `LEAST`, of fewer patients than `PATIENTS`, or
    fewer than `LEAST` left whichever patients are left out.

    Parameters
    ----------
    patients
        Whose each is: the limit comes from images of patients that were left out.
    measured
        The size of a voxel is known, so the size of what is seen means something.
    fixed
        Values mean something as they are (Hounsfield units, 8-bit shades).
    colour
        The model looks at colours.
    """
    if len(images) < LEAST or len(set(patients)) < PATIENTS:
        return None
    names = [
        n for n in images[0]
        if (measured or not n.startswith("size")) and (fixed or not n.startswith("level"))
        and (colour or n != "colour")
    ]  # fmt: skip
    x = np.array([[row[n] for n in names] for row in images])
    whose = np.unique(np.asarray(patients), return_inverse=True)[1]
    fold = whose % min(FOLDS, int(whose.max()) + 1)
    left_out = [
        _distances(_fit(x[fold != f], names), x[fold == f]) for f in np.unique(fold)
        if (fold != f).sum() >= LEAST
    ]  # fmt: skip
    if not left_out:
        return None
    mean, spread, precision = _fit(x, names)
    limit = MARGIN * max(float(np.percentile(np.concatenate(left_out), 99)), 1.0)
    return Familiar(
        tuple(names), tuple(_short(mean)), tuple(_short(spread)),
        tuple(tuple(_short(row)) for row in precision), float(f"{limit:.5g}"),
    )  # fmt: skip


def _short(values: Float) -> list[float]:
    return [float(f"{v:.5g}") for v in values]


def _fit(x: Float, names: Sequence[str]) -> tuple[Float, Float, Float]:
    mean = x.mean(axis=0)
    least = np.array([_STEADY.get(n.split(" ")[0].rstrip(","), 0.03) for n in names])
    levels = np.array([n.startswith("level") for n in names])
    if levels.any():
        values = x[:, levels]
        least[levels] = max(0.02 * float(values.max() - values.min()), 1e-6)
    spread = np.maximum(x.std(axis=0), least)
    precision: Float = np.linalg.inv(shrunk((x - mean) / spread)).astype(np.float64)
    return mean, spread, precision


def _distances(fit: tuple[Float, Float, Float], x: Float) -> Float:
    mean, spread, precision = fit
    z = (x - mean) / spread
    return np.sqrt(np.maximum(np.einsum("ij,jk,ik->i", z, precision, z), 0.0) / z.shape[1])


def shrunk(z: Float) -> Float:
    """Covariance of rows of mean zero, drawn towards a multiple of one so that it can be inverted.

    Source: Ledoit and Wolf, A well-conditioned estimator for large-dimensional covariance matrices,
    Journal of Multivariate Analysis 88, 2004.
    """
    n, k = z.shape
    s = z.T @ z / n
    mu = np.trace(s) / k
    far = float(((s - mu * np.eye(k)) ** 2).sum())
    noise = float(((z**2).sum(axis=1) ** 2).sum() / n - (s**2).sum()) / n
    part = 1.0 if far <= 0 else min(max(noise, 0.0) / far, 1.0)
    # A thousandth at the least: facts that never vary would have no inverse.
    part = max(part, 1e-3)
    return part * max(mu, 1e-6) * np.eye(k) + (1 - part) * s
