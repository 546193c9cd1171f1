"""Grey matter, white matter and fluid by expectation maximisation, with shares of each voxel.

Normal distributions of three tissues and of their mixtures (`mixing`), neighbours that rather hold
the same (a Potts field, mean field approximation: Zhang, Brady, Smith, IEEE TMI 20 (2001) 45-57),
and an atlas's priors where there are some (Ashburner and Friston, NeuroImage 26 (2005) 839-851).
The shading is N4's: estimated in turn with the tissues (Van Leemput et al., IEEE TMI 18 (1999)
885-896) it came out worse than N4's on every phantom, as mixed voxels pull at it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from somascope.analyze.atlas import mixing
from somascope.analyze.atlas.mixing import BINS, CLASSES, CSF, GREY, ORDER, PAIRS, WHITE, Contrast
from somascope.analyze.atlas.tissue_kernels import expect
from somascope.core.errors import ParameterError
from somascope.core.grid import Array, Float
from somascope.core.progress import QUIET, Progress
from somascope.process.histogram import of_values
from somascope.process.thresholds import thresholds

FEWEST = 500
"""Voxels of a brain of which three tissues are told."""
FIRST = 3
"""Rounds that there are at least."""


@dataclass(frozen=True, eq=False)
class Tissues:
    """``fractions`` ``(3, nz, ny, nx)`` of fluid, grey and white matter, 0 outside; 1 together.

    ``labels``: 1, 2, 3 for the largest of them; ``means`` and ``sds`` ``(3,)`` in the image's unit
    where the shading is 1; ``field``: the shading given, mean logarithm 0 in the brain.
    """

    fractions: Array
    labels: Array
    means: Float
    sds: Float
    field: Array
    iterations: int


@dataclass(eq=False)
class _State:
    means: Float
    sds: Float
    weight: Float


def segmented(
    volume: Array, region: Array, spacing: tuple[float, float, float], *,
    contrast: Contrast = "T1", priors: Array | None = None, field: Array | None = None,
    mrf: float = 0.1, iterations: int = 40, tolerance: float = 1e-3, progress: Progress = QUIET,
) -> Tissues:  # fmt: skip
    """Tissues of a brain.

    Parameters
    ----------
    volume, region
        ``(nz, ny, nx)`` values above 0, and the brain (skull taken off).
    spacing
        ``(dz, dy, dx)`` in mm.
    contrast
        Which tissue is bright; told from the values alone where ``priors`` are given.
    priors
        ``(3, nz, ny, nx)`` how often fluid, grey and white matter lie here.
    field
        ``(nz, ny, nx)`` shading that the values are divided by; none: there is none.
    mrf
        Energy of a neighbour with nothing in common; 0: every voxel for itself.
    iterations, tolerance
        It ends where no mean moves by more than ``tolerance`` deviations.

    Raises
    ------
    ParameterError
        The brain is too small, or has too few different values.
    """
    box = _box(region)
    inside = np.ascontiguousarray(region[box])
    values = np.maximum(np.asarray(volume[box], np.float32), np.float32(1e-6))
    if int(inside.sum()) < FEWEST:
        raise ParameterError(
            f"the brain has {int(inside.sum())} voxels; three tissues need {FEWEST} or more"
        )
    shade = np.ones(values.shape, np.float32) if field is None else field[box].astype(np.float32)
    shade = shade / np.float32(np.exp(np.log(shade[inside]).mean()))
    local = None if priors is None else _local(priors[(slice(None), *box)], inside)
    corrected = values / shade
    state = _begin(corrected[inside], contrast, None if local is None else
                   np.moveaxis(local[..., :3], -1, 0)[:, inside])  # fmt: skip
    prior = np.ones((1, 1, 1, CLASSES), np.float32) if local is None else local
    least = min(d for d, n in zip(spacing, values.shape, strict=True) if n > 1)
    near = np.array([least / d for d in spacing], np.float32)
    cost = mixing.energies() * np.float32(mrf)
    old = np.zeros((*values.shape, CLASSES), np.float32)
    old[inside] = (state.weight / state.weight.sum()).astype(np.float32)
    new = np.zeros_like(old)
    share = np.zeros((3, CLASSES, BINS), np.float32)
    bins = np.empty(values.shape, np.int16)
    places = _binned(corrected, inside, bins)
    counts = np.empty((len(values), CLASSES, BINS), np.float32)
    wanted = np.empty((len(values), CLASSES), np.float32)
    turn = 0
    for turn in range(1, iterations + 1):
        likelihood, share = mixing.tables(places, state.means, state.sds)
        weight = state.weight.astype(np.float32)
        expect(bins, likelihood, prior, weight, cost, near, old, new, counts, wanted)
        old, new = new, old
        moved = _maximise(
            state, counts.sum(axis=0, dtype=np.float64), places,
            None if local is None else wanted.sum(axis=0, dtype=np.float64),
        )  # fmt: skip
        progress(turn / iterations, f"round {turn}")
        if moved < tolerance and turn > FIRST:
            break
    progress(1.0, "tissues found")
    return _told(region, box, inside, old, share, bins, state, shade, turn)


def _told(
    region: Array, box: tuple[slice, ...], inside: Array, posterior: Array, share: Array,
    bins: Array, state: _State, shade: Array, turn: int,
) -> Tissues:  # fmt: skip
    found = np.einsum("nc,tcn->tn", posterior[inside], share[:, :, bins[inside]], optimize=True)
    found = np.clip(found, 0, 1)
    found /= np.maximum(found.sum(axis=0), 1e-6)
    fractions = np.zeros((3, *region.shape), np.float32)
    labels = np.zeros(region.shape, np.uint8)
    for k in range(3):
        part = fractions[(k, *box)]
        part[inside] = found[k]
    part = labels[box]
    part[inside] = found.argmax(axis=0) + 1
    field = np.ones(region.shape, np.float32)
    field[box] = shade
    return Tissues(fractions, labels, state.means, state.sds, field, turn)


def _box(region: Array) -> tuple[slice, ...]:
    if not region.any():
        raise ParameterError("the brain is empty: no voxel is in it")
    used = [np.flatnonzero(region.any(axis=tuple(b for b in range(3) if b != a))) for a in range(3)]
    return tuple(slice(int(u[0]), int(u[-1]) + 1) for u in used)


def _local(priors: Array, inside: Array) -> Array:
    """Priors of all classes ``(nz, ny, nx, classes)``: two draws that agree, or differ."""
    p = np.maximum(np.asarray(priors, np.float32), np.float32(0.01))
    p = np.moveaxis(p / p.sum(axis=0), 0, -1)
    out = np.empty((*inside.shape, CLASSES), np.float32)
    out[..., :3] = p**2
    for c, (one, two) in enumerate(PAIRS, start=3):
        out[..., c] = 2 * p[..., one] * p[..., two]
    return out / out.sum(axis=-1, keepdims=True)


def _begin(values: Array, contrast: Contrast, priors: Array | None) -> _State:
    """Means, deviations and weights to start at: under the priors, or of three clusters."""
    values = values.astype(np.float64)
    means, sds = np.empty(3), np.empty(3)
    if priors is not None:
        for k in range(3):
            w = priors[k].astype(np.float64) ** 2
            means[k] = (w * values).sum() / w.sum()
            sds[k] = np.sqrt((w * (values - means[k]) ** 2).sum() / w.sum())
    else:
        cuts = thresholds(of_values(values.astype(np.float32)), method="kmeans", classes=3)
        part = np.digitize(values, cuts)
        for place, tissue in enumerate(ORDER[contrast]):
            one = values[part == place]
            if one.size < 10:
                raise ParameterError(
                    "the brain's values do not part into three tissues; give priors, or check the "
                    "mask"
                )
            means[tissue], sds[tissue] = one.mean(), one.std()
    floor = 0.01 * float(np.ptp(np.percentile(values, (1, 99))))
    weight = np.array([0.2, 0.4, 0.4, 0.3, 0.3])
    return _State(means, np.maximum(sds, max(floor, 1e-9)), weight / weight.sum())


def _binned(corrected: Array, inside: Array, bins: Array) -> Float:
    """Bins of the values, in place, and the values of the bins."""
    some = corrected[inside]
    low, high = (
        float(v) for v in np.percentile(some[:: max(some.size // 100_000, 1)], (0.02, 99.98))
    )
    if not high > low:
        raise ParameterError("the brain has one value everywhere; there are no tissues to tell")
    scale = (BINS - 1) / (high - low)
    np.clip(np.rint((corrected - low) * scale), 0, BINS - 1, out=bins, casting="unsafe")
    bins[~inside] = -1
    return low + np.arange(BINS) / scale


def _maximise(state: _State, counts: Float, places: Float, wanted: Float | None) -> float:
    """New means, deviations and weights; how far the means moved, in deviations.

    ``counts`` ``(classes, bins)``: the probabilities' sums; ``wanted`` ``(classes,)``: what each
    class would hold at weight 1 under the priors.
    """
    total = counts.sum(axis=1)
    everything = float(total.sum())
    before = state.means.copy()
    floor = 0.05 * float(np.abs(state.means[[CSF, GREY]] - state.means[[GREY, WHITE]]).min())
    for k in (CSF, GREY, WHITE):
        if total[k] < 5:
            continue
        state.means[k] = counts[k] @ places / total[k]
        state.sds[k] = max(
            np.sqrt(counts[k] @ (places - state.means[k]) ** 2 / total[k]), floor, 1e-9
        )
    expected = np.full(CLASSES, everything / CLASSES) if wanted is None else wanted
    state.weight = np.maximum(total, 1e-3 * everything) / np.maximum(expected, 1e-9)
    state.weight /= state.weight.sum()
    return float((np.abs(state.means - before) / state.sds).max())
