"""Studies that the browser tests look at: small phantoms, each with one difficulty."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from typing import Any

import numpy as np


def changed(part10: bytes, change: Callable[[Any], None]) -> bytes:
    import pydicom

    ds = pydicom.dcmread(BytesIO(part10))
    change(ds)
    out = BytesIO()
    ds.save_as(out, enforce_file_format=True)
    return out.getvalue()


def thorax(shape: tuple[int, int, int], *, noise: float = 0.0) -> Any:
    from somascope import phantoms

    nz, ny, nx = shape
    grid = phantoms.thorax_grid(shape, (384 / nz, 384 / ny, 384 / nx))
    return phantoms.thorax_ct(grid, noise_hu=noise)


def patient(noun: Any, name: str) -> Any:
    """The same values in a study of their own, of a patient called ``name``."""
    from pydicom.uid import generate_uid

    own = {
        "PatientName": f"Browser^{name}",
        "PatientID": name.upper(),
        "StudyDescription": name,
        "StudyInstanceUID": str(generate_uid(entropy_srcs=["browser", name])),
    }
    return replace(noun, attributes={**noun.attributes, **own})


def study_of_its_own(instances: list[bytes], name: str) -> list[bytes]:
    from pydicom.uid import generate_uid

    study, series = (generate_uid(entropy_srcs=[name, k]) for k in ("study", "series"))

    def change(ds: Any) -> None:
        ds.StudyInstanceUID, ds.SeriesInstanceUID = study, series
        ds.SOPInstanceUID = generate_uid(entropy_srcs=[name, ds.SOPInstanceUID])
        ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
        ds.PatientName, ds.PatientID = f"Broken^{name}", name.upper()
        ds.StudyDescription = ds.SeriesDescription = name

    return [changed(i, change) for i in instances]


def damage(ds: Any) -> None:
    """Pixel data that claims to be JPEG 2000 and is not."""
    from pydicom.encaps import encapsulate
    from pydicom.uid import JPEG2000Lossless

    ds.PixelData = encapsulate([bytes(range(200))])
    ds["PixelData"].is_undefined_length = True
    ds.file_meta.TransferSyntaxUID = JPEG2000Lossless


def ramp(name: str, photometric: str, *, spacing: bool) -> bytes:
    """A picture 200 by 100 without a place in space: 0 at its left, 199 at its right."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

    ds = Dataset()
    uids = [generate_uid(entropy_srcs=["ramp", name, part]) for part in ("a", "b", "c")]
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.SOPInstanceUID = uids
    ds.SOPClassUID = SecondaryCaptureImageStorage
    ds.PatientName, ds.PatientID, ds.StudyDescription = f"Ramp^{name}", name.upper(), name
    ds.StudyDate, ds.StudyTime, ds.Modality, ds.ConversionType = "20250101", "080000", "OT", "WSD"
    ds.SeriesNumber = ds.InstanceNumber = 1
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, photometric
    ds.Rows, ds.Columns, ds.BitsAllocated, ds.BitsStored, ds.HighBit = 100, 200, 8, 8, 7
    ds.PixelRepresentation = 0
    ds.WindowCenter, ds.WindowWidth = 100, 200
    if spacing:
        ds.PixelSpacing = [1, 1]
    ds.PixelData = np.tile(np.arange(200, dtype=np.uint8), (100, 1)).tobytes()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    out = BytesIO()
    ds.save_as(out, enforce_file_format=True)
    return out.getvalue()


