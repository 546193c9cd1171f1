"""Hot and cold spheres in a warm body, after the image quality phantom of NEMA NU 2 (IEC body)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from somascope.core.errors import ParameterError
from somascope.core.grid import Grid
from somascope.core.image import Image
from somascope.phantoms.ellipsoid import Ellipsoid, draw
from somascope.phantoms.noise import blurred, poisson
from somascope.phantoms.patient import facts, source, uid

DIAMETERS = (10.0, 13.0, 17.0, 22.0, 28.0, 37.0)
"""Inner diameters of the spheres in mm (NEMA NU 2-2018, 7.3)."""

BODY_RADII = (150.0, 115.0)
"""Half axes of the body along L and P in mm."""
LUNG_RADIUS = 25.0
"""Of the cold insert on the axis, mm."""

_CIRCLE = 57.2
STUDY = "nema"
FRAME = uid("frame", STUDY)


def sphere_centres() -> list[tuple[float, float, float]]:
    """LPS mm of the centres of the spheres of `DIAMETERS`, the body's axis through the origin."""
    angles = np.deg2rad(60.0 * np.arange(len(DIAMETERS)))
    return [(_CIRCLE * float(np.cos(a)), _CIRCLE * float(np.sin(a)), 0.0) for a in angles]


def nema_shapes(
    *, background: float = 5300.0, contrast: float = 4.0, cold: Sequence[float] = ()
) -> list[Ellipsoid]:
    """Body, cold lung insert and six spheres, in painting order, Bq/ml.

    The spheres are hot, ``contrast`` times the background, but for those whose diameters in mm are
    in ``cold``: they hold nothing (NU 2-2012 has the two largest so, NU 2-2018 none).
    """
    if odd := set(cold) - set(DIAMETERS):
        raise ParameterError(f"there are no spheres of {sorted(odd)} mm; they are of {DIAMETERS}")
    shapes = [
        Ellipsoid(background, (0, 0, 0), (*BODY_RADII, 420)),
        Ellipsoid(0.0, (0, 0, 0), (LUNG_RADIUS, LUNG_RADIUS, 900)),
    ]
    for diameter, centre in zip(DIAMETERS, sphere_centres(), strict=True):
        r = diameter / 2
        value = 0.0 if diameter in cold else background * contrast
        shapes.append(Ellipsoid(value, centre, (r, r, r)))
    return shapes


def nema_pet(
    shape: Sequence[int] = (45, 128, 128),
    spacing: Sequence[float] = (3.0, 3.0, 3.0),
    *,
    fwhm_mm: float = 5.0,
    scale: float = 0.01,
    seed: int = 5,
) -> Image:
    """PET in Bq/ml, float32: counting noise of ``scale`` counts per Bq/ml, then ``fwhm_mm``.

    ``scale`` 0 gives no noise. ``shape`` is ``(nz, ny, nx)``, ``spacing`` in mm.
    """
    origin = [-(n - 1) / 2 * d for n, d in zip(shape[::-1], spacing[::-1], strict=True)]
    grid = Grid.from_spacing(shape, spacing, origin=origin, frame_of_reference=FRAME)
    activity = draw(nema_shapes(), grid)
    if scale > 0:
        activity = poisson(activity, seed=seed, scale=scale)
    data = blurred(activity, fwhm=[fwhm_mm / d for d in grid.spacing])
    return Image(
        data=data,
        grid=grid,
        modality="PT",
        unit="Bq/ml",
        provenance=source("nema_pet"),
        attributes={
            **facts(STUDY, "Phantom^NEMA", "Hot spheres", time="120000"),
            "PatientPosition": "HFS",
            "PatientWeight": 10.0,
            "CorrectedImage": ["DECY", "ATTN", "SCAT"],
            "DecayCorrection": "START",
            "FrameOfReferenceUID": FRAME,
        },
    )
