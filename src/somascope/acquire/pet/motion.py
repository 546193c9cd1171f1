"""The body moves between frames: rigid motion of each found by least squares, and undone.

Motion is six numbers per frame (`somascope.acquire.rigid`): mm along L, P, S and degrees about
them, of the body in that frame against the reference.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import numpy as np
from numpy.typing import ArrayLike

from somascope.acquire import rigid
from somascope.acquire.motion import estimate, reslice
from somascope.core import QUIET, Image, Param, Progress, operation
from somascope.core.errors import ParameterError
from somascope.core.grid import Array, Float

_LEAST_COUNTS = 0.02
_SEPARATION = 4.0
"""mm between the voxels looked at."""


def moved(image: Image, motion: ArrayLike) -> Image:
    """The body of a volume (a mu-map, say) as it lies in a frame of that motion."""
    centre = rigid.centre_of(image.grid)
    there = rigid.matrix(np.asarray(motion, np.float64), centre)
    back = rigid.parameters(np.linalg.inv(there).astype(np.float64), centre)
    data = np.ascontiguousarray(image.data, np.float32)
    made = reslice(data[None], back[None], grid=image.grid)[0]
    # Splines overshoot at edges, and attenuation below that of air amplifies.
    return replace(image, data=np.clip(made, data.min(), data.max()))


def _body(calm: Array) -> Array:
    """Voxels with activity to speak of."""
    return calm > 0.05 * max(float(np.quantile(calm, 0.995)), 1e-30)


def motion_of(
    image: Image, *, reference: int = -1, smoothing: float = 8.0, progress: Progress = QUIET
) -> Float:
    """Motion ``(frames, 6)`` of a dynamic image against one of its frames.

    The sum of squared differences with a free brightness, since the activity changes from frame to
    frame. Frames with hardly any activity (before the tracer comes) keep the motion of the next.
    """
    count = image.shape[0]
    if not -count <= reference < count:
        raise ParameterError(
            f"reference frame {reference} of {count}; count from 0, or -1 for last"
        )
    target = reference % count
    data = np.ascontiguousarray(image.data, np.float32)
    level = np.array([float(np.quantile(v, 0.98)) for v in data])
    seen = np.flatnonzero(level >= _LEAST_COUNTS * level.max())
    seen = seen[seen != target]
    found = np.zeros((count, 6))
    if seen.size:
        found[seen] = estimate(
            data[seen], data[target], grid=image.grid, body=_body, fwhm=smoothing,
            separation=_SEPARATION, what="acquire.pet.motion", progress=progress,
        )[0]  # fmt: skip
    known = {target, *seen.tolist()}
    for i in range(count):
        if i not in known:
            found[i] = found[min((k for k in known if k > i), default=target)]
    return found


@operation("acquire.pet.motion")
def motion(
    image: Image,
    *,
    reference: Annotated[
        int, Param("Frame to which all are aligned, from 0; -1 for the last", minimum=-1,
                   maximum=10000)
    ] = -1,
    transforms: Annotated[
        tuple[float, ...] | None,
        Param("Known motion: six numbers per frame (mm along L, P, S; degrees about L, P, S); "
              "estimated if not given"),
    ] = None,
    smoothing: Annotated[
        float, Param("Blur before frames are compared, FWHM", unit="mm", minimum=0.0, maximum=40.0)
    ] = 8.0,
    progress: Progress = QUIET,
) -> Image:  # fmt: skip
    """Align the frames of a dynamic image: rigid motion between frames is found and undone.

    Least squares against the reference frame with a free scale, since the tracer's distribution
    changes; frames without activity move with the next one. The frames should have been
    reconstructed with attenuation at their own position (`motion.moved` moves a mu-map there).
    Shape and axes stay; cubic splines, 0 where a frame did not see.
    """
    if [a.name for a in image.axes] != ["t"]:
        raise ParameterError(
            f"acquire.pet.motion takes frames along t; this image has {list(image.axis_names[:-3])}"
        )
    count = image.shape[0]
    if transforms is None:
        found = motion_of(image, reference=reference, smoothing=smoothing, progress=progress)
    elif len(transforms) == 6 * count and np.isfinite(transforms).all():
        found = np.reshape(transforms, (count, 6))
    else:
        raise ParameterError(
            f"acquire.pet.motion: {len(transforms)} numbers of motion for {count} frames; give "
            f"{6 * count} finite ones"
        )
    data = np.array(image.data, np.float32)
    turned = np.flatnonzero(np.any(found != 0, axis=1))
    if turned.size:
        data[turned] = reslice(data[turned], found[turned], grid=image.grid)
    progress(1.0, "aligned")
    return replace(image, data=data)
