"""Leakage of a contrast agent: the Tofts and the extended Tofts model.

``C(t) = vp Cp(t) + Ktrans int Cp(u) exp(-kep (t - u)) du`` with ``kep = Ktrans / ve`` (Tofts et
al., J Magn Reson Imaging 10:223, 1999). Rates are in 1/min, times in s, ``C`` and ``Cp`` in mM of
tissue and of plasma.
"""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np

from somascope.core import QUIET, Image, Mask, Param, Progress, operation
from somascope.core.errors import GeometryError, ParameterError
from somascope.core.grid import Array, Float
from somascope.process.bolus import arrival, evenly, seconds, supply
from somascope.process.series import map_image

SLOWEST, FASTEST = 1e-4, 30.0
"""1/min, of kep."""


def integral(curves: Float, step: float) -> Float:
    """Running integral by trapezoids along the last axis, 0 at the first sample."""
    found = np.zeros_like(curves)
    np.cumsum(0.5 * step * (curves[..., 1:] + curves[..., :-1]), axis=-1, out=found[..., 1:])
    return found


def decaying(plasma: Float, rates: Float, step: float) -> Float:
    """``int Cp(u) exp(-k (t - u)) du`` ``(rates, n)``, exact for plasma of straight lines.

    ``rates`` in 1/s. Each sample follows from the one before by the integral over one interval.
    """
    k = rates * step
    keep = np.exp(-k)
    small = k < 1e-4
    safe = np.where(small, 1.0, k)
    # int_0^1 of exp(-k (1 - u)) (1 - u) and u: what the interval's two ends weigh.
    late = np.where(small, 0.5 - k / 6, (safe - 1 + np.exp(-safe)) / safe**2)
    early = np.where(small, 0.5 - k / 3, (1 - np.exp(-safe)) / safe - late)
    out = np.zeros((rates.size, plasma.size))
    for i in range(1, plasma.size):
        out[:, i] = keep * out[:, i - 1] + step * (early * plasma[i - 1] + late * plasma[i])
    return out


def linear_fit(curves: Float, plasma: Float, step: float, *, extended: bool) -> Float:
    """Ktrans (1/min), ve, vp ``(3, voxels)`` by linear least squares (Murase 2004).

    ``C = (Ktrans + kep vp) int Cp - kep int C + vp Cp``: one small system for each voxel.
    """
    own, given = integral(curves, step), integral(plasma, step)
    columns = [np.broadcast_to(given, curves.shape), -own]
    if extended:
        columns.append(np.broadcast_to(plasma, curves.shape))
    a = np.stack(columns, axis=-1)
    normal = np.einsum("vti,vtj->vij", a, a)
    right = np.einsum("vti,vt->vi", a, curves)
    scale = np.sqrt(np.maximum(np.einsum("vii->vi", normal), 1e-300))
    normal = normal / scale[:, :, None] / scale[:, None, :]
    normal += 1e-12 * np.eye(normal.shape[1])
    solved = np.linalg.solve(normal, (right / scale)[..., None])[..., 0] / scale
    kep = solved[:, 1]
    vp = solved[:, 2] if extended else np.zeros(len(curves))
    return _bounded(solved[:, 0] - kep * vp, kep, vp)


def exact_fit(
    curves: Float, plasma: Float, step: float, *, extended: bool, passes: int = 3
) -> Float:
    """Ktrans (1/min), ve, vp ``(3, voxels)`` of least squares in the samples themselves.

    For each ``kep`` the model is linear in the other two, so it is searched alone: on a grid of
    rates, refined around the best of each voxel (variable projection, Golub and Pereyra 1973).
    Ktrans and vp are not negative.
    """
    rates = np.geomspace(SLOWEST, FASTEST, 121) / 60
    best = _search(curves, plasma, step, rates, extended=extended)
    for _ in range(passes):
        ratio = (rates[1] / rates[0]) ** np.linspace(-1, 1, 21)
        order = np.argsort(best, kind="stable")
        refined = np.empty(len(curves))
        # Voxels that share a rate of the grid share their finer one.
        starts = np.flatnonzero(np.append(True, np.diff(best[order]) > 0))
        for group in np.split(order, starts[1:]):
            refined[group] = _search(
                curves[group], plasma, step, best[group[0]] * ratio, extended=extended
            )
        best, rates = refined, best[order[0]] * ratio
    return _solved(curves, plasma, step, best, extended=extended)


def _search(curves: Float, plasma: Float, step: float, rates: Float, *, extended: bool) -> Float:
    """The rate of least residual for each voxel."""
    bank = decaying(plasma, rates, step)
    cb, bb = curves @ bank.T, (bank**2).sum(axis=1)
    gain = np.maximum(cb, 0) ** 2 / np.maximum(bb, 1e-300)
    if extended:
        cp, pp, pb = curves @ plasma, float(plasma @ plasma), bank @ plasma
        det = bb * pp - pb**2
        det = np.where(det > 1e-12 * bb * pp, det, np.inf)
        x = (cb * pp - cp[:, None] * pb) / det
        y = (cp[:, None] * bb - cb * pb) / det
        both = x * cb + y * cp[:, None]
        alone = np.maximum(cp, 0)[:, None] ** 2 / max(pp, 1e-300)
        gain = np.where((x > 0) & (y > 0), both, np.maximum(gain, alone))
    return rates[np.argmax(gain, axis=1)]


