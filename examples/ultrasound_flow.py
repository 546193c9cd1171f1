"""Flow and stiffness from ultrasound: the pictures of docs/tutorials/ultrasound-flow.md.

::

    python examples/ultrasound_flow.py docs/images [FOLDER]

FOLDER may hold ``pymust_rf/PWI_disk.mat`` of the PyMUST examples: a disk that turns, under plane
waves. Without it only the simulated pictures are made.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image as Picture
from PIL import ImageDraw

from somascope.acquire.ultrasound.beamform import das
from somascope.acquire.ultrasound.channels import ChannelScan
from somascope.acquire.ultrasound.doppler import colour_doppler, power_doppler
from somascope.acquire.ultrasound.doppler_clutter import clutter
from somascope.acquire.ultrasound.doppler_spectral import axes_of, spectral_doppler
from somascope.acquire.ultrasound.elastography import strain
from somascope.acquire.ultrasound.elastography_shear import shear_wave
from somascope.acquire.ultrasound.envelope import compress
from somascope.acquire.ultrasound.live import LiveProbe
from somascope.acquire.ultrasound.probe import linear
from somascope.acquire.ultrasound.transmit import plane
from somascope.core import Acquisition, Axis, Grid, Image, Provenance, Source
from somascope.core.grid import Array
from somascope.io import write
from somascope.phantoms.patient import facts
from somascope.process.speckle import frost, lee, srad

F, C, PRF = 5e6, 1540.0, 4000.0
HEIGHT = 230


def iq(frames: Array, spacing: tuple[float, float], rate: float) -> Image:
    """Frames ``(t, 1, y, x)`` as IQ of 5 MHz, rows ``spacing[0]`` mm apart along the beam."""
    times = tuple(k / rate for k in range(len(frames)))
    grid = Grid.from_spacing(frames.shape[-3:], (5.0, *spacing))
    return Image(
        frames.astype(np.complex64), grid, "US", axes=(Axis("t", times, "s"),),
        provenance=Provenance((Source("phantom", "scatterers"),)),
        attributes={**facts("flow", "Phantom^Flow", "Vessel"), "TransducerFrequency": F / 1e3},
    )  # fmt: skip


def seen(
    scatterers: tuple[Array, Array, Array], shape: tuple[int, int], step: tuple[float, float]
) -> Array:
    """IQ ``(y, x)`` of scatterers (lateral m, depth m, strength), point spread in closed form."""
    x, z, a = scatterers
    gx, gz = np.arange(shape[1]) * step[1], np.arange(shape[0]) * step[0]
    lateral = np.exp(-(((gx[None] - x[:, None]) / 3.5e-4) ** 2))
    away = gz[None] - z[:, None]
    axial = np.exp(-((away / 2e-4) ** 2) + 4j * np.pi * F / C * away)
    return (axial.T * a) @ lateral


def grey(plane: Array, low: float, high: float) -> Array:
    """RGB of values between two limits."""
    byte = np.clip((plane - low) / (high - low), 0, 1) * 255
    return np.repeat(byte.astype(np.uint8)[..., None], 3, axis=-1)


def flow(velocity: Array, under: Array, limit: float, shown: Array) -> Array:
    """Velocity over a grey picture: red to yellow towards the probe, blue to cyan away."""
    v = np.clip(velocity / limit, -1, 1)
    size = np.abs(v)
    hot = np.stack([np.ones_like(v), size, 0 * v], axis=-1) * (0.35 + 0.65 * size[..., None])
    cold = hot[..., ::-1]
    colour = (255 * np.where(v[..., None] > 0, hot, cold)).astype(np.uint8)
    return np.where(shown[..., None], colour, under)


def heat(values: Array, low: float, high: float) -> Array:
    """RGB from blue over white to red."""
    t = np.clip((values - low) / (high - low), 0, 1)
    red, blue = np.minimum(2 * t, 1), np.minimum(2 - 2 * t, 1)
    return (255 * np.stack([red, np.minimum(red, blue), blue], axis=-1)).astype(np.uint8)


def save(path: Path, tiles: Sequence[Array], spacing: tuple[float, float]) -> None:
    """Tiles side by side, pixels made square."""
    rows, columns = tiles[0].shape[:2]
    width = round(HEIGHT * columns * spacing[1] / (rows * spacing[0]))
    scaled = [np.asarray(Picture.fromarray(t).resize((width, HEIGHT))) for t in tiles]
    gap = np.full((HEIGHT, 4, 3), 255, np.uint8)
    parts = [p for t in scaled for p in (t, gap)][:-1]
    Picture.fromarray(np.concatenate(parts, axis=1)).save(path, optimize=True)


def vessel(out: Path) -> Image:
    """Blood on a slanted way through tissue that moves with a breath and is 40 dB brighter."""
    rng = np.random.default_rng(4)
    shape, step, count = (160, 120), (1e-4, 1.5e-4), 24
    slope = 0.25
    n = 9000
    x, z = rng.uniform(-1e-3, 19e-3, n), rng.uniform(-1e-3, 17e-3, n)
    a = rng.normal(size=n) + 1j * rng.normal(size=n)
    off = (z - 8e-3 - slope * (x - 9e-3)) / np.hypot(1, slope)
    inside = np.abs(off) < 2e-3
    speed = 0.35 * (1 - (off / 2e-3) ** 2)
    along = np.array([1, slope]) / np.hypot(1, slope)
    frames = np.empty((count, 1, *shape), np.complex128)
    for k in range(count):
        t = k / PRF
        xs = x + np.where(inside, speed * along[0] * t, 0)
        zs = z + np.where(inside, speed * along[1] * t, 0.004 * t)
        frames[k, 0] = seen((xs, zs, np.where(inside, a, 100 * a)), shape, step)
    frames += 0.5 * (rng.normal(size=frames.shape) + 1j * rng.normal(size=frames.shape))
    image = iq(frames, (0.1, 0.15), PRF)
    decibels = compress(image.at(t=0), dynamic_range=60.0, output="decibel")
    under = grey(decibels.data[0], -60, 0)
    raw = colour_doppler(image, averaging=0.6, threshold=55.0)
    clean = clutter(image, cutoff=2.0)
    power = power_doppler(clean, averaging=0.4, range_db=40.0)
    after = colour_doppler(clean, averaging=0.6)
    blood = power.data[0] > -14
    tiles = [
        under,
        flow(raw.data[0], under, 15, np.abs(raw.data[0]) > 0.2),
        grey(power.data[0], -40, 0),
        flow(after.data[0], under, 15, blood),
    ]
    save(out / "us-flow.png", tiles, (0.1, 0.15))
    return after


def pulse(out: Path) -> Image:
    """One gate in an artery over a second: every speed there is, while it beats."""
    rng = np.random.default_rng(5)
    count, n, reach, rate, angle = 2400, 1300, 40e-3, 2000.0, 70.0
    t = np.arange(count) / rate
    phase = (t / 0.6) % 1
    beat = np.exp(-(((phase - 0.2) / 0.08) ** 2)) + 0.25 * np.exp(-(((phase - 0.55) / 0.1) ** 2))
    peak = 0.12 + 0.4 * beat  # m/s in the middle of the vessel
    way = np.cumsum(peak) / rate * np.cos(np.deg2rad(angle))  # along the beam, towards the probe
    share = 1 - rng.uniform(0, 1, n)  # of the peak, in a round vessel
    place = rng.uniform(0, reach, n)
    a = rng.normal(size=n) + 1j * rng.normal(size=n)
    depth = np.arange(24) * 1e-4
    tissue = 300 * (rng.normal(size=24) + 1j * rng.normal(size=24))
    frames = np.empty((count, 1, 24, 1), np.complex64)
    for k in range(count):
        z = (place - share * way[k]) % reach
        near = z < 6e-3
        z = z[near] - 1.8e-3
        spread = np.exp(-(((depth[:, None] - z) / 9e-4) ** 2))
        frames[k, 0, :, 0] = tissue + spread @ (a[near] * np.exp(-4j * np.pi * F / C * z))
    frames += 0.3 * (rng.normal(size=frames.shape) + 1j * rng.normal(size=frames.shape))
    image = iq(frames, (0.1, 0.15), rate)
    found = spectral_doppler(
        image, gate=2.0, window=64, step=8, angle=angle, baseline=0.5, wall="polynomial",
        dynamic_range=35.0,
    )  # fmt: skip
    velocity, _ = axes_of(found)
    shown = found.data[0][(velocity > -15) & (velocity < 75)]
    picture = Picture.fromarray(np.repeat(shown[..., None], 3, axis=-1)).resize((720, HEIGHT))
    pen = ImageDraw.Draw(picture)
    for speed in (0, 20, 40, 60):
        y = (75 - speed) / 90 * HEIGHT
        pen.line([(0, y), (720, y)], fill=(78, 155, 209))
        pen.text((4, y - 12), f"{speed} cm/s", fill=(216, 221, 226))
    picture.save(out / "us-spectrum.png", optimize=True)
    return found


def disk(data: Path, out: Path) -> float:
    """A real disk: its angular speed in rad/s, from the slope of the velocity across it."""
    from scipy.io import loadmat

    content = loadmat(data / "pymust_rf" / "PWI_disk.mat", squeeze_me=True, struct_as_record=False)
    told, rf = content["param"], content["RF"].astype(np.float32)
    fs, c, fc, rate = (float(getattr(told, n)) for n in ("fs", "c", "fc", "PRF"))
    start = float(told.t0)
    # Sampled at 4/3 of the carrier: one of the aliased bands is the one about it.
    t = start + np.arange(rf.shape[0]) / fs
    spectrum = np.fft.fft(rf * np.exp(-2j * np.pi * fc * t)[:, None, None], axis=0)
    spectrum[np.abs(np.fft.fftfreq(rf.shape[0], 1 / fs)) > 0.2 * fc] = 0
    fine = 4
    wide = np.zeros((fine * rf.shape[0], *rf.shape[1:]), complex)
    half = rf.shape[0] // 2
    wide[:half], wide[-half:] = spectrum[:half], spectrum[-half:]
    base = 2 * fine * np.fft.ifft(wide, axis=0)
    probe = linear(128, pitch=1e3 * float(told.pitch), width=1e3 * float(told.width),
                   centre_frequency=fc)  # fmt: skip
    grid = Grid.from_spacing((1, 251, 251), (5.0, 0.1, 0.1), origin=(-12.5, 10.0, 0.0))
    scan = ChannelScan(
        grid, probe=probe, transmit=plane(probe, [0.0], speed_of_sound=c), samples=len(base),
        sampling_frequency=fine * fs, demodulation_frequency=fc, speed_of_sound=c, start=start,
        times=tuple(k / rate for k in range(rf.shape[2])),
    )  # fmt: skip
    samples = np.ascontiguousarray(base.transpose(2, 1, 0)[:, None], np.complex64)
    raw = Acquisition(samples, scan, "US", provenance=Provenance((Source("raw", "PWI_disk.mat"),)))
    velocity = colour_doppler(raw, averaging=1.0, threshold=35.0)
    decibels = compress(das(raw).at(t=0), dynamic_range=50.0, output="decibel")
    under = grey(decibels.data[0], -50, 0)
    shown = velocity.data[0] != 0
    save(out / "us-disk.png", [under, flow(velocity.data[0], under, 70, shown)], (0.1, 0.1))
    y, x = np.indices((251, 251)) * 1e-4
    inner = np.hypot(x - 0.0124, y - 0.01315) < 0.007
    rows = np.stack([x[inner], y[inner], np.ones(inner.sum())], axis=1)
    return -float(np.linalg.lstsq(rows, velocity.data[0][inner] / 100, rcond=None)[0][0])


def squeezed(out: Path) -> None:
    """A stiff round in soft tissue, before and after the probe pressed by 0.2 mm."""
    rng = np.random.default_rng(6)
    shape, step = (240, 60), (1e-4, 3e-4)
    n = 12000
    x, z = rng.uniform(-1e-3, 19e-3, n), rng.uniform(-1e-3, 25e-3, n)
    a = rng.normal(size=n) + 1j * rng.normal(size=n)
    fine = np.arange(2600) * 1e-5
    gx = np.arange(60) * 3e-4
    stiff = np.hypot(gx[None] - 9e-3, fine[:, None] - 12e-3) < 4e-3
    given = np.where(stiff, 0.004, 0.012)
    deep = (given[::-1].cumsum(axis=0) * 1e-5)[::-1]  # the far side is fixed
    at = np.clip((z * 1e5).astype(int), 0, 2599), np.clip((x / 3e-4).astype(int), 0, 59)
    frames = np.stack([seen((x, z + k * deep[at], a), shape, step)[None] for k in (0, 1)])
    image = iq(frames, (0.1, 0.3), 10.0)
    moved = strain(image, quantity="displacement")
    found = strain(image, gradient=3.0)
    decibels = compress(image.at(t=0), dynamic_range=50.0, output="decibel")
    tiles = [
        grey(decibels.data[0], -50, 0),
        grey(moved.data[0], 0, 0.3),
        heat(found.data[0], 0, 1.6)[:, :, ::-1],
    ]
    save(out / "us-strain.png", tiles, (0.1, 0.3))


def shaken(out: Path) -> None:
    """A wave that runs at 2 m/s, and at 4 m/s in the right half."""
    rng = np.random.default_rng(8)
    ny, nx, dx, rate, count = 60, 100, 3e-4, 6000.0, 90
    speed = np.where(np.arange(nx) < 50, 2.0, 4.0)
    late = np.cumsum(dx / speed)
    t = np.arange(count) / rate
    u = 12e-6 * np.exp(-(((t[:, None] - 1.5e-3 - late) / 0.7e-3) ** 2))
    still = rng.normal(size=(ny, nx)) + 1j * rng.normal(size=(ny, nx))
    film = still * np.exp(-4j * np.pi * F / C * u)[:, None, :]
    film = film + 0.05 * (rng.normal(size=film.shape) + 1j * rng.normal(size=film.shape))
    image = iq(film[:, None], (0.3, 0.3), rate)
    found = shear_wave(image, push=0.0)
    moments = [
        grey(np.broadcast_to(np.gradient(u, axis=0)[k], (ny, nx)), -3e-6, 3e-6) for k in (20, 45)
    ]
    save(out / "us-shear.png", [*moments, heat(found.data[0], 0, 5)[:, :, ::-1]], (0.3, 0.3))


def speckle(out: Path) -> None:
    """One frame of the live probe through three filters."""
    probe = LiveProbe(size=256)
    image = probe.shown(probe.beamformed(probe.capture(4)))
    filters: Sequence[Callable[[Image], Image]] = (lee, frost, srad)
    found = [image, *(one(image) for one in filters)]
    save(out / "us-speckle.png", [grey(f.data[0], 0, 255) for f in found], (1.0, 1.0))


def main(out: Path, data: Path | None = None) -> None:
    """Make all pictures, and DICOM of the velocity and the spectrum."""
    out.mkdir(parents=True, exist_ok=True)
    velocity = vessel(out)
    spectrum = pulse(out)
    squeezed(out)
    shaken(out)
    speckle(out)
    if data is not None:
        print(f"the disk turns by {disk(data, out):.1f} rad/s")
    named = {**velocity.attributes, "SeriesDescription": "Colour Doppler"}
    write(replace(velocity, attributes=named), out / "velocity")
    write(spectrum, out / "spectrum")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else None)
