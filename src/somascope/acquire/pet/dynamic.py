"""Dynamic studies: frames scanned one by one, and their images as one series."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal

import numpy as np

from somascope.acquire.pet import decay, realism
from somascope.acquire.pet.attenuation import survival
from somascope.acquire.pet.scanner import named
from somascope.acquire.pet.simulate import measure, scan_for
from somascope.core import QUIET, Acquisition, Axis, Image, Param, Progress, operation
from somascope.core.errors import GeometryError, ParameterError, UnitError
from somascope.core.grid import Array
from somascope.io.dicom.pet import half_life
from somascope.io.dicom.suv import number

_PER_FRAME = ("ActualFrameDuration", "DecayFactor", "FrameReferenceTime", "AcquisitionTime",
              "AcquisitionDate", "ScatterFractionFactor", "DeadTimeFactor")  # fmt: skip


@operation("acquire.pet.simulate_dynamic")
def simulate_dynamic(
    activity: Image,
    *mu: Image,
    scanner: Annotated[
        Literal["tiny", "brain", "body", "clinical"], Param("Generic scanner")
    ] = "brain",
    span: Annotated[
        int, Param("Ring differences joined in one segment, odd", minimum=1, maximum=99)
    ] = 3,
    randoms: Annotated[
        float, Param("Share of the prompts that are random", minimum=0.0, maximum=0.9, step=0.05)
    ] = 0.0,
    scatter: Annotated[
        Literal["none", "single", "photons"], Param("As in acquire.pet.simulate")
    ] = "none",
    noise: Annotated[bool, Param("Poisson counts; else expected counts")] = True,
    seed: Annotated[int, Param("Of the noise", minimum=0, maximum=2**31 - 1)] = 0,
    progress: Progress = QUIET,
) -> list[Acquisition]:  # fmt: skip
    """Scan a dynamic activity (Bq/ml along ``t``, corrected to time zero): one scan per frame.

    Frame times and durations are those of the image. The activity decays between and within frames;
    every acquisition knows its own decay, so that all reconstruct to time zero. A second image
    gives the attenuation.
    """
    when = decay.frames(activity)
    if activity.unit != "Bq/ml" or [a.name for a in activity.axes] != ["t"]:
        raise UnitError(
            f"the activity is in {activity.unit!r} with axes {list(activity.axis_names[:-3])}; "
            "give Bq/ml along t"
        )
    half = half_life(activity)
    scan = scan_for(activity.grid, named(scanner), span=span)
    shared: dict[str, Array] = {"sensitivity": np.array(scan.scanner.sensitivity)}
    if mu:
        shared["attenuation"] = survival(scan, mu[0])
    made: list[Acquisition] = []
    for i, reference in enumerate(when.reference(half)):
        progress(i / len(when.start), f"frame {i + 1}")
        start, duration = float(when.start[i]), float(when.duration[i])
        facts = {k: v for k, v in activity.attributes.items() if k not in _PER_FRAME}
        facts |= {
            "ActualFrameDuration": duration * 1e3, "FrameReferenceTime": reference * 1e3,
            "DecayCorrection": "START",
        }  # fmt: skip
        own = dict(shared)
        if half is not None:
            factor = decay.factor(half, start=start, duration=duration)
            own["decay"] = np.array(1 / factor)
            facts["DecayFactor"] = factor
        values = np.asarray(activity.data[i], np.float32)
        own = realism.added(
            scan, values, mu[0] if mu else None, calibration=own, attributes=facts, kind=scatter,
            uneven=0.0, dead=0.0, randoms=randoms, seed=seed,
        )  # fmt: skip
        counts, own = measure(
            scan, values, calibration=own, attributes=facts, randoms=randoms,
            seed=seed + i if noise else None,
        )  # fmt: skip
        made.append(
            Acquisition(
                counts, scan, "PT", unit="{counts}", calibration=own,
                provenance=activity.provenance, attributes=facts,
            )
        )  # fmt: skip
    return made


@operation("acquire.pet.dynamic")
def dynamic(*images: Image) -> Image:
    """Images of single frames, in any order, as one dynamic image along ``t``.

    Each knows its ``FrameReferenceTime`` and ``ActualFrameDuration`` (ms). They must lie on one
    grid, in one unit, and be corrected for decay to the same time.

    Raises
    ------
    GeometryError, UnitError, ParameterError
        They differ in grid or unit, or a time is missing or there twice.
    """
    if not images:
        raise ParameterError("acquire.pet.dynamic: no frames; give the image of each")
    return stacked(images)


def stacked(images: Sequence[Image]) -> Image:
    """As `dynamic`, of a sequence."""
    first = images[0]
    for other in images[1:]:
        if not other.grid.allclose(first.grid):
            raise GeometryError(f"a frame is on {other.grid!r}, another on {first.grid!r}")
        if (other.unit, other.axes) != (first.unit, ()):
            raise UnitError(
                f"a frame is in {other.unit!r} with axes {other.axis_names[:-3]}, the first in "
                f"{first.unit!r}; give single frames in one unit"
            )
    times = [_needed(image, "FrameReferenceTime") for image in images]
    durations = [_needed(image, "ActualFrameDuration") for image in images]
    order = np.argsort(times, kind="stable")
    if len(set(times)) != len(times):
        raise ParameterError(f"two frames have one FrameReferenceTime: {sorted(times)} ms")
    facts: dict[str, Any] = {k: v for k, v in first.attributes.items() if k not in _PER_FRAME}
    early = images[int(order[0])].attributes
    facts |= {k: early[k] for k in ("AcquisitionDate", "AcquisitionTime") if k in early}
    facts["ActualFrameDuration"] = [durations[i] for i in order]
    factors = [number(images[i].attributes, "DecayFactor") for i in order]
    if all(f is not None for f in factors):
        facts["DecayFactor"] = factors
    return replace(
        first,
        data=np.stack([images[i].data for i in order]),
        axes=(Axis("t", tuple(times[i] / 1e3 for i in order), "s"),),
        attributes=facts,
    )


def _needed(image: Image, word: str) -> float:
    value = number(image.attributes, word)
    if value is None:
        raise ParameterError(f"a frame has no {word}; set it in ms to place the frame in time")
    return value
