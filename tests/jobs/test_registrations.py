import numpy as np
import pytest

from somascope.analyze.register import points
from somascope.archive import Archive
from somascope.core import Grid, Image
from somascope.io.dicom import write
from somascope.jobs.resolve import from_archive
from somascope.jobs.run import execute
from tests.analyze.register.pairs import pair


@pytest.fixture
def stored(tmp_path):
    made = pair(
        angles=(0, 0, 7), shift=(6, 0, -4), shape=(24, 28, 26), spacing=(5.0, 5.0, 5.0), bend=2.0
    )
    archive = Archive.open(tmp_path / "archive")
    uids = []
    facts = {"PatientID": "9", "PatientName": "Roe^Ann", "StudyInstanceUID": "1.2.99"}
    for k, image in enumerate((made.fixed, made.moving)):
        grid = Grid(image.grid.shape, image.grid.affine, f"1.2.99.{k + 1}")
        values = np.clip(image.data * 500 + 100, 0, 2000).astype(np.uint16)
        one = Image(values, grid, "MR", attributes=facts | {"SeriesNumber": k + 1})
        for file in write.instances(one):
            archive.store(file)
            from somascope.io.dicom.header import scan

            uid = scan(file).series
        uids.append(uid)
    yield made, archive, uids
    archive.close()


@pytest.mark.parametrize("preset", ["rigid", "deformable"])
def test_a_registration_is_kept_and_carries_images(stored, preset):
    made, archive, (fixed, moving) = stored
    (kept,) = execute(archive, "analyze.register", [fixed, moving], {"preset": preset})
    warp = from_archive(archive, kept, noun="Warp")
    assert warp.attributes["PatientID"] == "9"
    assert np.median(made.error(lambda x: points(warp, x))) < 2.0
    (carried,) = execute(archive, "analyze.transform", [moving, kept, fixed])
    image = from_archive(archive, carried, noun="Image")
    assert image.grid.frame_of_reference == "1.2.99.1"
    near = np.corrcoef(image.data[made.inside], made.fixed.data[made.inside])[0, 1]
    far = np.corrcoef(made.moving.data[made.inside], made.fixed.data[made.inside])[0, 1]
    assert near > 0.9 > far
