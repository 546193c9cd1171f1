"""ComBat: differences between sites taken out of features, what a covariate explains kept.

Johnson, Li and Rabinovic, Biostatistics 8 (2007); for images Fortin et al., NeuroImage 161 (2017).
``Y = alpha + X beta + gamma_site + delta_site eps`` for each feature; the sites' shifts and scales
are drawn towards what they are over all features (empirical Bayes), by the number of scans also
where means alone are adjusted (the packages of the authors leave that number out there).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np

from somascope.core import QUIET, Image, Param, Progress, operation
from somascope.core.errors import GeometryError, ParameterError, UnitError
from somascope.core.grid import Array, Float
from somascope.process.entries import is_colour, real_values


@dataclass(frozen=True, eq=False)
class Sites:
    """What ComBat found: per site ``(sites, features)`` in deviations of the pooled residual."""

    names: tuple[float, ...]
    shift: Float
    scale: Float


def combat(
    table: Float,
    sites: Array,
    *,
    covariates: Float | None = None,
    empirical: bool = True,
    mean_only: bool = False,
) -> tuple[Float, Sites]:
    """Harmonise ``(scans, features)``.

    Parameters
    ----------
    sites
        ``(scans,)``, a number for each site; two scans of each at least.
    covariates
        ``(scans, k)``: what shall be kept (age, sex, diagnosis).
    empirical
        Draw the sites' parameters towards their distribution over all features (parametric
        priors, normal and inverse gamma); without it each feature is adjusted by itself, and means
        and deviations of the sites become equal exactly.
    mean_only
        Leave the sites' scales.

    Returns
    -------
    tuple
        The harmonised table, and the sites' parameters.

    Raises
    ------
    ParameterError
        Values that are not finite, a site with one scan, one site only, covariates that the sites
        explain.
    """
    table = np.asarray(table, np.float64)
    names, which = np.unique(np.asarray(sites), return_inverse=True)
    design = _design(table, which, len(names), covariates)
    if mean_only is False and np.bincount(which).min() < 2:
        raise ParameterError("combat: a site has one scan; its spread is unknown, use mean_only")
    beta, *_ = np.linalg.lstsq(design, table, rcond=None)
    share = np.bincount(which) / len(which)
    grand = share @ beta[: len(names)]
    sd = np.sqrt(((table - design @ beta) ** 2).mean(axis=0))
    flat = sd <= 1e-12 * np.maximum(np.abs(table).max(axis=0), 1e-300)
    sd = np.where(flat, 1.0, sd)
    kept = grand + design[:, len(names) :] @ beta[len(names) :]
    z = (table - kept) / sd
    shift = np.stack([z[which == i].mean(axis=0) for i in range(len(names))])
    if mean_only:
        scale = np.ones_like(shift)
    else:
        scale = np.stack([z[which == i].var(axis=0, ddof=1) for i in range(len(names))])
    if empirical:
        usable = ~flat
        for i in range(len(names)):
            shift[i, usable], scale[i, usable] = _posterior(
                z[which == i][:, usable], shift[i, usable], scale[i, usable], mean_only=mean_only
            )
    scale = np.where(scale > 1e-12, scale, 1.0)
    result = (z - shift[which]) / np.sqrt(scale[which]) * sd + kept
    result[:, flat] = table[:, flat]
    return result, Sites(tuple(float(n) for n in names), shift, scale)


def _design(table: Float, which: Array, sites: int, covariates: Float | None) -> Float:
    if table.ndim != 2 or len(which) != len(table):
        raise ParameterError(f"combat: {len(which)} sites for a table of shape {table.shape}")
    if not np.isfinite(table).all():
        raise ParameterError("combat: the table has values that are not finite; leave them out")
    if sites < 2:
        raise ParameterError("combat: all scans are of one site; there is nothing to harmonise")
    design = np.eye(sites)[which]
    if covariates is not None and np.asarray(covariates).size:
        kept = np.asarray(covariates, np.float64).reshape(len(table), -1)
        design = np.concatenate([design, kept], axis=1)
    if len(table) <= design.shape[1] or np.linalg.matrix_rank(design) < design.shape[1]:
        raise ParameterError(
            f"combat: {len(table)} scans of {sites} sites do not determine {design.shape[1]} "
            "parameters; the covariates are confounded with the sites, or there are too few scans"
        )
    return design


def _posterior(
    z: Float, shift: Float, scale: Float, *, mean_only: bool, iterations: int = 500
) -> tuple[Float, Float]:
    """Conditional posterior means, in turn until they stay (Johnson 2007, section 3.2)."""
    n = len(z)
    if shift.size < 2:
        return shift, scale
    centre, spread = shift.mean(), shift.var(ddof=1)
    if mean_only:
        return (spread * n * shift + centre) / (spread * n + 1), scale
    mean, variance = scale.mean(), max(float(scale.var(ddof=1)), 1e-300)
    a = (2 * variance + mean**2) / variance
    b = (mean * variance + mean**3) / variance
    g, d = shift, scale
    for _ in range(iterations):
        g_new = (spread * n * shift + d * centre) / np.maximum(spread * n + d, 1e-300)
        d_new = (0.5 * ((z - g_new) ** 2).sum(axis=0) + b) / (n / 2 + a - 1)
        change = max(np.abs(g_new - g).max(), np.abs(d_new / np.maximum(d, 1e-300) - 1).max())
        g, d = g_new, d_new
        if change < 1e-8:
            break
    return g, d


@operation("process.combat")
def combat_(
    *images: Image,
    sites: Annotated[tuple[float, ...], Param("Number of the site of each image, in order")],
    covariates: Annotated[
        tuple[float, ...],
        Param("What shall be kept (age, sex, group): all of the first image, then of the next"),
    ] = (),
    empirical: Annotated[
        bool, Param("Draw the sites towards what they are over all voxels")
    ] = True,
    mean_only: Annotated[bool, Param("Leave the sites' scales", advanced=True)] = False,
    progress: Progress = QUIET,
) -> list[Image]:
    """Harmonise images of several sites, voxel by voxel (ComBat).

    All images lie on one grid, registered (a template's, or maps of one atlas); each voxel is a
    feature. Voxels that are constant, or missing in any image, stay as they are. Values keep their
    unit; float32, one image for each in order.
    """
    first = _together(images)
    if len(sites) != len(images) or len(covariates) % len(images):
        raise ParameterError(
            f"process.combat: {len(images)} images, {len(sites)} sites and {len(covariates)} "
            "covariates; give one site, and equally many covariates, for each image"
        )
    table = np.stack([i.data.reshape(-1) for i in images]).astype(np.float64)
    progress(0.1, "read")
    chosen = np.isfinite(table).all(axis=0) & (np.ptp(table, axis=0) > 0)
    if not chosen.any():
        raise ParameterError("process.combat: no voxel has finite, different values in the images")
    kept = np.asarray(covariates, np.float64).reshape(len(images), -1) if covariates else None
    result, _ = combat(
        table[:, chosen], np.asarray(sites), covariates=kept, empirical=empirical,
        mean_only=mean_only,
    )  # fmt: skip
    table[:, chosen] = result
    progress(1.0, "harmonised")
    return [
        replace(image, data=row.reshape(first.data.shape).astype(np.float32))
        for image, row in zip(images, table, strict=True)
    ]


def _together(images: tuple[Image, ...]) -> Image:
    if len(images) < 3:
        raise ParameterError(
            f"process.combat harmonises several scans of several sites; {len(images)} given"
        )
    first = images[0]
    for image in images:
        real_values(image, "process.combat")
        if is_colour(image):
            raise ParameterError("process.combat needs single values; an image is in colour")
        if image.shape != first.shape or not image.grid.allclose(first.grid):
            raise GeometryError(
                f"process.combat: images of shapes {first.shape} and {image.shape}, or at "
                "different places; resample all to one grid first"
            )
        if image.unit != first.unit:
            raise UnitError(f"process.combat: units {first.unit!r} and {image.unit!r} differ")
    return first
