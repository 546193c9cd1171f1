from pathlib import Path

import numpy as np
import pytest

import somascope.io as sio
from somascope.core import Mask, Progress
from somascope.core.errors import (
    Cancelled,
    GeometryError,
    NotFound,
    ParameterError,
    ReadError,
    SomascopeError,
)
from somascope.io.dicom.header import scan
from somascope.jobs.replay import provenance_of, replay
from somascope.jobs.run import execute, run_files
from somascope.process.filters import gaussian


def read(archive, uid):
    report = sio.read_all([i.path for i in archive.locate(series=uid)])
    assert not report.problems
    (noun,) = [*report.images, *report.masks]
    return noun


def test_an_image_operation_makes_a_series_in_the_same_study(archive, series):
    (out,) = execute(archive, "process.gaussian", [series], {"sigma": 1.5})
    source, result = archive.locate(series=series), archive.locate(series=out)
    assert {i.study for i in result} == {i.study for i in source}
    assert len(result) == len(source)
    before, after = read(archive, series), read(archive, out)
    assert after.grid.allclose(before.grid)
    assert (after.modality, after.unit) == ("CT", "[hnsf'U]")
    truth = gaussian(before, sigma=1.5).data
    step = (truth.max() - truth.min()) / 65535  # 16 bits are stored
    assert np.abs(after.data - truth).max() <= step
    record = provenance_of(archive, out)
    assert record.steps[-1].inputs == (series,)
    assert record.steps[-1].params == {"sigma": 1.5, "dimensions": "volume"}
    assert set(record.sources[0].uids) == {i.sop_uid for i in source}


def test_steps_that_an_input_brings_are_kept_and_inner_ones_are_not():
    from somascope.core import Grid, Image, Provenance, Source, Step, operation
    from somascope.jobs.run import compute

    @operation("test.inner")
    def both(image: Image) -> Image:
        """Smooth by way of another operation."""
        return gaussian(image, sigma=1.0)

    straightened = Step("io.straighten", {"angle": [1.0, 2.0]})
    image = Image(
        np.ones((2, 3, 4)), Grid.from_spacing((2, 3, 4), (1, 1, 1)),
        provenance=Provenance((Source("dicom", "1.2"),), (straightened,)),
    )  # fmt: skip
    (out,) = compute(both.operation, [image], ["1.2"], {})
    assert [s.operation for s in out.provenance.steps] == ["io.straighten", "test.inner"]
    assert out.provenance.steps[-1].inputs == ("1.2",)


def test_a_segmentation_is_stored_as_seg_and_read_back(archive, series):
    (out,) = execute(
        archive, "segment.threshold", [series], {"lower": 300.0, "keep": 1, "label": "Blob"}
    )
    (instance,) = archive.locate(series=out)
    assert instance.sop_class == "1.2.840.10008.5.1.4.1.1.66.4"
    mask, image = read(archive, out), read(archive, series)
    assert isinstance(mask, Mask)
    assert mask.segments[0].label == "Blob"
    assert mask.grid.allclose(image.grid)
    assert (mask.plane(mask.segments[0].number) > 0).sum() > 50
    from scipy import ndimage

    labels, _ = ndimage.label(image.data >= 300, np.ones((3, 3, 3)))
    largest = labels == 1 + np.argmax(np.bincount(labels.ravel())[1:])
    np.testing.assert_array_equal(mask.plane(mask.segments[0].number) > 0, largest)


def references(items):
    return [str(i.ReferencedSOPInstanceUID) for i in items]


