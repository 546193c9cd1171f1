"""Patients of two sites, and a reader who outlines."""

from __future__ import annotations

import numpy as np

from somascope.core import Grid, Image, Mask, Provenance, Segment, Source
from somascope.io.dicom.write import instances
from somascope.jobs.run import encode, store

GRID = Grid.from_spacing((4, 20, 24), (3.0, 1.5, 1.5))


def person(i, *, modality="MR", radius=5.0, **facts):
    """A bright ball; age 30 + 10 i, women are even, site A has three."""
    _, y, x = np.meshgrid(*[np.arange(n) for n in GRID.shape], indexing="ij")
    inside = (y - 10) ** 2 + (x - 12) ** 2 <= (radius + i / 4) ** 2
    noise = np.random.default_rng(i).normal(0, 5, GRID.shape)
    data = (np.where(inside, 300, 50) + noise).astype(np.int16)
    attributes = {
        "PatientID": f"P{i}", "PatientName": f"Doe^{i}", "PatientSex": "FM"[i % 2],
        "PatientAge": f"{30 + 10 * i:03d}Y", "StudyDate": f"2025010{i + 1}",
        "InstitutionName": "A" if i < 3 else "B", "Manufacturer": "ACME",
        "ManufacturerModelName": "One", "StudyDescription": "head", "RepetitionTime": 500.0 + i,
        "SeriesDescription": "T1", "StudyInstanceUID": f"1.2.826.0.1.5.{i + 1}", **facts,
    }  # fmt: skip
    source = Provenance((Source("phantom", f"person {i} {modality}"),))
    return Image(data, GRID, modality, provenance=source, attributes=attributes)


def put(archive, image):
    return {archive.store(f).series for f in instances(image)}.pop()


def outline(archive, series):
    """A Segmentation of a stored series, as a reader draws it."""
    from somascope.io import read_all

    image = read_all([i.path for i in archive.locate(series=series)]).images[0]
    data = (np.asarray(image.data).reshape(image.grid.shape) > 150).astype(np.uint8)
    mask = Mask(
        data=data, grid=image.grid, segments=(Segment(1, "Ball"),),
        on=tuple(u for s in image.provenance.sources for u in s.uids),
        provenance=image.provenance, attributes=dict(image.attributes),
    )  # fmt: skip
    return store(archive, [encode(mask, archive=archive)], operation="reader")[0]
