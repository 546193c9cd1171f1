"""Scan an echogenicity image: what a probe's elements receive of it."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np

from somascope.acquire.ultrasound import probe as probes
from somascope.acquire.ultrasound import transmit as waves
from somascope.acquire.ultrasound.channels import ChannelScan
from somascope.acquire.ultrasound.fronts import front_echoes
from somascope.acquire.ultrasound.probe import Probe
from somascope.acquire.ultrasound.scatterers import echoes, pulse_length
from somascope.core import QUIET, Acquisition, Image, Param, Progress, operation
from somascope.core.errors import GeometryError, ParameterError
from somascope.core.grid import Array, Float, Grid

__all__ = ["echoes", "front_echoes", "simulate", "strewn", "with_noise"]


@operation("acquire.ultrasound.simulate")
def simulate(
    image: Image,
    *,
    probe: Annotated[probes.Name, Param("Transducer; stands at the middle of the first row")] = (
        "linear 5 MHz"
    ),
    transmit: Annotated[
        Literal["plane", "diverging", "focused", "synthetic"],
        Param("Plane waves, waves from behind the face, focused beams, or one element at a time"),
    ] = "plane",
    transmits: Annotated[
        int, Param("Number of waves; spread evenly over the angles, the face or the elements",
                   minimum=1, maximum=1024)
    ] = 7,
    span: Annotated[
        float, Param("Angle over which plane waves, sources or a phased probe's foci are spread",
                     unit="deg", minimum=0.0, maximum=150.0)
    ] = 24.0,
    focus: Annotated[
        float | None, Param("Depth of the focus, or of the sources behind the face; half the "
                            "image's depth, or half the aperture, if not given",
                            unit="mm", minimum=0.5, maximum=1000.0)
    ] = None,
    density: Annotated[
        float, Param("Scatterers per square wavelength", minimum=0.05, maximum=100.0)
    ] = 3.0,
    values: Annotated[
        Literal["amplitude", "decibel"],
        Param("What the image's numbers are: the scatterers' amplitude, or 20 log10 of it"),
    ] = "amplitude",
    diffraction: Annotated[
        bool | None, Param("Sum what all elements send, or let each wave be its ideal front, which "
                           "is much faster; only focused beams are summed if not given")
    ] = None,
    attenuation: Annotated[
        float, Param("Of the tissue", unit="dB/(cm.MHz)", minimum=0.0, maximum=5.0, step=0.05)
    ] = 0.0,
    snr: Annotated[
        float | None, Param("Signal over noise, both as RMS of the record; no noise if not given",
                            unit="dB", minimum=-40.0, maximum=200.0)
    ] = 40.0,
    speed_of_sound: Annotated[
        float, Param("Of the tissue", unit="m/s", minimum=300.0, maximum=7000.0, advanced=True)
    ] = 1540.0,
    sampling: Annotated[
        float, Param("Samples per period of the centre frequency", minimum=2.5, maximum=32.0,
                     advanced=True)
    ] = 4.0,
    seed: Annotated[int, Param("Of scatterers and noise", minimum=0, maximum=2**31 - 1)] = 0,
    progress: Progress = QUIET,
) -> Acquisition:  # fmt: skip
    """Scan an image of echogenicity with ultrasound: RF of every element after every transmit.

    Random scatterers as strong as the image's values (>= 0) are strewn over its plane and sounded
    one by one (`scatterers.echoes`, `fronts.front_echoes`). Rows of the image go down from the
    probe, columns to the left of the patient; a cine (axis t) keeps its scatterers and changes
    their strength.
    """
    if image.grid.shape[0] != 1 or [a.name for a in image.axes] not in ([], ["t"]):
        raise GeometryError(
            f"an image of axes {image.axis_names} and {image.grid.shape[0]} slices; the simulator "
            "scans a plane, or a cine of one"
        )
    direction = image.grid.direction
    if np.abs(direction[:, 1:] - [[0, 1], [1, 0], [0, 0]]).max() > 1e-4:
        raise GeometryError(
            f"the image's rows and columns run along {image.grid.orientation[1:]}; ultrasound "
            "needs P (depth) and L: resample it, or give it such a grid"
        )
    one, corner = _placed(probes.named(probe), image.grid)
    grid = image.grid
    sent = _transmits(one, corner, transmit, transmits, span, focus, grid, speed_of_sound)
    fs = sampling * one.centre_frequency
    start, samples = window_of(one, sent, grid, fs, speed_of_sound)
    times = None
    if image.axes:
        times = image.axes[0].values or tuple(float(k) for k in range(image.shape[0]))
    scan = ChannelScan(
        grid, probe=one, transmit=sent, samples=samples, sampling_frequency=fs,
        speed_of_sound=speed_of_sound, start=start, times=times,
    )  # fmt: skip
    rng = np.random.default_rng(seed)
    points, strength = strewn(
        _amplitude(image, values), grid, per_area=density / one.wavelength(speed_of_sound) ** 2,
        rng=rng,
    )  # fmt: skip
    strength = strength if image.axes else strength[0]
    summed = transmit == "focused" if diffraction is None else diffraction
    sound = echoes if summed else front_echoes
    rf = sound(scan, points, strength, attenuation=attenuation, progress=progress)
    if snr is not None:
        rf = with_noise(rf, snr, rng=rng)
    return Acquisition(
        samples=rf, operator=scan, modality="US", unit="1", provenance=image.provenance,
        attributes=image.attributes,
    )  # fmt: skip


def strewn(
    amplitude: Array, grid: Grid, *, per_area: float, rng: np.random.Generator
) -> tuple[Float, Float]:
    """Scatterers over a plane: places ``(n, 3)`` mm and strengths ``(frames, n)``.

    ``amplitude`` is ``(frames, ny, nx)``; ``per_area`` is per mm2. Strengths are normally
    distributed with the amplitude as standard deviation, those of a place alike in all frames.
    """
    _, ny, nx = grid.shape
    _, dy, dx = grid.spacing
    n = max(1, round(per_area * ny * dy * nx * dx))
    if n > 5_000_000:
        raise ParameterError(f"{n} scatterers are too many; choose a lower density or a crop")
    y, x = rng.uniform(-0.5, ny - 0.5, n), rng.uniform(-0.5, nx - 0.5, n)
    normal = rng.normal(size=n)
    at = np.clip(np.rint(y), 0, ny - 1).astype(int), np.clip(np.rint(x), 0, nx - 1).astype(int)
    strength = amplitude[:, at[0], at[1]] * normal
    return grid.to_world(np.stack([np.zeros(n), y, x], axis=1)), strength


def with_noise(rf: Array, snr: float, *, rng: np.random.Generator) -> Array:
    """White noise ``snr`` dB below the record's RMS."""
    level = float(np.sqrt(np.mean(rf.astype(np.float64) ** 2))) * 10 ** (-snr / 20)
    return rf + rng.normal(0, 1, rf.shape).astype(np.float32) * np.float32(level)