def turning_views() -> bytes:
    """Eight views of a turning camera, 45 degrees apart from the patient's back to the left."""
    from pydicom.sequence import Sequence
    from pydicom.uid import NuclearMedicineImageStorage

    def change(ds: Any) -> None:
        from pydicom.dataset import Dataset

        ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = NuclearMedicineImageStorage
        ds.Modality, ds.ImageType = "NM", ["ORIGINAL", "PRIMARY", "TOMO", "EMISSION"]
        ds.NumberOfFrames, ds.Rows, ds.Columns = 8, 32, 32
        ds.PixelSpacing, ds.WindowCenter, ds.WindowWidth = [4, 4], 100, 200
        detector, turn = Dataset(), Dataset()
        detector.ImageOrientationPatient, detector.ImagePositionPatient = (
            [1, 0, 0, 0, 0, -1],
            [0] * 3,
        )
        turn.StartAngle, turn.AngularStep, turn.RotationDirection = 0, 45, "CC"
        turn.NumberOfFramesInRotation = 8
        ds.DetectorInformationSequence, ds.RotationInformationSequence = (
            Sequence([detector]), Sequence([turn]),
        )  # fmt: skip
        ds.DetectorVector = ds.RotationVector = ds.EnergyWindowVector = [1] * 8
        ds.AngularViewVector = list(range(1, 9))
        ds.PixelData = np.tile(np.arange(32, dtype=np.uint8) * 6, (8, 32, 1)).tobytes()

    return changed(ramp("turning views", "MONOCHROME2", spacing=False), change)


def b_values() -> list[bytes]:
    """One series that holds three volumes: diffusion weighting dims all tissue alike."""
    from somascope import phantoms
    from somascope.core.image import Axis
    from somascope.io.dicom import write

    whole = phantoms.brain_mr("T2", phantoms.brain_grid((30, 40, 32), (5.6, 5.2, 5.2)))
    data = np.asarray(whole.data, np.float32)
    b = (0.0, 500.0, 1000.0)
    image = replace(
        patient(whole, "diffusion"),
        data=np.stack([data * np.exp(-v * 1e-3) for v in b]).astype(np.float32),
        axes=(Axis("b", b, "s/mm2"),),
    )
    return write.instances(image, series_description="Diffusion", series_number=1)


MOTION = (8.0, (12.0, -9.0, 11.0))
"""Degrees about the feet-to-head axis, and mm to the left, back and up."""


def motion_back(grid: Any) -> Any:
    """4x4 that leads from places of the second scan of `motion` to those of the first."""
    degrees, shift = MOTION
    a = np.deg2rad(degrees)
    middle = grid.to_world((np.asarray(grid.shape) - 1) / 2)
    matrix = np.eye(4)
    matrix[:2, :2] = [[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]]
    matrix[:3, 3] = middle + shift - matrix[:3, :3] @ middle
    return matrix


def motion_grid() -> Any:
    from somascope import phantoms

    return phantoms.brain_grid((30, 40, 32), (5.6, 5.2, 5.2))


def motion() -> list[bytes]:
    """One head scanned twice, each time in a frame of reference of its own."""
    from somascope import phantoms
    from somascope.analyze.register import apply
    from somascope.core import Grid, Warp
    from somascope.io.dicom import write

    grid = motion_grid()
    first = patient(phantoms.brain_mr("T1", grid), "motion")
    own = Grid(grid.shape, grid.affine, f"{grid.frame_of_reference}.2")
    second = apply(first, Warp(matrix=motion_back(grid)), own)
    return [
        *write.instances(first, series_description="First scan", series_number=1),
        *write.instances(second, series_description="Second scan", series_number=2),
    ]


OFFSET = (0.0, 20.8, 16.8)
"""mm to the left, back and up from places of the first scan of `foreign` to those of the second."""


def foreign() -> list[bytes]:
    """Two scans that another system registered: no verdict, and one offset of the grid defined."""
    from somascope import phantoms
    from somascope.core import Grid, Warp
    from somascope.io.dicom import registration, write

    grid = motion_grid()
    first = patient(phantoms.brain_mr("T1", grid), "foreign")
    own = Grid(grid.shape, grid.affine, f"{grid.frame_of_reference}.2")
    lattice = Grid.from_spacing((3, 4, 5), (60.0, 60.0, 60.0), origin=(-120.0, -90.0, -60.0))
    vectors = np.full((3, *lattice.shape), np.nan, np.float32)
    vectors[:, 2, 3, 4] = OFFSET
    warp = Warp(
        matrix=np.eye(4), grid=lattice, displacement=vectors, attributes=first.attributes,
        fixed_frame=grid.frame_of_reference, moving_frame=own.frame_of_reference,
    )  # fmt: skip
    return [
        *write.instances(first, series_description="First scan", series_number=1),
        *write.instances(
            replace(first, grid=own), series_description="Second scan", series_number=2
        ),
        *registration.instances(warp, series_number=3),
    ]


