"""A study of many people, from the archive to the report: docs/tutorials/cohort.md.

::

    python examples/cohort_study.py docs/images [PEOPLE]

Every other person is a patient whose grey matter has shrunk at one place on the right;
heads are of different sizes, and the second of two scanners is noisier.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image as Picture

from somascope.analyze.cohort import Column, Comparison, Table, compared, regressed, write_table
from somascope.analyze.cohort.table import wide
from somascope.analyze.morphometry import morphometry
from somascope.analyze.morphometry.maps import tissue_map
from somascope.analyze.register import register
from somascope.archive import Archive
from somascope.core import Grid, Image, Mask, Measurement, Provenance, Segment, Source
from somascope.core.grid import Array
from somascope.io.dicom.write import instances
from somascope.jobs import Jobs
from somascope.jobs.cohort import Step, qc, rows_of, run, selected
from somascope.jobs.cohort.pages import age_chart, comparison_page, group_chart, quality_page
from somascope.phantoms import brain_grid, brain_mr
from somascope.phantoms.brain import brain_labels

SHAPE, SPACING = (34, 44, 36), (5.0, 4.6, 4.6)
GREY, WHITE = 4, 5
PLACE = np.array([-40.0, 20.0, 20.0])
"""Where patients have less grey matter: LPS mm, so on the right."""
STEPS = (
    Step("tissues", "segment.classes", ("image",), {"classes": 3}),
    Step("sizes", "analyze.radiomics", ("image", "tissues"), {"families": "shape,firstorder"}),
)


def person(number: int, *, coarse: float = 1.0, seed: int = 0) -> tuple[Image, Mask, bool]:
    """Head, grey matter, and whether it is a patient's; ``coarse`` times larger voxels."""
    rng = np.random.default_rng((seed, number))
    sick = number % 2 == 1
    age = float(np.round(rng.uniform(45, 80)))
    size = float(1 + rng.normal(0, 0.03) + (0.02 if number % 4 < 2 else -0.02))
    second = number % 3 == 2
    shape, spacing = [round(n / coarse) for n in SHAPE], [s * coarse for s in SPACING]
    grid = brain_grid(shape, spacing)
    labels = brain_labels(grid)
    grown = Grid(grid.shape, np.diag([size, size, size, 1.0]) @ grid.affine)
    far = np.linalg.norm(grid.to_world(np.moveaxis(np.indices(grid.shape), 0, -1)) - PLACE, axis=-1)
    lost = (rng.random(grid.shape) < 0.75 * np.exp(-((far / 22) ** 2))) & sick & (labels == GREY)
    head = brain_mr("T1", grid, noise=0.03 if second else 0.015, bias=0.05, seed=number)
    data = head.data.copy()
    data[lost] = np.median(data[labels == 3])  # fluid takes the place
    facts = dict(head.attributes) | {
        "PatientID": f"P{number:02d}", "PatientName": f"Person^{number}",
        "PatientSex": "FM"[number // 2 % 2], "PatientAge": f"{age:03.0f}Y",
        "InstitutionName": "North" if second else "South", "StudyDate": "20250101",
        "StudyInstanceUID": f"1.2.826.0.1.3680043.8.498.5.{number + 1}",
        "StudyDescription": "patient" if sick else "control",
        "FrameOfReferenceUID": f"1.2.826.0.1.3680043.8.498.6.{number + 1}",
    }  # fmt: skip
    grown = replace(grown, frame_of_reference=str(facts["FrameOfReferenceUID"]))
    source = Provenance((Source("phantom", f"person {number}"),))
    image = replace(head, data=data, grid=grown, attributes=facts, provenance=source)
    grey = Mask(data=((labels == GREY) & ~lost).astype(np.uint8), grid=grown,
                segments=(Segment(1, "Grey matter"),), attributes=facts)  # fmt: skip
    return image, grey, sick


def sizes(root: Path, people: list[Image], *, workers: int = 1) -> Table:
    """Put them into an archive, run the pipeline on all, and give one table."""
    with Archive.open(root) as archive:
        for image in people:
            for file in instances(image):
                archive.store(file)
        cases = selected(archive, {"Modality": ["MR"], "PatientAge": ["040Y-090Y"]})
        ran = run(Jobs(archive), STEPS, cases, workers=workers)
        table = rows_of(archive, ran)
    numbers = table.only([k == "measurement" for k in table.texts("kind")])
    kept = numbers.without("code", "uncertainty", "confidence", "text", "kind")
    made = wide(kept, index=("series", "region"))
    made = made.only([r == "Class 2" for r in made.texts("region")])  # grey and white matter
    groups = ["patient" if int(p[1:]) % 2 else "control" for p in made.texts("patient")]
    return made.having(Column("group"), groups)


def grey_maps(people: list[tuple[Image, Mask, bool]]) -> tuple[list[Image], Image]:
    """Everybody's grey matter on the first control's head, amounts kept."""
    template = people[0][0]
    maps: list[Image] = []
    for image, grey, _ in people:
        warp = register(template, image, "affine")
        maps.append(tissue_map(grey, warp, template, fwhm=10.0))
    return maps, template


def overlay(template: Image, sure: Image, *, times: int = 8) -> Array:
    """The slices where something was found: corrected 1 - p from 0.95 on in red."""
    found = sure.data >= 0.95
    z = int(found.sum(axis=(1, 2)).argmax()) if found.any() else sure.data.shape[0] // 2
    tiles: list[Array] = []
    for k in np.clip([z - 2, z, z + 2], 0, sure.data.shape[0] - 1):
        plane = template.data[k].astype(float)
        grey = np.clip(plane / np.percentile(template.data, 99.5), 0, 1) * 255
        tile = np.repeat(grey[..., None], 3, axis=2)
        tile[found[k]] = 0.4 * tile[found[k]] + 0.6 * np.array([255, 70, 40])
        tiles.append(tile.astype(np.uint8).repeat(times, 0).repeat(times, 1))
    return np.concatenate(tiles, axis=1)


def main(
    out: Path,
    *,
    people: int = 16,
    permutations: int = 500,
    workers: int = 1,
    coarse: float = 1.0,
) -> tuple[Comparison, list[Image | Measurement]]:
    """Write the pictures, tables and pages of the tutorial into ``out``."""
    out.mkdir(parents=True, exist_ok=True)
    everybody = [person(i, coarse=coarse) for i in range(people)]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "archive"
        table = sizes(root, [image for image, _, _ in everybody], workers=workers)
        with Archive.open(root) as archive:
            report = qc.of_archive(archive, selected(archive, {"Modality": ["MR"]}))
    write_table(table, out / "cohort.csv")
    volume = "shape MeshVolume"
    found = compared(table, [volume, "firstorder Mean"], "group")
    explained = [regressed(table, volume, ["age", "sex", "group", "site"])]
    page = comparison_page(found, explained, title="Brains of patients and controls")
    (out / "cohort.html").write_text(page, encoding="utf-8")
    quality = quality_page(report, title="Quality of the study")
    (out / "cohort-qc.html").write_text(quality, encoding="utf-8")
    maps, template = grey_maps(everybody)
    results = morphometry(
        *maps, effect=tuple(float(sick) for _, _, sick in everybody), sides="negative",
        covariates=tuple(table_age(image) for image, _, _ in everybody), permutations=permutations,
    )  # fmt: skip
    sure = results[1]
    assert isinstance(sure, Image)
    pictures = {
        "cohort-groups.png": group_chart(found[0]),
        "cohort-age.png": age_chart(table.numbers("age"), table.numbers(volume),
                                    table.texts("site"), up=f"{volume} (mm3)"),
        "cohort-atrophy.png": overlay(template, sure),
    }  # fmt: skip
    for name, data in pictures.items():
        Picture.fromarray(data).save(out / name, optimize=True)
    return found[0], results


def table_age(image: Image) -> float:
    """Years."""
    return float(str(image.attributes["PatientAge"])[:3])


if __name__ == "__main__":
    main(Path(sys.argv[1]), people=int(sys.argv[2]) if len(sys.argv) > 2 else 16)
