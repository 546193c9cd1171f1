"""`acquire.ultrasound.vector_doppler`: both components of a velocity, from several directions."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import numpy as np

from somascope.acquire.ultrasound.choices import SpeedOfSound
from somascope.acquire.ultrasound.doppler import Averaging, autocorrelation, blurred, gaussian_of
from somascope.acquire.ultrasound.doppler_frames import F_NUMBER, Frequency, facts, slow_time
from somascope.core import QUIET, Acquisition, Axis, Image, Param, Progress, operation
from somascope.core.errors import GeometryError, ParameterError
from somascope.core.grid import Array


def directions(transmit: Array, receive: Array) -> Array:
    """What each pair of angles measures of (lateral, towards the probe): ``(pairs, 2)``.

    A plane wave of angle a travels along ``(sin a, cos a)`` in (lateral, depth); an aperture that
    looks along angle b takes the echo back along ``-(sin b, cos b)``. The phase turns with
    ``-(e_a + e_b) . v``, which in units of twice the towards-probe velocity is this row.
    Angles in radians, positive towards rising lateral coordinates.
    """
    lateral = -0.5 * (np.sin(transmit) + np.sin(receive))
    towards = 0.5 * (np.cos(transmit) + np.cos(receive))
    return np.stack([lateral, towards], axis=-1)


def solve(measured: Array, weights: Array, rows: Array) -> tuple[Array, Array]:
    """Weighted least squares of ``rows (pairs, 2) v = measured (pairs, *space)``, at each point."""
    a = np.einsum("p...,pi,pj->...ij", weights, rows, rows)
    b = np.einsum("p...,p...,pi->...i", weights, measured, rows)
    # A point without any echo has no equation: its velocity is 0, not undefined.
    a = a + (1e-6 * np.trace(a, axis1=-2, axis2=-1)[..., None, None] + 1e-30) * np.eye(2)
    v = np.linalg.solve(a, b[..., None])[..., 0]
    return v[..., 0], v[..., 1]


def steered(given: Image | Acquisition, name: str) -> Image:
    """Frames ``(angle, t, ...)``: as given, or each plane wave of channel data by itself."""
    if isinstance(given, Image):
        return given
    from somascope.acquire.ultrasound.beamform import das
    from somascope.acquire.ultrasound.samples import scan_of

    scan = scan_of(given, name)
    if scan.transmit.kind != "plane" or scan.times is None:
        raise ParameterError(
            f"{name} needs frames of plane waves; these are {scan.transmit.kind} transmits"
            f"{'' if scan.times else ' of a single frame'}"
        )
    film = das(given, compound=False, f_number=F_NUMBER)
    bend = np.degrees(np.arctan2(scan.transmit.vectors[:, 0], scan.transmit.vectors[:, 1]))
    angles = Axis("angle", tuple(float(b) for b in bend), "deg")
    return replace(film, data=np.moveaxis(film.data, 1, 0), axes=(angles, film.axes[0]))


@operation("acquire.ultrasound.vector_doppler")
def vector_doppler(
    frames: Image | Acquisition,
    *,
    receive: Annotated[
        tuple[float, ...],
        Param("Angle of the receiving aperture for each transmission; one for all, or one each",
              unit="deg", minimum=-60.0, maximum=60.0),
    ] = (0.0,),
    frequency: Frequency = None,
    speed_of_sound: SpeedOfSound = None,
    averaging: Averaging = 1.5,
    progress: Progress = QUIET,
) -> list[Image]:  # fmt: skip
    """Velocity across and along the beam from IQ frames of several steering angles.

    Complex ``(angle, t, nz, ny, nx)`` in, with the axis ``angle`` in degrees and ``t`` in seconds
    between transmissions **of the same angle**; or channel data of plane waves. Two images in cm/s
    out: the lateral velocity (positive towards rising columns) and the one towards the probe. Least
    squares over the angles, weighted with the coherence of each (Yiu and Yu, Ultrasound Med Biol
    39, 2013).
    """
    name = "acquire.ultrasound.vector_doppler"
    image = steered(frames, name)
    if [a.name for a in image.axes] != ["angle", "t"] or len(image.axes[0].values) < 2:
        raise GeometryError(
            f"{name}: the leading axes are {[a.name for a in image.axes]}; give 'angle' (two or "
            "more, in degrees) and 't'"
        )
    angles = np.radians(image.axes[0].values)
    if len(receive) not in (1, len(angles)):
        raise ParameterError(
            f"{name}: {len(receive)} receive angles for {len(angles)} transmissions; give one or "
            "one each"
        )
    rows = directions(angles, np.broadcast_to(np.radians(receive), angles.shape))
    if np.linalg.cond(rows) > 200:
        raise ParameterError(
            f"{name}: the angles {np.degrees(angles).round(2).tolist()} hardly differ; the lateral "
            "velocity cannot be told; use steering of several degrees to both sides"
        )
    f, c = facts(frames, image, name, frequency, speed_of_sound)
    measured: list[Array] = []
    weights: list[Array] = []
    smooth = gaussian_of(image, averaging)
    for k in progress.over(range(len(angles)), "estimating each angle"):
        slow = slow_time(image.at(angle=k), name, frequency=f / 1e6, speed=c)
        turning = blurred(autocorrelation(slow.frames), smooth)
        measured.append(slow.nyquist / np.pi * np.angle(turning))
        weights.append(np.abs(turning))
    across, towards = solve(np.stack(measured), np.stack(weights), rows)
    return [
        replace(
            image, data=(100.0 * v).astype(np.float32), axes=(), unit="cm/s",
            attributes={**image.attributes, "SeriesDescription": f"Vector Doppler, {what}"},
        )
        for v, what in ((across, "lateral"), (towards, "towards the probe"))
    ]  # fmt: skip
