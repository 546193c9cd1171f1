"""Morphometry over an archive: tissue, registration to a template, and maps, as one pipeline."""

import pytest

from somascope.io import read_all
from somascope.jobs.cohort import Step, run, selected
from somascope.phantoms import brain_grid, brain_mr
from tests.jobs.cohort.people import put


def test_a_pipeline_brings_tissue_to_a_template_with_its_amount_kept(archive, jobs, working):
    from dataclasses import replace

    grid = brain_grid((22, 28, 24), (7.5, 7.2, 7.2))
    head = brain_mr("T1", grid)
    template = put(archive, head)
    affine = grid.affine.copy()
    affine[:3, :3] *= 1.08
    facts = dict(head.attributes) | {"PatientID": "P1", "StudyInstanceUID": "1.2.826.0.1.9.1",
                                     "FrameOfReferenceUID": "1.2.826.0.1.9.2"}  # fmt: skip
    larger = replace(grid, affine=affine, frame_of_reference="1.2.826.0.1.9.2")
    put(archive, replace(head, grid=larger, attributes=facts))
    steps = [
        Step("tissues", "segment.classes", ("image",), {"classes": 3}),
        Step("warp", "analyze.register", (template, "image"), {"preset": "affine"}),
        Step("map", "analyze.tissue_map", ("tissues", "warp", template), {"fwhm": 0.0}),
    ]
    (ran,) = run(jobs, steps, selected(archive, {"PatientID": ["P1"]}), workers=0)
    assert ran.state == "done", ran.reason

    def of(step):
        uid = ran.jobs[step].outputs[0]
        report = read_all([i.path for i in archive.locate(series=uid)])
        return (*report.images, *report.masks)[0]

    mask, made = of("tissues"), of("map")
    assert made.grid.allclose(grid)
    volume = (mask.plane(mask.segments[0].number) > 0).sum() * mask.grid.voxel_volume
    assert made.data.sum() * made.grid.voxel_volume == pytest.approx(volume, rel=0.03)