def followed(archive: Any) -> None:
    """Two examinations of one patient in the archive, and their follow-up."""
    from somascope import phantoms
    from somascope.io.dicom import seg, write
    from somascope.io.dicom.header import scan
    from somascope.jobs.run import execute

    made = phantoms.thorax_follow_up(
        phantoms.thorax_grid((46, 58, 78), (4.4, 3.6, 3.6)), growth=(0.0, 0.5, -1.0), new=1,
        radius=14.0,
    )  # fmt: skip
    uids: list[str] = []
    for image, mask in (
        (made.current, made.current_lesions), (made.prior, made.prior_lesions)
    ):  # fmt: skip
        slices = write.instances(image)
        drawn = seg.instances(mask, slices, series_number=9)
        for part10 in (*slices, *drawn):
            archive.store(part10)
        uids += [scan(slices[0]).series, scan(drawn[0]).series]
    current, now, prior, before = uids
    execute(archive, "analyze.follow_up", [current, prior, before, now], {})


def raw_scan() -> list[bytes]:
    """Detector samples of three slices: no pixels."""
    from somascope.acquire.ct.simulate import simulate
    from somascope.io.dicom import raw

    scan = simulate(patient(thorax((3, 64, 64)), "sinogram"), views=60)
    return raw.instances(scan, series_description="Sinogram, 60 views", series_number=1)


def report() -> list[bytes]:
    """A CT of eight slices, and what was found in it."""
    from somascope.core import Box, Code, Label, Measurement, Provenance, Source, Step
    from somascope.io.dicom import sr, write

    ct = patient(thorax((8, 32, 32)), "findings")
    record = Provenance((Source("phantom", "thorax"),), (Step("analyze.size", {}, (), "0.1"),))
    nodule = Code("27925004", "SCT", "Nodule")
    more = {"provenance": record, "attributes": ct.attributes}
    found = [
        Measurement(concept=Code("81827009", "SCT", "Diameter"), value=12.5, unit="mm",
                    uncertainty=0.25, confidence=0.9, **more),
        Measurement(concept=Code("118565006", "SCT", "Volume"), value=1022.5, unit="mm3", **more),
        Label(concept=nodule, confidence=0.75, probabilities={"benign": 0.625}, **more),
        Box(concept=Code("15825003", "SCT", "Aorta"), confidence=0.5, grid=ct.grid,
            lower=(1, 2, 3), upper=(4, 8, 9), **more),
    ]  # fmt: skip
    slices = write.instances(ct, series_description="Few slices", series_number=1)
    return [*slices, *sr.instances(found, series_description="Sizes", series_number=2)]


BOXES = {
    "Low": (slice(2, 10), slice(8, 20), slice(8, 20)),
    "High": (slice(6, 14), slice(14, 26), slice(14, 26)),
}
"""Two boxes (z, y, x) that share 4 x 6 x 6 voxels."""


def segmentations() -> list[bytes]:
    """A CT with every kind of segmentation of it, one series each."""
    from somascope.core import Mask
    from somascope.core.finding import Segment
    from somascope.io.dicom import seg, write

    ct = patient(thorax((16, 32, 32)), "segments")
    slices = write.instances(ct, series_description="Small CT", series_number=1)
    planes = np.zeros((2, *ct.grid.shape), bool)
    for plane, box in zip(planes, BOXES.values(), strict=True):
        plane[box] = True
    names = tuple(Segment(number=n + 1, label=label) for n, label in enumerate(BOXES))
    apart = planes[0].astype(np.uint8)
    apart[planes[1] & ~planes[0]] = 2
    likely = np.where(planes, np.float32(0.8), np.float32(0.3))

    def mask(data: Any) -> Any:
        return Mask(data=data, grid=ct.grid, segments=names, attributes=ct.attributes)

    def made(number: int, name: str, data: Any, kind: Any) -> list[bytes]:
        return seg.instances(
            mask(data), slices, kind=kind, series_description=name, series_number=number
        )

    def packed(part10: bytes) -> bytes:
        from pydicom.uid import RLELossless

        return changed(part10, lambda ds: ds.compress(RLELossless, generate_instance_uid=False))

    return [
        *slices,
        *made(11, "Overlapping", planes, "binary"),
        *made(12, "Labelmap", apart, "labelmap"),
        *made(13, "Fractional", likely, "fractional"),
        *[packed(p) for p in made(14, "Compressed", likely * np.float32(0.99), "fractional")],
    ]


