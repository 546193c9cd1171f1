"""Registrations by hand: from pairs of points, or from a picture that was pushed into place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Literal

import numpy as np

from somascope.acquire.rigid import centre_of, matrix
from somascope.analyze.register.engine import about, judged, register
from somascope.analyze.register.landmarks import accuracy, fit
from somascope.analyze.register.presets import Name
from somascope.analyze.register.transform import compose
from somascope.analyze.register.verdict import Registered
from somascope.core import QUIET, Image, Param, Progress, Warp, operation
from somascope.core.errors import ParameterError
from somascope.core.grid import Float


def triples(numbers: Sequence[float], what: str) -> Float:
    """Points ``(n, 3)`` of numbers in a row, ``L P S L P S ...`` in mm."""
    if len(numbers) % 3 or not numbers:
        raise ParameterError(f"{what} has {len(numbers)} numbers; give L, P and S of each point")
    return np.asarray(numbers, np.float64).reshape(-1, 3)


@operation("analyze.register_landmarks")
def register_landmarks(
    fixed: Image,
    moving: Image,
    *,
    fixed_points: Annotated[
        tuple[float, ...], Param("L, P, S of points in the first image, one after another",
                                 unit="mm")
    ],
    moving_points: Annotated[
        tuple[float, ...], Param("L, P, S of the same points in the second image", unit="mm")
    ],
    kind: Annotated[
        Literal["rigid", "similarity", "affine"], Param("What the map may do")
    ] = "rigid",
    fle: Annotated[
        float | None,
        Param("Localisation error of a pair; estimated from the residuals when not given",
              unit="mm", minimum=0.0),
    ] = None,
    refine: Annotated[
        Name | None, Param("Go on from there by the images' content, with this preset")
    ] = None,
    progress: Progress = QUIET,
) -> Warp:  # fmt: skip
    """Register the second image to the first by pairs of points, three or more.

    The verdict says how far the points lie apart then (FRE), how far off the middle of the image
    must be expected (TRE), and how far a pair is missed when it is left out.
    """
    a, b = triples(fixed_points, "fixed_points"), triples(moving_points, "moving_points")
    known = accuracy(a, b, fle=fle)
    if refine is not None:
        made = register(fixed, moving, refine, landmarks=(a, b), progress=progress)
    else:
        found = fit(a, b, kind=kind)
        made = judged(
            fixed, moving,
            Registered(matrix=found.matrix, preset="landmarks", **about(fixed, moving)),
            landmarks=(a, b),
        )  # fmt: skip
    middle = centre_of(fixed.grid)
    source = f"± {known.fle_spread:.2f}, estimated" if fle is None else "as given"
    largest = f"the largest {known.left.max():.2f} mm, of {len(a)} pairs"
    notes = [
        f"fiducial registration error (rigid): {known.fre:.2f} mm, {largest}",
        f"localisation error: {known.fle:.2f} mm, {source}",
        f"expected target error in the middle of the image: {known.tre(middle):.2f} mm",
    ]
    if known.left_out is not None:
        notes.append(f"a pair that is left out is missed by {known.left_out:.2f} mm")
    verdict = replace(made.verdict, notes=(*made.verdict.notes, *notes))
    progress(1.0, verdict.words)
    return replace(made, verdict=verdict)


@operation("analyze.nudge")
def nudge(
    fixed: Image,
    moving: Image,
    *before: Warp,
    shift: Annotated[
        tuple[float, float, float], Param("By which the second image is pushed: L, P, S", unit="mm")
    ] = (0.0, 0.0, 0.0),
    turn: Annotated[
        tuple[float, float, float],
        Param("By which it is turned about L, P and S, about the middle of the first image",
              unit="deg"),
    ] = (0.0, 0.0, 0.0),
    progress: Progress = QUIET,
) -> Warp:  # fmt: skip
    """Push the second image into place by hand, from where it is or as a registration has it.

    What is seen at a place of the first image is then seen ``shift`` further on, after a turn. The
    result is a registration like any other, with its verdict.
    """
    if len(before) > 1:
        raise ParameterError(
            f"analyze.nudge was given {len(before)} registrations; give one, or none"
        )
    middle = centre_of(fixed.grid)
    pose = matrix(np.array([*shift, *turn]), middle)
    back = Warp(matrix=np.asarray(np.linalg.inv(pose), np.float64))
    start = replace(before[0], fixed_frame="", moving_frame="") if before else None
    whole = back if start is None else compose(back, start)
    made = Registered(
        matrix=whole.matrix, grid=whole.grid, displacement=whole.displacement, preset="by hand",
        **about(fixed, moving),
    )  # fmt: skip
    made = judged(fixed, moving, made)
    note = "pushed by hand: " + ", ".join(f"{v:+.1f}" for v in shift) + " mm (L, P, S)"
    if any(turn):
        note += ", " + ", ".join(f"{v:+.1f}" for v in turn) + " degrees"
    progress(1.0, made.verdict.words)
    return replace(made, verdict=replace(made.verdict, notes=(*made.verdict.notes, note)))