def test_a_segmentation_references_the_images_it_was_made_on(archive, series):
    import highdicom
    from pydicom import dcmread

    (out,) = execute(archive, "segment.threshold", [series], {"lower": 300.0})
    (stored,) = archive.locate(series=out)
    sources = {i.sop_uid: dcmread(i.path) for i in archive.locate(series=series)}
    made = highdicom.seg.segread(stored.path)
    (listed,) = made.ReferencedSeriesSequence
    assert listed.SeriesInstanceUID == series
    assert sorted(references(listed.ReferencedInstanceSequence)) == sorted(sources)
    assert {made.StudyInstanceUID} == {d.StudyInstanceUID for d in sources.values()}
    assert {made.FrameOfReferenceUID} == {d.FrameOfReferenceUID for d in sources.values()}
    for frame in made.PerFrameFunctionalGroupsSequence:
        (derived,) = frame.DerivationImageSequence
        (uid,) = references(derived.SourceImageSequence)  # the one in the frame's own plane
        assert archive.locate(instance=uid)
        place = frame.PlanePositionSequence[0].ImagePositionPatient
        assert np.allclose(place, sources[uid].ImagePositionPatient)
    uids = made.get_source_image_uids()
    assert {u for _, _, u in uids} == set(sources)
    pixels = made.get_pixels_by_source_instance(
        [u for _, _, u in uids], segment_numbers=[1], ignore_spatial_locations=True
    )
    planes = {u: pixels[n, ..., 0] for n, (_, _, u) in enumerate(uids)}
    for uid, dataset in sources.items():
        values = dataset.pixel_array * dataset.RescaleSlope + dataset.RescaleIntercept
        np.testing.assert_array_equal(planes[uid] > 0, values >= 300)
    assert replay(archive, out).same_bytes


def test_a_mask_on_deleted_images_is_still_written(archive, series):
    from somascope.jobs.resolve import sources_of

    (out,) = execute(archive, "segment.threshold", [series], {"lower": 300.0})
    mask = read(archive, out)
    assert {str(d.SeriesInstanceUID) for d in sources_of(archive, mask)} == {series}
    from dataclasses import replace

    assert sources_of(archive, replace(mask, on=("1.2.3",))) == []


def test_equal_runs_give_equal_bytes_and_other_runs_other_names(archive, series, tmp_path):
    from somascope.archive import Archive

    (first,) = execute(archive, "process.clahe", [series], {"clip_limit": 3.0})
    assert execute(archive, "process.clahe", [series], {"clip_limit": 3}) == [first]
    (other,) = execute(archive, "process.clahe", [series], {"clip_limit": 4.0})
    assert other != first
    with Archive.open(tmp_path / "other") as second:
        for i in archive.locate(series=series):
            second.store(i.read())
        assert execute(second, "process.clahe", [series], {"clip_limit": 3.0}) == [first]
        ours = {i.sop_uid: i.read() for i in archive.locate(series=first)}
        theirs = {i.sop_uid: i.read() for i in second.locate(series=first)}
        assert ours == theirs


@pytest.mark.parametrize(
    ("operation", "params"),
    [
        ("process.gaussian", {"sigma": 2.0}),
        ("process.window", {"preset": "abdomen"}),
        ("process.resample", {"spacing": [2.0], "order": "cubic"}),
        ("segment.threshold", {"method": "otsu", "separate": True, "minimum_volume": 20}),
    ],
)
def test_replay_repeats_every_byte(archive, series, operation, params):
    (out,) = execute(archive, operation, [series], params)
    report = replay(archive, out)
    assert report.identical
    assert report.same_bytes
    assert report.difference == 0
    assert report.operation == operation
    assert report.inputs == (series,)
    one = replay(archive, archive.locate(series=out)[0].sop_uid)
    assert one.operation == operation


def test_replay_of_a_result_of_a_result_and_after_the_series_grew(archive, series, store_volume):
    (smooth,) = execute(archive, "process.gaussian", [series], {"sigma": 1.0})
    (mask,) = execute(archive, "segment.threshold", [smooth], {"lower": 100.0})
    assert replay(archive, mask).identical
    from pydicom import dcmread

    late = dcmread(archive.locate(series=series)[-1].path)
    position = [float(v) for v in late.ImagePositionPatient]
    late.ImagePositionPatient = [position[0], position[1], position[2] + 3.0]
    late.SOPInstanceUID = late.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4.5.6"
    late.InstanceNumber = 99
    import io as bytes_io

    buffer = bytes_io.BytesIO()
    late.save_as(buffer)
    archive.store(buffer.getvalue())
    assert read(archive, series).grid.shape[0] == 7
    assert replay(archive, smooth).identical


def test_replay_tells_a_changed_result(archive, series, tmp_path):
    """A result whose pixels were touched (and re-registered under its old name) is DIFFERENT."""
    (out,) = execute(archive, "process.gaussian", [series], {"sigma": 1.0})
    instance = archive.locate(series=out)[2]
    raw = bytearray(instance.path.read_bytes())
    raw[-100] ^= 0x10
    instance.path.chmod(0o644)
    instance.path.write_bytes(bytes(raw))
    report = replay(archive, out)
    assert not report.identical
    assert not report.same_bytes
    assert report.difference > 0