def _solved(curves: Float, plasma: Float, step: float, rates: Float, *, extended: bool) -> Float:
    unique, which = np.unique(rates, return_inverse=True)
    bank = decaying(plasma, unique, step)[which]
    cb, bb = (curves * bank).sum(axis=1), (bank**2).sum(axis=1)
    x, y = np.maximum(cb, 0) / np.maximum(bb, 1e-300), np.zeros(len(curves))
    if extended:
        cp, pp, pb = curves @ plasma, float(plasma @ plasma), bank @ plasma
        det = bb * pp - pb**2
        safe = np.where(det > 1e-12 * bb * pp, det, np.inf)
        both_x, both_y = (cb * pp - cp * pb) / safe, (cp * bb - cb * pb) / safe
        inner = (both_x > 0) & (both_y > 0)
        alone = (cp > 0) & (np.maximum(cp, 0) ** 2 / max(pp, 1e-300) > np.maximum(cb, 0) ** 2 / bb)
        y = np.where(inner, both_y, np.where(alone, cp / max(pp, 1e-300), 0.0))
        x = np.where(inner, both_x, np.where(alone, 0.0, x))
    return _bounded(x, rates, y)


def _bounded(transfer: Float, kep: Float, vp: Float) -> Float:
    """Ktrans in 1/min, ve and vp; what the model does not allow is 0."""
    valid = (transfer > 0) & (kep > 0) & np.isfinite(transfer) & np.isfinite(kep)
    ve = np.where(valid, transfer / np.where(kep > 0, kep, 1), 0.0)
    rate = np.where(valid, 60 * transfer, 0.0)
    return np.stack([rate, np.clip(ve, 0, 1), np.clip(np.nan_to_num(vp), 0, 1)])


def population(when: Float, start: float) -> Float:
    """Mean arterial blood concentration in mM (Parker et al., Magn Reson Med 56:993, 2006).

    0.1 mmol/kg of a gadolinium chelate; ``when`` and ``start`` (its arrival) in s.
    """
    t = (when - start) / 60.0
    gauss = sum(
        a / (s * np.sqrt(2 * np.pi)) * np.exp(-((t - c) ** 2) / (2 * s**2))
        for a, s, c in ((0.809, 0.0563, 0.17046), (0.330, 0.132, 0.365))
    )
    with np.errstate(over="ignore"):
        slow = 1.050 * np.exp(-0.1685 * t) / (1 + np.exp(-38.078 * (t - 0.483)))
    return np.where(t >= 0, gauss + slow, 0.0)


def concentration(
    values: Float, start: Float, *, t1: Array, repetition: float, flip: float, relaxivity: float
) -> Float:
    """MM of signals ``(voxels, n)`` of a spoiled gradient echo, ``start`` ``(voxels,)`` before.

    ``t1`` in s before contrast (a number or ``(voxels,)``), ``repetition`` in s, ``flip`` in rad.
    """
    before = np.exp(-repetition / np.asarray(t1, np.float64))
    top = start * (1 - np.cos(flip) * before) / (1 - before)
    share = values / top[:, None]
    e1 = (1 - share) / (1 - np.cos(flip) * share)
    rate = -np.log(np.clip(e1, 1e-6, 1 - 1e-9)) / repetition
    own = np.broadcast_to(1 / np.asarray(t1, np.float64), start.shape)
    return (rate - own[:, None]) / relaxivity