BALL = ((4, 14, 27), 15.0)
"""Centre (z, y, x) of the ball in `ball`, in voxels, and its radius in mm."""


def ball() -> Any:
    """A bright ball in noise, not in the middle of anything."""
    from somascope.core import Grid, Image, Provenance, Source

    grid = Grid.from_spacing(
        (9, 36, 44), (4.0, 2.0, 2.0), origin=(-40.0, -30.0, 10.0), frame_of_reference="2.25.6171",
    )  # fmt: skip
    centre, radius = BALL
    index = np.moveaxis(np.indices(grid.shape), 0, -1)
    inside = (((index - centre) * grid.spacing) ** 2).sum(axis=-1) <= radius**2
    noise = np.random.default_rng(0).normal(scale=25.0, size=grid.shape)
    data = np.clip(np.where(inside, 700.0, 150.0) + noise, 0, None).astype(np.uint16)
    image = Image(data, grid, "MR", provenance=Provenance((Source("phantom", "ball"),)))
    return patient(image, "scribbled")


def to_learn_from() -> list[bytes]:
    """A chest radiograph, a ball and a small head, each in a study of its own.

    The radiograph is a negative, which the shipped model calls normal: of every empty picture it
    is surer that it shows pneumonia, and then there is nothing to hold an explanation against.
    """
    from somascope import phantoms
    from somascope.io.dicom import write

    chest = patient(phantoms.thorax_dx((128, 128)), "reasoned")
    chest = replace(chest, data=chest.data.max() - chest.data)
    head = patient(phantoms.brain_mr("T1", phantoms.brain_grid((9, 32, 26), (17, 6, 6))), "doubted")
    return [f for image in (chest, ball(), head) for f in write.instances(image, series_number=1)]


def model_of_bright(folder: Any) -> None:
    """A model to segment in ``folder``: what is brighter than 1500 in an MR volume."""
    from somascope.models import package
    from tests.models import graphs

    made = graphs.segmenter(sharp=0.004)
    made.graph.initializer[1].CopyFrom(graphs.weight("b", [0, -6.0]))
    card = replace(graphs.CARD, spacing_mm=(0.5, 20.0), intensity=(-100.0, 20000.0))
    package.write(graphs.packed(made, card), folder / "segment.bright.zip")


def fill(root: Any, files: Any, names: tuple[str, ...]) -> None:
    """An archive of all of these, and of ``names`` in ``files``."""
    from somascope import phantoms
    from somascope.archive import Archive
    from somascope.io.dicom import seg, write

    archive = Archive.open(root)
    try:
        ct = thorax((48, 128, 128))
        slices = write.instances(ct)
        pet = phantoms.thorax_pet(phantoms.thorax_grid((40, 48, 48), (8.0, 8.0, 8.0)))
        made = [
            *slices,
            *write.instances(pet),
            *seg.instances(phantoms.thorax_mask(ct.grid), slices, series_number=9),
            *write.instances(phantoms.heart_us(frames=12, size=128), multiframe=True),
            *write.instances(phantoms.thorax_dx((256, 256))),
            *b_values(),
            *motion(),
            *foreign(),
            *raw_scan(),
            *report(),
            *segmentations(),
            ramp("unspaced", "MONOCHROME2", spacing=False),
            ramp("filler", "MONOCHROME1", spacing=True),
            turning_views(),
            *to_learn_from(),
        ]
        few = slices[20:28]
        made += study_of_its_own([s for i, s in enumerate(few) if i != 3], "gap")
        broken = study_of_its_own(few, "undecodable")
        made += [changed(s, damage) if i == 5 else s for i, s in enumerate(broken)]
        for part10 in made:
            archive.store(part10)
        for name in names:
            archive.store((files / name).read_bytes())
        followed(archive)
    finally:
        archive.close()