def test_what_cannot_be_run(archive, series):
    before = archive.stats().instances
    for operation, inputs, params, error, words in [
        ("process.gaussian", ["9.9"], {}, NotFound, "no series or instance '9.9'"),
        ("process.gaussian", [series, series], {}, ParameterError, "1 input"),
        ("process.gaussian", [series], {"sigma": "wide"}, ParameterError, "give a number"),
        ("process.nothing", [series], {}, NotFound, "no operation"),
        ("process.gaussian", [f"{series}#2"], {}, NotFound, "only 1"),
        ("segment.threshold", [series], {}, ParameterError, "give lower"),
    ]:
        with pytest.raises(error, match=words):
            execute(archive, operation, inputs, params)
    (mask,) = execute(archive, "segment.threshold", [series], {"lower": 300.0})
    with pytest.raises(ReadError, match="no Image, but 1 Mask"):
        execute(archive, "process.gaussian", [mask])
    with pytest.raises(NotFound, match="no record of an operation"):
        replay(archive, series)
    assert archive.stats().instances == before + 1


def test_several_volumes_are_refused_and_named(archive, store_volume):
    from pydicom import dcmread

    first, second = store_volume(seed=1), store_volume(seed=2, shape=(4, 12, 12))
    import io as bytes_io

    head = dcmread(archive.locate(series=first)[0].path)
    for i in archive.locate(series=second):
        ds = dcmread(i.path)
        ds.SeriesInstanceUID, ds.StudyInstanceUID = first, head.StudyInstanceUID
        ds.PatientID, ds.PatientName = head.PatientID, head.PatientName
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID + "1"
        buffer = bytes_io.BytesIO()
        ds.save_as(buffer)
        assert archive.store(buffer.getvalue()).outcome == "stored"
    with pytest.raises(GeometryError, match=r"holds 2 volumes.*#1 CT.*#2 CT"):
        execute(archive, "process.gaussian", [first])
    outs = [execute(archive, "process.gaussian", [f"{first}#{n}"])[0] for n in (1, 2)]
    shapes = {read(archive, o).grid.shape for o in outs}
    assert shapes == {(6, 24, 20), (4, 12, 12)}
    assert all(replay(archive, o).identical for o in outs)


def test_progress_rises_and_a_cancel_stores_nothing(archive, series):
    said = []
    execute(
        archive, "process.gaussian", [series], progress=Progress(lambda f, m: said.append((f, m)))
    )
    fractions = [f for f, _ in said]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    assert {m for _, m in said} >= {"reading", "smoothing", "writing", "storing"}
    before = archive.stats().instances
    calls = iter([False, False, False])
    with pytest.raises(Cancelled):
        execute(
            archive, "process.gaussian", [series], {"sigma": 3.0},
            progress=Progress(None, lambda: next(calls, True)),
        )  # fmt: skip
    assert archive.stats().instances == before


def test_files_in_files_out(archive, series, tmp_path):
    folder = tmp_path / "dicom"
    folder.mkdir()
    for n, i in enumerate(archive.locate(series=series)):
        (folder / f"{n}.dcm").write_bytes(i.read())
    (out,) = run_files("process.gaussian", [folder], tmp_path / "smooth.nii.gz", {"sigma": 1.5})
    smooth = sio.read(out)
    truth = gaussian(sio.read(folder), sigma=1.5)
    np.testing.assert_allclose(smooth.data, truth.data, rtol=1e-6)
    assert smooth.grid.allclose(truth.grid)
    (again,) = run_files("process.window", [out], tmp_path / "series", {"centre": 0, "width": 800})
    assert isinstance(again, Path)
    assert len(list(again.iterdir())) == 6
    assert scan(next(again.iterdir())).text("Modality")
    (seg,) = run_files("segment.threshold", [str(folder)], tmp_path / "m.nii", {"lower": 300})
    assert seg.exists()
    with pytest.raises(SomascopeError):
        run_files("process.gaussian", [tmp_path / "nothing"], tmp_path / "x.nii")
