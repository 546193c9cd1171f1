"""`acquire.ultrasound.clutter`: the echoes of slow tissue taken out of IQ frames."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal, TypeAlias

import numpy as np

from somascope.acquire.ultrasound.choices import SpeedOfSound
from somascope.acquire.ultrasound.doppler_frames import Frequency, Slow, slow_time
from somascope.core import QUIET, Acquisition, Axis, Image, Param, Progress, operation
from somascope.core.errors import ParameterError
from somascope.core.grid import Array


def by_svd(frames: Array, *, rank: int | None = None, cutoff: float = 0.1) -> tuple[Array, int]:
    """Take away the strongest components in space and time; tissue moves as one, and slowly.

    The Casorati matrix ``(pixels, t)`` is decomposed (Demené et al., IEEE TMI 34, 2015) by the
    eigenvectors of its ``t x t`` covariance.

    Parameters
    ----------
    frames
        ``(t, *space)``.
    rank
        Number of components; None: from the strongest on, as long as they turn by less than
        ``cutoff`` (share of the Nyquist velocity) from frame to frame.

    Returns
    -------
    tuple
        Frames of the same shape, and the number of components that went.
    """
    count = len(frames)
    matrix = frames.reshape(count, -1)
    values, vectors = np.linalg.eigh((matrix @ matrix.conj().T).astype(np.complex128))
    vectors = vectors[:, ::-1]
    if rank is None:
        turn = np.angle(np.sum(np.conj(vectors[:-1]) * vectors[1:], axis=0)) / np.pi
        noise = 10 * np.median(values)
        slow = (np.abs(turn) < cutoff) & (values[::-1] > noise)
        rank = count if slow.all() else int(np.argmin(slow))
    if rank >= count:
        raise ParameterError(
            f"acquire.ultrasound.clutter: {rank} of {count} components would be taken away, "
            "which leaves nothing; give a lower rank or cutoff, or more frames"
        )
    tissue = vectors[:, :rank].astype(frames.dtype)
    return (matrix - tissue @ (tissue.conj().T @ matrix)).reshape(frames.shape), rank


def by_polynomial(frames: Array, *, order: int) -> Array:
    """Subtract each pixel's polynomial of ``order`` in slow time (Hoeks et al. 1991)."""
    count = len(frames)
    if order + 1 >= count:
        raise ParameterError(
            f"acquire.ultrasound.clutter: a polynomial of order {order} fits all of {count} frames"
        )
    base = np.polynomial.legendre.legvander(np.linspace(-1, 1, count), order)
    basis, _ = np.linalg.qr(base)
    matrix = frames.reshape(count, -1)
    basis = np.asarray(basis, np.real(frames).dtype)
    return (matrix - basis @ (basis.T @ matrix)).reshape(frames.shape)


def by_fir(frames: Array, *, cutoff: float, taps: int) -> Array:
    """High-pass along slow time: ``(t - taps + 1, *space)``, the transients left out.

    ``cutoff`` is a share of the Nyquist frequency; Hamming window, odd ``taps``, linear phase.
    """
    from scipy.signal import firwin

    if not taps % 2 or taps >= len(frames):
        raise ParameterError(
            f"acquire.ultrasound.clutter: {taps} taps for {len(frames)} frames; give an odd number "
            "below the number of frames"
        )
    kernel = np.asarray(firwin(taps, cutoff, pass_zero=False), np.real(frames).dtype)
    kept = len(frames) - taps + 1
    out = np.zeros((kept, *frames.shape[1:]), frames.dtype)
    for k, weight in enumerate(kernel):
        out += weight * frames[k : k + kept]
    return out


Wall: TypeAlias = Annotated[
    Literal["none", "svd", "polynomial"],
    Param("What takes tissue away first: nothing, its strong slow components, or a polynomial"),
]
Cutoff: TypeAlias = Annotated[
    float, Param("Slower is taken for tissue (svd)", unit="cm/s", minimum=0.0, maximum=500.0)
]


def without_wall(slow: Slow, wall: str, cutoff: float, *, order: int = 2) -> Slow:
    """The same frames after a filter that keeps their number."""
    if wall == "svd":
        return replace(slow, frames=by_svd(slow.frames, cutoff=0.01 * cutoff / slow.nyquist)[0])
    if wall == "polynomial":
        return replace(slow, frames=by_polynomial(slow.frames, order=order))
    return slow


@operation("acquire.ultrasound.clutter")
def clutter(
    frames: Image | Acquisition,
    *,
    method: Annotated[
        Literal["svd", "polynomial", "fir"],
        Param("Singular values, a polynomial in time, or a high-pass (shortens the film)"),
    ] = "svd",
    cutoff: Annotated[
        float, Param("Slower is taken for tissue (svd, fir)", unit="cm/s", minimum=0.0,
                     maximum=500.0)
    ] = 2.0,
    rank: Annotated[
        int | None,
        Param("Components taken away (svd); found by cutoff if not given", minimum=1, maximum=1000),
    ] = None,
    order: Annotated[int, Param("Order of the polynomial", minimum=0, maximum=20)] = 2,
    taps: Annotated[int, Param("Length of the high-pass, odd", minimum=3, maximum=255)] = 9,
    frequency: Frequency = None,
    speed_of_sound: SpeedOfSound = None,
    progress: Progress = QUIET,
) -> Image:  # fmt: skip
    """Remove the echoes of tissue and vessel walls from IQ frames, which leaves what flows.

    Complex ``(t, nz, ny, nx)`` in and out.
    """
    name = "acquire.ultrasound.clutter"
    # Only a cutoff in cm/s needs the frequency: a polynomial or a given rank does without.
    needed = method == "fir" or (method == "svd" and rank is None)
    slow = slow_time(
        frames, name, frequency=frequency if needed else frequency or 1.0, speed=speed_of_sound
    )
    progress(0.0, "filtering")
    film, times = slow.frames, slow.times
    share = 0.01 * cutoff / slow.nyquist
    if method == "svd":
        film, _ = by_svd(film, rank=rank, cutoff=share)
    elif method == "polynomial":
        film = by_polynomial(film, order=order)
    else:
        if not 0 < share < 1:
            raise ParameterError(
                f"{name}: a cutoff of {cutoff:g} cm/s is {share:.2g} of the Nyquist velocity; it "
                "must lie between 0 and 1"
            )
        film = by_fir(film, cutoff=share, taps=taps)
        times = times[taps // 2 : len(times) - taps // 2]
    progress(1.0, "filtered")
    axis = Axis("t", tuple(float(t) for t in times), "s")
    return replace(slow.image, data=film.astype(np.complex64), axes=(axis,))
