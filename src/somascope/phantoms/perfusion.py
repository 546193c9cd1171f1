"""Digital reference objects of perfusion: squares of tissue whose flow and leakage are known.

Curves are computed on a grid of time twenty times finer than the images', by summing the
convolution; nothing of how maps are made is used.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from somascope.core import Axis, Grid, Image, Mask, Provenance, Segment, Source
from somascope.core.finding import Code
from somascope.core.grid import Float

FINE = 20
ARTERY, VEIN = 1, 2
FACTOR = 0.733 / 1.04
"""Haematocrit ratio over density of tissue, ml/g."""


@dataclass(frozen=True, eq=False)
class Reference:
    """An image series and what is true of it; ``truth`` arrays lie on the image's grid.

    ``mask``: the artery (segment 1) and a vein (segment 2).
    """

    image: Image
    mask: Mask
    truth: dict[str, Float]


def gamma_variate(
    t: Float, *, arrival: float = 10.0, shape: float = 3.0, scale: float = 1.5, height: float = 1.0
) -> Float:
    """A bolus: ``((t - t0) / (a b))^a exp(a - (t - t0) / b)``, ``height`` at its maximum."""
    u = np.maximum(t - arrival, 0.0)
    return height * (u / (shape * scale)) ** shape * np.exp(shape - u / scale)


def convolved(supply: Float, residue: Float, step: float) -> Float:
    """``integral supply(u) residue(t - u) du`` at the same even times, trapezoid rule."""
    n = len(supply)
    full = np.convolve(supply, residue)[:n]
    return step * (full - 0.5 * (supply[0] * residue + supply * residue[0]))


def bolus_phantom(
    kind: Literal["dsc", "ct"] = "dsc",
    *,
    flows: tuple[float, ...] = (10.0, 20.0, 40.0, 60.0),
    volumes: tuple[float, ...] = (2.0, 4.0),
    delays: tuple[float, ...] = (0.0, 2.0, 4.0),
    patch: int = 6,
    interval: float = 1.5,
    duration: float = 90.0,
    noise: float = 0.0,
    seed: int = 0,
) -> Reference:
    """Squares of tissue with every flow (ml/min/100 g), volume (ml/100 g) and delay (s).

    Exponential residue functions. Columns are flows, rows volumes, slices delays; beside them an
    artery and a vein (3 s later, dispersed). ``dsc``: T2*-weighted signal of 1000 at echo time
    30 ms, dR2* as it is seen clinically; ``ct``: HU above 35. ``noise`` is the standard deviation
    as a share of the baseline signal (``dsc``) or in HU (``ct``). Truth: CBF, CBV, MTT, delay.
    """
    step = interval / FINE
    t: Float = np.arange(round(duration / step), dtype=np.float64) * step
    blood = gamma_variate(t, height=1.0)
    blood_again = blood + 0.08 * gamma_variate(t, arrival=22.0, scale=6.0)
    late = convolved(np.interp(t - 3.0, t, blood_again, left=0.0), np.exp(-t / 3.0) / 3.0, step)
    columns, rows, slices = len(flows), len(volumes), len(delays)
    shape = (slices, rows * patch, (columns + 2) * patch)
    truth = {word: np.zeros(shape) for word in ("CBF", "CBV", "MTT", "delay")}
    curves = np.zeros((*shape, len(t[::FINE])))
    for k, delay in enumerate(delays):
        given = np.interp(t - delay, t, blood_again, left=0.0)
        for j, volume in enumerate(volumes):
            for i, rate in enumerate(flows):
                transit = 60.0 * volume / rate
                tissue = convolved(given, np.exp(-t / transit), step)
                tissue *= rate / 6000.0 / FACTOR
                place = (k, slice(j * patch, (j + 1) * patch), slice(i * patch, (i + 1) * patch))
                curves[place] = tissue[::FINE]
                for word, value in zip(truth, (rate, volume, transit, delay), strict=True):
                    truth[word][place] = value
    labels = np.zeros(shape, np.uint8)
    labels[:, : patch // 2, columns * patch : columns * patch + patch // 2] = ARTERY
    labels[:, :, (columns + 1) * patch :] = VEIN
    curves[labels == ARTERY] = blood_again[::FINE]
    curves[labels == VEIN] = late[::FINE]
    random = np.random.default_rng(seed)
    if kind == "dsc":
        # 1 / s of dR2* in the artery's peak; beside the vessels there is nothing.
        signal = 1000.0 * np.exp(-0.030 * 60.0 * curves)
        signal += 1000.0 * noise * random.normal(size=curves.shape)
        empty = (truth["CBF"] == 0) & (labels == 0)
        signal[empty] = 0.0
        values, unit, modality = np.maximum(signal, 0.0), "1", "MR"
        facts = {"EchoTime": 30.0, "RepetitionTime": interval * 1e3}
    else:
        values = 35.0 + 400.0 * curves + noise * random.normal(size=curves.shape)
        values[(truth["CBF"] == 0) & (labels == 0)] = -1000.0
        unit, modality, facts = "[hnsf'U]", "CT", {"KVP": 80.0}
    return _made(np.moveaxis(values, -1, 0), labels, truth, interval, unit, modality, facts)


def leakage_phantom(
    *,
    transfers: tuple[float, ...] = (0.02, 0.05, 0.1, 0.25),
    fractions: tuple[float, ...] = (0.1, 0.3, 0.5),
    plasma: tuple[float, ...] = (0.0, 0.05),
    patch: int = 6,
    interval: float = 3.0,
    duration: float = 360.0,
    t1: float = 1400.0,
    repetition: float = 5.0,
    flip: float = 20.0,
    relaxivity: float = 4.5,
    noise: float = 0.0,
    seed: int = 0,
) -> Reference:
    """Spoiled gradient echoes over a contrast agent leaking into tissue (extended Tofts model).

    Columns are Ktrans (1/min), rows ve, slices vp; beside them an artery with whole blood
    (haematocrit 0.42). ``t1`` and ``repetition`` in ms, ``flip`` in degrees, ``relaxivity`` in
    1/s/mM. Truth: Ktrans, ve, vp.
    """
    step = interval / FINE
    t: Float = np.arange(round(duration / step), dtype=np.float64) * step
    fast = gamma_variate(t, arrival=30.0, shape=2.5, scale=4.0, height=6.0)
    slow = 1.0 * (1 - np.exp(-np.maximum(t - 36.0, 0) / 8.0)) * np.exp(-np.maximum(t - 36, 0) / 900)
    own = fast + slow  # plasma concentration in mM
    shape = (len(plasma), len(fractions) * patch, (len(transfers) + 1) * patch)
    truth = {word: np.zeros(shape) for word in ("Ktrans", "ve", "vp")}
    curves = np.zeros((*shape, len(t[::FINE])))
    for k, vp in enumerate(plasma):
        for j, ve in enumerate(fractions):
            for i, rate in enumerate(transfers):
                tissue = rate / 60 * convolved(own, np.exp(-rate / 60 / ve * t), step) + vp * own
                place = (k, slice(j * patch, (j + 1) * patch), slice(i * patch, (i + 1) * patch))
                curves[place] = tissue[::FINE]
                for word, value in zip(truth, (rate, ve, vp), strict=True):
                    truth[word][place] = value
    labels = np.zeros(shape, np.uint8)
    labels[:, :, len(transfers) * patch :] = ARTERY
    curves[labels == ARTERY] = (0.58 * own)[::FINE]
    rate1 = 1000.0 / t1 + relaxivity * curves
    e1 = np.exp(-repetition * 1e-3 * rate1)
    a = np.deg2rad(flip)
    values = 10000.0 * np.sin(a) * (1 - e1) / (1 - np.cos(a) * e1)
    values += noise * values[..., :1] * np.random.default_rng(seed).normal(size=values.shape)
    facts = {"RepetitionTime": repetition, "FlipAngle": flip, "EchoTime": 1.5}
    return _made(np.moveaxis(values, -1, 0), labels, truth, interval, "1", "MR", facts)


def _made(
    values: Float,
    labels: np.ndarray,
    truth: dict[str, Float],
    interval: float,
    unit: str,
    modality: str,
    facts: dict[str, float],
) -> Reference:
    grid = Grid.from_spacing(labels.shape, (5.0, 2.0, 2.0))
    times = tuple(float(i * interval) for i in range(len(values)))
    record = Provenance((Source("phantom", f"Perfusion {modality}"),))
    image = Image(
        values.astype(np.float32), grid, modality, unit, (Axis("t", times, "s"),), record, facts
    )
    mask = Mask(
        data=labels, grid=grid, provenance=record,
        segments=(
            Segment(ARTERY, "Artery", Code("51114001", "SCT", "Artery")),
            Segment(VEIN, "Vein", Code("29092000", "SCT", "Vein")),
        ),
    )  # fmt: skip
    return Reference(image, mask, truth)
