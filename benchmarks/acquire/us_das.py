"""Delay and sum of plane waves, IQ, linear interpolation, f/1.7: ours, pymust's and ultraspy's.

128 elements, 75 waves, 1536 samples, 512 x 256 pixels (the size of PICMUS). pymust applies a
sparse matrix per wave; 75 of them do not fit in memory, so one is built (timed) and applied to
every wave's samples, which costs the same as 75. ultraspy is run on a few waves. What is scaled
says so in its case. Quality is the distance to a sum in double precision at random pixels, for
the peers of the waves nearest to straight ahead (they search the first arrival among elements,
which differs from the plane wave's beside its beam).

The case names our points per second: pixels x elements within the aperture x waves. Each needs one
load of two neighbouring samples (16 bytes); at two such loads per clock and core the bound on two
cores of 2.5 GHz is 10 G/s, and the arithmetic around it (some 25 vector operations for eight
points) brings that to about 3 G/s.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from typing import Any

import numpy as np

from somascope.acquire.ultrasound import probe as probes
from somascope.acquire.ultrasound import transmit as waves
from somascope.acquire.ultrasound.beamform import columns_of
from somascope.acquire.ultrasound.channels import ChannelScan
from somascope.acquire.ultrasound.das import Beamformer
from somascope.core import Grid

Array = np.ndarray
F_NUMBER, FC, FS, C = 1.7, 5.208e6, 20.832e6, 1540.0


def case(*, small: bool) -> tuple[ChannelScan, Array]:
    """The scan and smooth random IQ ``(waves, elements, samples)``."""
    elements, sent, samples, ny, nx = (32, 2, 400, 64, 32) if small else (128, 75, 1536, 512, 256)
    probe = probes.linear(elements, pitch=0.3, width=0.27, centre_frequency=FC)
    half = (elements - 1) / 2 * 0.3
    depth = 10.0 if small else 45.0
    step = depth / ny, 2 * half / nx
    grid = Grid.from_spacing((1, ny, nx), (1, *step), origin=(-half + 0.0017, 5.0031, 0.0))
    angles = [-2.0, 0.0] if small else np.linspace(-16, 16, sent)
    scan = ChannelScan(
        grid, probe=probe, transmit=waves.plane(probe, angles), samples=samples,
        sampling_frequency=FS, demodulation_frequency=FC,
    )  # fmt: skip
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((sent, elements, samples + 8, 2), np.float32)
    iq = noise[..., 0] + 1j * noise[..., 1]
    smooth = sum(iq[..., k : k + samples] for k in range(8)) / 8
    return scan, np.ascontiguousarray(smooth, np.complex64)


def exact(scan: ChannelScan, iq: Array, pixels: Array) -> Array:
    """The sum in double precision at some pixels (flat indices), over the waves of ``iq``."""
    points = scan.points()[pixels]
    gap = points[:, None] - scan.probe.positions
    away = np.linalg.norm(gap, axis=-1) / (C * 1e3)
    inside = np.abs(gap[..., 0]) * 2 * F_NUMBER <= gap[..., 1]
    arrive = scan.transmit.arrivals(points, scan.probe, C)
    total = np.zeros(len(points), complex)
    e = np.arange(scan.probe.elements)
    for k in range(len(iq)):
        tau = arrive[k][:, None] + away
        s = tau * FS
        i = np.floor(s).astype(int)
        ok = inside & (i >= 0) & (i < scan.samples - 1)
        i = np.clip(i, 0, scan.samples - 2)
        f = s - np.floor(s)
        value = (1 - f) * iq[k][e, i] + f * iq[k][e, i + 1]
        total += np.sum(np.where(ok, value * np.exp(2j * np.pi * FC * tau), 0), axis=1)
    return total


def points_of(scan: ChannelScan) -> int:
    """Pixels x elements in the aperture x waves."""
    x = scan.grid.to_world([(0, 0, k) for k in range(scan.grid.shape[2])])[:, 0]
    y = scan.grid.to_world([(0, k, 0) for k in range(scan.grid.shape[1])])[:, 1]
    side = np.abs(x[:, None] - scan.probe.positions[:, 0]) * 2 * F_NUMBER
    return int(sum(np.count_nonzero(side <= one) for one in y)) * scan.transmit.count


def pymust_matrix(scan: ChannelScan, wave: int) -> Any:
    """The sparse matrix of one wave, CSR; rows in column order."""
    import pymust

    param = pymust.utils.Param()
    param.fs, param.fc, param.c, param.pitch, param.width = FS, FC, C, 3e-4, 2.7e-4
    param.Nelements, param.bandwidth, param.radius = scan.probe.elements, 67, np.inf
    param.t0, param.fnumber = np.zeros((1, 1)), F_NUMBER
    param.TXdelay = scan.transmit.subset([wave]).fire_times(scan.probe, C)
    shape = scan.grid.shape[1:]
    x, z = scan.points()[:, :2].T.reshape(2, *shape) / 1e3
    empty = np.zeros((scan.samples, scan.probe.elements), complex)
    return pymust.dasmtx(empty, x, z, param, "linear").tocsr().astype(np.complex64)


def ultraspy_image(scan: ChannelScan) -> Callable[[Array], Array]:
    """A function of the IQ of all waves of ``scan``."""
    from ultraspy.beamformers.das import DelayAndSum
    from ultraspy.probes.factory import build_probe
    from ultraspy.scan import GridScan

    probe = build_probe("linear", scan.probe.elements, 3e-4, FC, 67)
    every = np.tile(np.arange(scan.probe.elements), (scan.transmit.count, 1))
    facts = {
        "sampling_freq": FS, "t0": 0.0, "prf": None, "signal_duration": None, "sound_speed": C,
        "delays": scan.transmit.fire_times(scan.probe, C).astype(np.float32),
        "sequence_elements": {"emitted": every, "received": every},
    }  # fmt: skip
    made = DelayAndSum(is_iq=True, on_gpu=False)
    made.automatic_setup(facts, probe)
    made.update_setup("f_number", [F_NUMBER, F_NUMBER])
    made.update_option("interpolation", "linear")
    made.update_option("reduction", "sum")
    _, ny, nx = scan.grid.shape
    x = scan.grid.to_world([(0, 0, k) for k in range(nx)])[:, 0] / 1e3
    z = scan.grid.to_world([(0, k, 0) for k in range(ny)])[:, 1] / 1e3
    pixels = GridScan(x, z, on_gpu=False)
    return lambda iq: made.beamform(iq, pixels)


def spent(run: Callable[[], Any]) -> float:
    """Milliseconds of one run."""
    start = time.perf_counter()
    run()
    return (time.perf_counter() - start) * 1e3


def run(*, small: bool) -> Iterator[dict[str, Any]]:
    """Three lines: pymust's application alone, with its matrices, and ultraspy."""
    os.environ.setdefault("ULTRASPY_CPU_LIB", "numba")
    scan, iq = case(small=small)
    count = scan.transmit.count
    _, ny, nx = scan.grid.shape
    rounds = 1 if small else 3
    pixels = np.random.default_rng(1).choice(ny * nx, 500, replace=False)
    name = f"{scan.probe.elements} elements, {count} plane waves, {ny} x {nx} pixels"

    def ours(which: ChannelScan = scan, data: Array = iq) -> Array:
        made = Beamformer(which, columns_of(which.grid), f_number=F_NUMBER, window="boxcar")
        return made(data[None])[0]

    def error(made: Array, reference: Array) -> float:
        """``made`` is ``(nx, ny)``."""
        return float(
            np.linalg.norm(made.T.reshape(-1)[pixels] - reference) / np.linalg.norm(reference)
        )

    whole = exact(scan, iq, pixels)
    good = error(ours(), whole)
    ahead = count // 2
    straight = scan.with_changes(transmit=scan.transmit.subset([ahead]))
    single = exact(straight, iq[ahead : ahead + 1], pixels)
    metric = "rms distance to the double-precision sum, relative"

    def line(
        what: str, mine: list[float], peer: list[float], package: str, theirs: float
    ) -> dict[str, Any]:  # fmt: skip
        times = {k: {"min": min(v), "median": statistics.median(v)}
                 for k, v in (("ours", mine), ("peer", peer))}  # fmt: skip
        return {
            "name": "us.das", "case": f"{name}; {what}", "ours_ms": times["ours"],
            "peer": package, "peer_version": version(package), "peer_ms": times["peer"],
            "ratio": times["peer"]["median"] / times["ours"]["median"], "quality_metric": metric,
            "quality_ours": float(f"{good:.3g}"), "quality_peer": float(f"{theirs:.3g}"),
        }  # fmt: skip

    points = points_of(scan)
    try:
        import pymust  # noqa: F401  (its import is not the matrix's time)

        start = time.perf_counter()
        matrix = pymust_matrix(scan, ahead)
        build = (time.perf_counter() - start) * 1e3
        columns = [np.ascontiguousarray(one).reshape(-1) for one in iq]

        def apply() -> Array:
            total = matrix @ columns[0]
            for one in columns[1:]:
                total += matrix @ one
            return total

        theirs = error((matrix @ columns[ahead]).reshape(nx, ny), single)
        ours_ms: list[float] = []
        peer_ms: list[float] = []
        for _ in range(rounds):
            peer_ms.append(spent(apply))
            ours_ms.append(spent(ours))
        speed = f"{points / 1e9:.3g} G points, {points / min(ours_ms) / 1e6:.3g} G/s"
        yield line(f"matrices given; {speed}", ours_ms, peer_ms, "pymust", theirs)
        full = [p + build * count for p in peer_ms]
        yield line(f"matrix build of 1 wave x {count}", ours_ms, full, "pymust", theirs)
    except ImportError:
        print("us.das: pymust is not installed", file=sys.stderr)
    try:
        few = min(2, count)
        which = slice(ahead + 1 - few, ahead + 1)
        part = scan.with_changes(transmit=scan.transmit.subset(np.arange(count)[which]))
        beamform, some = ultraspy_image(part), iq[which]
        theirs = error(beamform(some), exact(part, some, pixels))
        ours_ms, peer_ms = [], []
        for _ in range(rounds):
            peer_ms.append(spent(lambda: beamform(some)) * count / few)
            ours_ms.append(spent(ours))
        yield line(f"{few} waves x {count / few:g}", ours_ms, peer_ms, "ultraspy", theirs)
    except ImportError:
        print("us.das: ultraspy is not installed", file=sys.stderr)
