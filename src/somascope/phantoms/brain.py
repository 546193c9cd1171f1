"""A head in magnetic resonance: folded cortex, white matter, ventricles, deep nuclei, a lesion.

Signal is that of a spin echo, ``PD (1 - exp(-TR/T1)) exp(-TE/T2)``, with an inversion pulse for
FLAIR (Bernstein, King, Zhou 2004, 14.3). The lesion lies in the patient's left hemisphere, and a
capsule of oil sits at the left temple.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from somascope.core.finding import Code, Mask, Segment
from somascope.core.grid import Array, Float, Grid
from somascope.core.image import Image
from somascope.phantoms.ellipsoid import Ellipsoid, draw
from somascope.phantoms.noise import rician
from somascope.phantoms.patient import facts, source, uid

STUDY = "brain"
PATIENT = "Phantom^Brain"
FRAME = uid("frame", STUDY)

AIR, SCALP, SKULL, CSF, GREY, WHITE, LESION = range(7)

SEGMENTS = (
    Segment(SCALP, "Scalp", Code("41695006", "SCT", "Scalp"), colour=(177, 122, 101)),
    Segment(SKULL, "Skull", Code("89546000", "SCT", "Skull"), colour=(241, 214, 145)),
    Segment(CSF, "Cerebrospinal fluid", Code("65216001", "SCT", "Cerebrospinal fluid"),
            colour=(85, 188, 255)),
    Segment(GREY, "Grey matter", Code("389080008", "SCT", "Gray matter of brain"),
            colour=(128, 174, 128)),
    Segment(WHITE, "White matter", Code("389081007", "SCT", "White matter of brain"),
            colour=(250, 250, 225)),
    Segment(LESION, "Lesion", Code("52988006", "SCT", "Lesion"), colour=(255, 80, 80)),
)  # fmt: skip

# Proton density, T1 and T2 in ms at 1.5 T.
_TISSUE: dict[int, tuple[float, float, float]] = {
    AIR: (0.0, 1000.0, 50.0),
    SCALP: (0.9, 300.0, 75.0),
    SKULL: (0.06, 800.0, 40.0),
    CSF: (1.0, 4200.0, 1900.0),
    GREY: (0.86, 950.0, 98.0),
    WHITE: (0.72, 620.0, 80.0),
    LESION: (0.84, 1250.0, 160.0),
}

_SEQUENCES: dict[str, tuple[float, float, float]] = {
    "T1": (500.0, 11.0, 0.0),
    "T2": (4500.0, 95.0, 0.0),
    "PD": (3000.0, 15.0, 0.0),
    "FLAIR": (9000.0, 110.0, 2500.0),
}
"""TR, TE, TI in ms."""


def brain_grid(
    shape: Sequence[int] = (120, 160, 128), spacing: Sequence[float] = (1.4, 1.3, 1.3)
) -> Grid:
    """An axial grid centred on the head; ``shape`` ``(nz, ny, nx)``, ``spacing`` in mm."""
    origin = [-(n - 1) / 2 * d for n, d in zip(shape[::-1], spacing[::-1], strict=True)]
    return Grid.from_spacing(shape, spacing, origin=origin, frame_of_reference=FRAME)


def _around() -> list[Ellipsoid]:
    e = Ellipsoid
    return [
        e(SCALP, (0, 2, -8), (78, 98, 86)),
        e(SCALP, (0, -94, -38), (11, 14, 14)),
        e(SCALP, (-78, 8, -30), (8, 14, 20)),
        e(SCALP, (78, 8, -30), (8, 14, 20)),
        e(SCALP, (82, -22, 6), (6, 6, 6)),
        e(SKULL, (0, 2, -6), (73, 93, 81)),
        e(CSF, (0, 2, -5), (67, 87, 75)),
    ]


def _within() -> list[Ellipsoid]:
    """Structures painted over the hemispheres."""
    e = Ellipsoid
    shapes: list[Ellipsoid] = []
    for s in (-1, 1):
        shapes += [
            e(GREY, (s * 26, -4, -2), (9, 20, 14), (s * -12, 0)),
            e(GREY, (s * 11, 10, -2), (9, 14, 9), (s * 15, 0)),
            e(CSF, (s * 11, -16, 12), (6, 24, 8), (s * 12, 0)),
            e(CSF, (s * 17, 22, 8), (6, 18, 8), (s * -25, 0)),
            e(GREY, (s * 15, -20, 8), (5, 13, 9), (s * 12, 0)),
        ]
    return [
        *shapes,
        e(CSF, (0, 4, -4), (2.5, 12, 9)),
        e(WHITE, (0, -4, 21), (18, 30, 5)),
        e(WHITE, (0, 14, -38), (13, 13, 26)),
        e(CSF, (0, 30, -40), (6, 6, 9)),
        e(LESION, (38, -26, 22), (10, 12, 9), (30, 0)),
    ]


def brain_labels(grid: Grid) -> Array:
    """Tissue numbers at the voxel centres, uint8."""
    out = draw(_around(), grid)
    world = _world(grid)
    l, p, s = world
    rho = np.sqrt((l / 64) ** 2 + ((p - 2) / 84) ** 2 + ((s + 4) / 71) ** 2)
    # Sulci: a warped plane wave along the surface, deeper towards it.
    waves = np.sin(0.21 * p + 1.9 * np.sin(0.09 * s + 0.05 * l))
    waves += np.sin(0.23 * s + 1.7 * np.sin(0.08 * p - 0.06 * l) + 1.0)
    waves += 0.7 * np.sin(0.25 * l + 1.5 * np.sin(0.1 * p) + 2.0)
    fissure = (np.abs(l) < 1.6) & (s > -20) & (rho > 0.36)
    sulcus = (waves > 1.15) & (rho > 0.88)
    out[(rho < 0.985) & ~sulcus & ~fissure] = GREY
    out[(rho < 0.83 - 0.055 * waves) & (np.abs(l) > 4.5)] = WHITE
    out[(rho < 0.36) & (np.abs(l) <= 4.5)] = WHITE
    shapes = _within()
    found = draw(shapes, grid, background=-1)
    out = np.where(found >= 0, found, out)
    return out.astype(np.uint8)


def _world(grid: Grid) -> list[Float]:
    z, y, x = (np.arange(n, dtype=np.float32) for n in grid.shape)
    a = grid.affine.astype(np.float32)
    return [
        a[r, 0] * z[:, None, None] + a[r, 1] * y[None, :, None] + a[r, 2] * x[None, None] + a[r, 3]
        for r in range(3)
    ]  # pyright: ignore[reportReturnType]


def brain_mr(
    weighting: Literal["T1", "T2", "PD", "FLAIR"] = "T1",
    grid: Grid | None = None,
    *,
    noise: float = 0.015,
    bias: float = 0.15,
    seed: int = 4,
) -> Image:
    """The head, uint16, 4000 at full signal.

    Parameters
    ----------
    weighting
        Sequence; its TR, TE and TI are in the attributes.
    grid
        Default: `brain_grid`, 120 x 160 x 128.
    noise
        Standard deviation of each of the two receive channels, full signal 1.
    bias
        How much the coil's sensitivity varies over the head.
    seed
        Of the noise.
    """
    grid = brain_grid() if grid is None else grid
    tr, te, ti = _SEQUENCES[weighting]
    table = np.zeros(len(_TISSUE), np.float32)
    for tissue, (pd, t1, t2) in _TISSUE.items():
        recovered = 1 - np.exp(-tr / t1) - (2 * np.exp(-ti / t1) if ti else 0.0)
        recovered += 2 * np.exp(-tr / t1) if ti else 0.0
        table[tissue] = pd * abs(recovered) * np.exp(-te / t2)
    signal = (table / table.max())[brain_labels(grid)]
    if bias:
        l, p, _ = _world(grid)
        signal = signal * (1 + bias * (0.6 * p / 90 - 0.4 * l / 70)).astype(np.float32)
    if noise:
        signal = rician(signal, noise, seed=seed + list(_SEQUENCES).index(weighting))
    number = list(_SEQUENCES).index(weighting) + 1
    timing = {"RepetitionTime": tr, "EchoTime": te, "MagneticFieldStrength": 1.5}
    return Image(
        data=np.clip(np.rint(signal * 3400), 0, 4095).astype(np.uint16),
        grid=grid,
        modality="MR",
        provenance=source(f"brain_{weighting.lower()}"),
        attributes={
            **facts(STUDY, PATIENT, f"{weighting} axial", number=number, time="110000"),
            **timing,
            **({"InversionTime": ti} if ti else {}),
            "BodyPartExamined": "HEAD",
            "PatientPosition": "HFS",
            "ScanningSequence": ["SE", "IR"] if ti else ["SE"],
            "SequenceVariant": ["NONE"],
            "MRAcquisitionType": "3D",
            "FlipAngle": 90.0,
            "SliceThickness": grid.spacing[0],
            "FrameOfReferenceUID": FRAME,
        },
    )


def brain_mask(grid: Grid | None = None) -> Mask:
    """The tissues on a grid: the truth for segmentation."""
    grid = brain_grid() if grid is None else grid
    return Mask(
        data=brain_labels(grid),
        grid=grid,
        segments=SEGMENTS,
        provenance=source("brain_mask"),
        attributes=facts(STUDY, PATIENT, "Truth", number=9, time="110000"),
    )