def window_of(
    probe: Probe, sent: waves.Transmits, grid: Grid, fs: float, speed_of_sound: float
) -> tuple[float, int]:
    """Start (s) and samples of a record that holds every echo from the grid."""
    c = speed_of_sound * 1e3
    fires = sent.fire_times(probe, speed_of_sound)[sent.apodisation > 0]
    corners = grid.to_world([(0, y, x) for y in (0, grid.shape[1] - 1)
                             for x in (0, grid.shape[2] - 1)])  # fmt: skip
    away = np.linalg.norm(corners[:, None] - probe.positions, axis=-1)
    shallow = max(float((corners[:, None, 1] - probe.positions[:, 1]).min()), 0.0)
    gap = pulse_length(probe)
    start = max(0.0, np.floor((2 * shallow / c + float(fires.min()) - gap) * fs) / fs)
    end = 2 * float(away.max()) / c + float(fires.max()) + gap
    return start, int(np.ceil((end - start) * fs))


def _amplitude(image: Image, values: str) -> Float:
    data = np.asarray(image.data, np.float64).reshape(-1, *image.grid.shape[1:])
    if not np.isfinite(data).all():
        raise GeometryError("the image holds values that are not finite")
    if values == "decibel":
        return 10 ** (np.minimum(data, 400) / 20)
    if data.min() < 0:
        raise ParameterError(
            f"the image's least value is {data.min():g}; amplitudes are not negative: choose "
            "values=decibel for a logarithmic image"
        )
    return data


def _placed(probe: Probe, grid: Grid) -> tuple[Probe, Float]:
    """The probe above the middle of the first row, its face at depth 0 where that is outside."""
    first = grid.to_world([0, 0, (grid.shape[2] - 1) / 2])
    depth = min(0.0, float(first[1])) if 0 <= first[1] < 20 else float(first[1])
    corner = np.array([first[0], depth, first[2]])
    return probe.moved(tuple(corner)), corner


def _transmits(
    probe: Probe, corner: Float, kind: str, count: int, span: float, focus: float | None,
    grid: Grid, c: float,
) -> waves.Transmits:  # fmt: skip
    angles = np.linspace(-span / 2, span / 2, count) if count > 1 else np.zeros(1)
    bend = np.radians(angles)
    ray = np.stack([np.sin(bend), np.cos(bend), np.zeros(count)], axis=1)
    bottom = grid.to_world([0, grid.shape[1] - 1, 0])[1] - corner[1]
    if kind == "plane":
        return waves.plane(probe, angles, speed_of_sound=c)
    if kind == "diverging":
        back = probe.aperture / 2 if focus is None else focus
        return waves.diverging(probe, corner - back * ray * [-1, 1, 1], speed_of_sound=c)
    if kind == "synthetic":
        which = np.unique(np.linspace(0, probe.elements - 1, count).round().astype(int))
        return waves.synthetic(probe, which)
    depth = bottom / 2 if focus is None else focus
    if probe.kind == "phased":
        return waves.focused(probe, corner + depth * ray, speed_of_sound=c)
    at = np.linspace(0, probe.elements - 1, count + 2)[1:-1].round().astype(int)
    foci = probe.positions[at] + depth * probe.normals[at]
    return waves.focused(probe, foci, f_number=2.0, speed_of_sound=c)