@operation("process.tofts")
def tofts(
    image: Image,
    *others: Image | Mask,
    model: Annotated[
        Literal["extended", "standard"], Param("With or without plasma in the vessels (vp)")
    ] = "extended",
    method: Annotated[
        Literal["linear", "exact"],
        Param("Linear least squares of the integral form (fast), or of the samples themselves"),
    ] = "linear",
    t1: Annotated[
        float, Param("Of tissue before contrast, where no T1 map is given", unit="ms",
                     minimum=50.0, maximum=6000.0)
    ] = 1400.0,
    blood_t1: Annotated[
        float, Param("Of blood before contrast, where no T1 map is given", unit="ms",
                     minimum=50.0, maximum=6000.0)
    ] = 1400.0,
    repetition_time: Annotated[
        float | None, Param("None: RepetitionTime of the image", unit="ms", minimum=0.5)
    ] = None,
    flip_angle: Annotated[
        float | None, Param("None: FlipAngle of the image", unit="deg", minimum=0.5, maximum=180.0)
    ] = None,
    relaxivity: Annotated[
        float, Param("Of the agent", unit="l/mmol/s", minimum=0.5, maximum=20.0)
    ] = 4.5,
    haematocrit: Annotated[
        float, Param("Of large vessels", minimum=0.0, maximum=0.7)
    ] = 0.42,
    arterial: Annotated[
        Literal["mask", "population", "automatic"],
        Param("Blood from segment 1 of the mask, of a population (Parker 2006), or found by the "
              "shape of its curve; mask without a mask: population"),
    ] = "mask",
    baseline: Annotated[
        int, Param("Images before the bolus; 0: found", minimum=0, maximum=1000)
    ] = 0,
    threshold: Annotated[
        float, Param("Voxels whose baseline is below this share of the brightest are left at 0",
                     minimum=0.0, maximum=1.0)
    ] = 0.05,
    progress: Progress = QUIET,
) -> list[Image]:  # fmt: skip
    """Leakage of a contrast agent from a dynamic T1-weighted series: Ktrans, ve and vp.

    Spoiled gradient echoes along the axis ``t`` (s) become concentrations by the signal equation;
    then the (extended) Tofts model is fitted, linearly (Murase, Magn Reson Med 51:858, 2004) or
    exactly. Beside the series a T1 map (ms) and a mask with the artery may be given. Ktrans in
    1/min; ve and vp are volume fractions. Voxels without signal, or that the model does not
    describe, are 0.
    """
    name = "process.tofts"
    when, values = seconds(image, name)
    maps, masks = _others(others, image)
    repetition = _stated(image, "RepetitionTime", repetition_time, "repetition_time", name)
    flip = np.deg2rad(_stated(image, "FlipAngle", flip_angle, "flip_angle", name))
    table = values.reshape(len(when), -1)
    bright = table[0] > threshold * max(float(np.quantile(table[0], 0.995)), 1e-30)
    if not bright.any():
        raise ParameterError(f"{name}: no voxel has signal")
    before = baseline or arrival(table[:, bright].T)
    start = table[:before].mean(axis=0, dtype=np.float64)
    chosen = start > threshold * max(float(np.quantile(start, 0.995)), 1e-30)
    own: Array = np.full(len(chosen), t1 * 1e-3)
    if maps:
        own = maps[0].data.reshape(-1) * 1e-3
        chosen &= np.isfinite(own) & (own > 0.01)
    progress(0.1, "baseline")
    signal = table[:, chosen].T.astype(np.float64)

    def made(t1s: Array) -> Float:
        return concentration(
            signal, start[chosen], t1=t1s, repetition=repetition * 1e-3, flip=float(flip),
            relaxivity=relaxivity,
        )  # fmt: skip

    step, curves = evenly(when, made(own[chosen]))
    if arterial == "population" or (arterial == "mask" and not masks):
        blood = population(np.arange(curves.shape[1]) * step, float(when[before]))
    else:
        _, vessels = evenly(when, made(own[chosen] if maps else np.asarray(blood_t1 * 1e-3)))
        blood, _ = supply(
            vessels, chosen, image, masks if arterial == "mask" else (), segment=1, count=10,
            name=name,
        )  # fmt: skip
    progress(0.3, "arterial curve")
    fit = linear_fit if method == "linear" else exact_fit
    plasma = blood / (1 - haematocrit)
    found = np.concatenate(
        [
            fit(part, plasma, step, extended=model == "extended")
            for part in np.array_split(curves, max(len(curves) // 20000, 1))
        ],
        axis=1,
    )
    progress(0.9, "fitted")
    kinds = [("Ktrans", "/min"), ("ve", "1"), ("vp", "1")][: 3 if model == "extended" else 2]
    drop = ("TemporalPositionIdentifier", "WindowCenter", "WindowWidth", "VOILUTFunction")
    out = [
        map_image(image, "t", row, chosen, unit=unit, description=word, drop=drop)
        for row, (word, unit) in zip(found, kinds, strict=False)
    ]
    progress(1.0, "maps")
    return out


def _others(others: tuple[Image | Mask, ...], image: Image) -> tuple[list[Image], list[Mask]]:
    maps = [o for o in others if isinstance(o, Image)]
    masks = [o for o in others if isinstance(o, Mask)]
    if len(maps) > 1 or len(masks) > 1:
        raise ParameterError(
            f"process.tofts takes one T1 map and one mask; {len(maps)} and {len(masks)} given"
        )
    if maps and (maps[0].axes or not maps[0].grid.allclose(image.grid)):
        raise GeometryError(
            "process.tofts: the T1 map is not one volume on the series' grid; resample it"
        )
    if maps and maps[0].unit not in ("ms", "1"):
        raise ParameterError(f"process.tofts: the T1 map is in {maps[0].unit!r}; give ms")
    return maps, masks


def _stated(image: Image, word: str, given: float | None, parameter: str, name: str) -> float:
    if given is not None:
        return given
    try:
        found = float(image.attributes.get(word))  # type: ignore[arg-type]
    except (TypeError, ValueError):
        found = 0.0
    if not found > 0:
        raise ParameterError(f"{name}: the image states no {word}; give {parameter}")
    return found
