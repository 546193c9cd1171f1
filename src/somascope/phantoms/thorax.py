"""A thorax and upper abdomen: anatomy in ellipsoids, seen by CT, PET and a chest X-ray.

One body, one frame of reference. Left and right cannot be mistaken: the heart points left, the
liver lies right, and a metal bead sits on the skin of the patient's left.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from somascope.core.finding import Code, Mask, Segment
from somascope.core.grid import Float, Grid
from somascope.core.image import Image
from somascope.phantoms.ellipsoid import Ellipsoid, draw, draw_labels, line_integrals
from somascope.phantoms.noise import blurred, gaussian, poisson
from somascope.phantoms.patient import facts, source, uid

STUDY = "thorax"
PATIENT = "Phantom^Thorax"
FRAME = uid("frame", STUDY)

BODY, LEFT_LUNG, RIGHT_LUNG, HEART, LIVER, SPINE, RIBS, NODULE, LIVER_LESION = range(1, 10)
SPLEEN, AORTA, MARKER = 10, 11, 12

SEGMENTS = (
    Segment(BODY, "Body", Code("38266002", "SCT", "Entire body"), colour=(177, 122, 101)),
    Segment(LEFT_LUNG, "Left lung", Code("44029006", "SCT", "Left lung"), colour=(197, 165, 145)),
    Segment(RIGHT_LUNG, "Right lung", Code("3341006", "SCT", "Right lung"), colour=(214, 180, 160)),
    Segment(HEART, "Heart", Code("80891009", "SCT", "Heart"), colour=(206, 60, 58)),
    Segment(LIVER, "Liver", Code("10200004", "SCT", "Liver"), colour=(221, 130, 101)),
    Segment(SPINE, "Spine", Code("421060004", "SCT", "Vertebral column"), colour=(226, 202, 134)),
    Segment(RIBS, "Ribs", Code("113197003", "SCT", "Rib"), colour=(253, 232, 158)),
    Segment(NODULE, "Lung nodule", Code("27925004", "SCT", "Nodule"), colour=(90, 220, 90)),
    Segment(LIVER_LESION, "Liver lesion", Code("52988006", "SCT", "Lesion"), colour=(80, 160, 255)),
    Segment(SPLEEN, "Spleen", Code("78961009", "SCT", "Spleen"), colour=(157, 108, 162)),
    Segment(AORTA, "Aorta", Code("15825003", "SCT", "Aorta"), colour=(224, 97, 76)),
    Segment(
        MARKER, "Left marker", Code("260787004", "SCT", "Physical object"), colour=(255, 255, 255)
    ),
)

ACTIVITY: Mapping[int, float] = {
    BODY: 2500.0, LEFT_LUNG: 900.0, RIGHT_LUNG: 900.0, HEART: 9000.0, LIVER: 6500.0,
    SPINE: 4200.0, RIBS: 2800.0, NODULE: 42000.0, LIVER_LESION: 30000.0, SPLEEN: 5600.0,
    AORTA: 4800.0,
}  # fmt: skip
"""FDG in Bq/ml one hour after 370 MBq into 75 kg, in the usual ranges of SUV."""


def thorax_shapes() -> list[Ellipsoid]:
    """The anatomy in painting order, values in Hounsfield units."""
    e = Ellipsoid
    shapes = [
        e(-95, (0, 0, 0), (182, 122, 900), label=BODY),
        e(45, (0, 0, 0), (170, 110, 900), label=BODY),
    ]
    # Ribs are discs of which the chest cavity, painted next, leaves the rims; they fall forward.
    for i in range(11):
        z = 118 - 24 * i
        taper = 1 - 0.0022 * max(z - 20, 0)
        shapes.append(e(420, (0, 0, z), (158 * taper, 98 * taper, 5.5), (0, 24), label=RIBS))
    shapes += [
        e(30, (0, 2, -20), (147, 88, 260), label=BODY),
        e(330, (0, -99, 40), (19, 8, 75), label=RIBS),
        e(-860, (-72, 2, 20), (62, 78, 128), label=RIGHT_LUNG),
        e(-860, (74, 4, 22), (58, 76, 124), label=LEFT_LUNG),
        e(40, (0, 8, 60), (30, 62, 120), label=BODY),
    ]
    # Vessels that leave the hilum, so that the lung is not empty.
    for side, label in ((-1, RIGHT_LUNG), (1, LEFT_LUNG)):
        for k, (reach, rise, back) in enumerate(
            ((34, 30, -20), (38, 5, 10), (32, -30, -15), (30, 52, 12), (28, -48, 22))
        ):
            centre = (side * (44 + reach * 0.6), back * 0.6, 20 + rise)
            turn = float(np.degrees(np.arctan2(back * 0.6, side * reach * 0.6)))
            shapes.append(
                e(35, centre, (reach * 0.7, 3.4 - 0.3 * k, 3.4 - 0.3 * k), (turn, 0), label)
            )
    shapes += [
        e(-1000, (0, -4, 130), (9, 9, 62), label=BODY),
        e(-1000, (-16, 2, 62), (17, 6, 6), label=BODY),
        e(-1000, (16, 2, 62), (17, 6, 6), label=BODY),
        e(48, (26, -34, -14), (62, 46, 52), (35, 0), HEART),
        e(150, (40, -38, -20), (30, 24, 34), (35, 0), HEART),
        e(140, (6, -48, -2), (24, 20, 32), (35, 0), HEART),
        e(160, (-4, -22, 52), (15, 15, 48), label=AORTA),
        e(160, (10, 10, 92), (14, 36, 13), (-20, 0), AORTA),
        e(160, (24, 44, -40), (12, 12, 140), label=AORTA),
        e(58, (-52, -8, -112), (92, 76, 74), (-8, 0), LIVER),
        e(58, (14, -36, -104), (52, 36, 42), (0, 0), LIVER),
        e(110, (-30, -10, -104), (30, 5, 5), (25, 0), LIVER),
        e(50, (98, 34, -112), (32, 38, 48), (30, 0), SPLEEN),
        e(25, (58, -30, -126), (42, 34, 46), label=BODY),
        e(-950, (58, -52, -122), (22, 12, 24), label=BODY),
        e(12, (-52, 50, -165), (27, 24, 40), label=BODY),
        e(12, (56, 52, -160), (27, 24, 40), label=BODY),
    ]
    shapes.append(e(40, (0, 84, 0), (30, 26, 900), label=BODY))
    for i in range(14):
        z = 152 - 25 * i
        shapes += [
            e(420, (0, 66, z), (21, 17, 11.5), label=SPINE),
            e(190, (0, 66, z), (18, 14, 9.5), label=SPINE),
            e(380, (0, 100, z - 6), (4.5, 14, 8), (0, 20), SPINE),
            e(300, (0, 86, z), (26, 6, 6), label=SPINE),
        ]
    shapes += [
        e(20, (0, 85, 0), (8, 7, 900), label=BODY),
        e(40, (-88, -14, 74), (10, 9, 9), label=NODULE),
        e(15, (-84, 4, -104), (17, 15, 15), label=LIVER_LESION),
        e(2000, (181, -12, 60), (5, 5, 5), label=MARKER),
    ]
    return shapes


def thorax_grid(
    shape: Sequence[int] = (128, 256, 256), spacing: Sequence[float] = (2.5, 1.5, 1.5)
) -> Grid:
    """An axial grid centred on the body; ``shape`` ``(nz, ny, nx)``, ``spacing`` in mm."""
    origin = [-(n - 1) / 2 * d for n, d in zip(shape[::-1], spacing[::-1], strict=True)]
    origin[2] -= 10.0
    return Grid.from_spacing(shape, spacing, origin=origin, frame_of_reference=FRAME)


def thorax_ct(grid: Grid | None = None, *, noise_hu: float = 14.0, seed: int = 1) -> Image:
    """CT in Hounsfield units, int16, with a scanner's blur and noise.

    Parameters
    ----------
    grid
        Default: `thorax_grid`, 128 x 256 x 256.
    noise_hu
        Standard deviation in HU; 0 gives the truth, sharp.
    seed
        Of the noise.
    """
    grid = thorax_grid() if grid is None else grid
    data = draw(thorax_shapes(), grid, background=-1000)
    if noise_hu > 0:
        data = gaussian(blurred(data, fwhm=(0.9, 1.1, 1.1)), noise_hu, seed=seed)
    facts_ = facts(STUDY, PATIENT, "CT thorax and abdomen", number=1)
    return Image(
        data=np.clip(np.rint(data), -1024, 3071).astype(np.int16),
        grid=grid,
        modality="CT",
        unit="[hnsf'U]",
        provenance=source("thorax_ct"),
        attributes={
            **facts_,
            "BodyPartExamined": "CHEST",
            "PatientPosition": "HFS",
            "PatientWeight": 75.0,
            "PatientSize": 1.75,
            "KVP": 120.0,
            "SliceThickness": grid.spacing[0],
            "ConvolutionKernel": "PHANTOM",
            "FrameOfReferenceUID": FRAME,
        },
    )


def thorax_mask(grid: Grid | None = None) -> Mask:
    """The labels of the structures on a grid: the truth for segmentation."""
    grid = thorax_grid() if grid is None else grid
    return Mask(
        data=draw_labels(thorax_shapes(), grid),
        grid=grid,
        segments=SEGMENTS,
        provenance=source("thorax_mask"),
        attributes=facts(STUDY, PATIENT, "Truth", number=9),
    )


def thorax_pet(
    grid: Grid | None = None, *, fwhm_mm: float = 6.0, scale: float = 0.02, seed: int = 2
) -> Image:
    """FDG PET in Bq/ml, float32, in the CT's frame of reference.

    Parameters
    ----------
    grid
        Default: 4 mm voxels over the CT's field.
    fwhm_mm
        Resolution of the scanner.
    scale
        Counts per Bq/ml and voxel before smoothing; higher is less noisy.
    seed
        Of the noise.
    """
    grid = thorax_grid((80, 96, 96), (4.0, 4.0, 4.0)) if grid is None else grid
    shapes = [s for s in thorax_shapes() if s.label in ACTIVITY]
    activity = draw(shapes, grid, values=[ACTIVITY[s.label] for s in shapes])
    counts = poisson(activity, seed=seed, scale=scale)
    data = blurred(counts, fwhm=[fwhm_mm / d for d in grid.spacing])
    return Image(
        data=data,
        grid=grid,
        modality="PT",
        unit="Bq/ml",
        provenance=source("thorax_pet"),
        attributes={
            **facts(STUDY, PATIENT, "PET FDG", number=2),
            "BodyPartExamined": "CHEST",
            "PatientPosition": "HFS",
            "PatientWeight": 75.0,
            "PatientSize": 1.75,
            "FrameOfReferenceUID": FRAME,
            "CorrectedImage": ["DECY", "ATTN", "SCAT"],
            "DecayCorrection": "START",
            "ActualFrameDuration": 1_800_000,
            "RadiopharmaceuticalInformationSequence": [
                {
                    "Radiopharmaceutical": "Fluorodeoxyglucose F^18^",
                    "RadiopharmaceuticalStartTime": "090200",
                    "RadionuclideTotalDose": 3.7e8,
                    "RadionuclideHalfLife": 6586.2,
                    "RadionuclidePositronFraction": 0.967,
                    "RadionuclideCodeSequence": [
                        {
                            "CodeValue": "77004003",
                            "CodingSchemeDesignator": "SCT",
                            "CodeMeaning": "^18^Fluorine",
                        }
                    ],
                }
            ],
        },
    )


def thorax_dx(shape: Sequence[int] = (512, 512), *, noise: float = 0.004, seed: int = 3) -> Image:
    """A chest radiograph (PA, source at 1.8 m): 500 times minus log of the transmitted
    beam, uint16.

    The detector stands before the chest, in the plane P = -190 mm; the rays are integrated exactly
    through the shapes with a linear attenuation of ``0.0195 (1 + HU / 1000)`` per mm (water at
    about 75 keV). Bone is bright. The patient's left is on the right of the picture.

    Parameters
    ----------
    shape
        ``(ny, nx)`` pixels over 430 mm by 430 mm.
    noise
        Relative standard deviation of the open beam.
    seed
        Of the noise.
    """
    ny, nx = shape
    dy, dx = 430.0 / ny, 430.0 / nx
    grid = Grid.from_spacing(
        (1, ny, nx), (1.0, dy, dx),
        origin=(-(nx - 1) / 2 * dx, -190.0, (ny - 1) / 2 * dy + 10.0),
        direction=np.array([[0, 0, 1], [1, 0, 0], [0, -1, 0]], float),
    )  # fmt: skip
    index = np.stack(np.meshgrid([0], np.arange(ny), np.arange(nx), indexing="ij"), axis=-1)
    pixels: Float = grid.to_world(index)
    mu = [
        Ellipsoid(0.0195 * (1 + s.value / 1000), s.centre, s.radii, s.angles)
        for s in thorax_shapes()
    ]
    path = line_integrals(mu, np.array([0.0, 1610.0, 10.0]), pixels)
    # Counting noise: the fewer photons come through, the larger it is relative to them.
    image = path + noise * np.exp(path / 2) * gaussian(np.zeros(path.shape), 1.0, seed=seed)
    return Image(
        data=np.clip(np.rint(image * 500), 0, 4095).astype(np.uint16),
        grid=grid,
        modality="DX",
        provenance=source("thorax_dx"),
        attributes={
            **facts(STUDY, PATIENT, "Chest PA", number=3),
            "BodyPartExamined": "CHEST",
            "ViewPosition": "PA",
            "PatientOrientation": ["L", "F"],
            "DistanceSourceToDetector": 1800.0,
            "PresentationIntentType": "FOR PRESENTATION",
        },
    )
