"""What is behind paths: names that no other has, and nothing left out without a word."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image as Picture

from somascope.core import Grid, Image
from somascope.core.errors import CorruptFile, NotFound, SomascopeError
from somascope.io import write
from somascope.io.dicom.write import instances
from somascope.models import Network
from somascope.models.inputs import inputs
from somascope.models.predict import predict
from tests.models import graphs


def picture(path, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    Picture.fromarray(rng.integers(0, 255, (16, 16), np.uint8)).save(path)


def test_files_of_one_name_in_several_folders(tmp_path):
    for name in ("a/1.png", "b/1.png", "b/2.png"):
        picture(tmp_path / name)
    assert [i.name for i in inputs([tmp_path])] == ["a/1", "b/1", "2"]
    with pytest.raises(CorruptFile, match="two inputs are named '1'"):
        inputs([tmp_path / "a" / "1.png", tmp_path / "b" / "1.png"])
    picture(tmp_path / "a" / "1.bmp")
    with pytest.raises(CorruptFile, match="two inputs are named 'a/1'"):
        inputs([tmp_path])


def test_what_cannot_be_read_is_told(tmp_path):
    picture(tmp_path / "good.png")
    (tmp_path / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\nno picture")
    (tmp_path / "cut.bmp").write_bytes(b"BM123")
    (tmp_path / "broken.dcm").write_bytes(b"no DICOM")
    (tmp_path / "notes.txt").write_text("not an image, and not meant to be one")
    found = {i.name: i for i in inputs([tmp_path])}
    assert set(found) == {"good", "bad", "cut", "broken"}
    assert found["good"].load().grid.shape == (1, 16, 16)
    for name in ("bad", "cut", "broken"):
        with pytest.raises(SomascopeError, match=name):
            found[name].load()


def test_what_is_not_there(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(NotFound, match="DICOM, nii"):
        inputs([tmp_path / "empty"])
    with pytest.raises(NotFound, match="--archive DIR"):
        inputs(["1.2.840.113619.2.55.3"])
    with pytest.raises(NotFound, match=r"'nothing\.png'$"):
        inputs(["nothing.png"])


@pytest.mark.parametrize(("shape", "flat", "read"), [
    ((3, 8, 9), True, (1, 8, 9)), ((3, 8, 9, 3), True, (3, 1, 8, 9)),
    ((3, 4, 8, 9), False, (4, 8, 9)),
])  # fmt: skip
def test_rows_of_arrays(tmp_path, shape, flat, read):
    np.savez(tmp_path / "a.npz", images=np.zeros(shape, np.uint8))
    found = inputs([tmp_path / "a.npz"])
    assert [i.name for i in found] == ["0", "1", "2"]
    assert {i.flat for i in found} == {flat}
    assert found[0].load().data.shape == read
    np.savez(tmp_path / "b.npz", images=np.zeros(5))
    with pytest.raises(CorruptFile, match="shape"):
        inputs([tmp_path / "b.npz"])


def test_a_label_map_has_its_images_name_and_form(tmp_path):
    """PNG in two dimensions (a DICOM slice, too), NIfTI for volumes, below the same folder."""
    card = replace(graphs.CARD, dimensions=2, patch=(16, 16), modalities=(), spacing_mm=(0.1, 9.0),
                   intensity=(-1e3, 1e3), preparation=replace(graphs.CARD.preparation,
                                                              orient=False))  # fmt: skip
    w = graphs.weight("w", np.array([0, 1.0]).reshape(2, 1, 1, 1))
    b = graphs.weight("b", [0, -0.5])
    node = graphs.onnx.helper.make_node("Conv", ["image", "w", "b"], ["logits"])
    made = graphs.model([node], inputs={"image": [1, 1, "h", "w"]},
                        outputs={"logits": [1, 2, "h", "w"]}, weights=[w, b])  # fmt: skip
    model = Network(graphs.packed(made, card), threads=1)
    for name in ("a/1.png", "b/1.png"):
        picture(tmp_path / "in" / name)
    grid = Grid.from_spacing((1, 16, 16), (1, 0.5, 0.5))
    values = np.random.default_rng(1).integers(0, 255, (1, 16, 16)).astype(np.int16)
    slice_ = Image(values, grid, "DX")
    (tmp_path / "in" / "c.dcm").write_bytes(next(iter(instances(slice_))))
    write(slice_, tmp_path / "in" / "d.nii.gz")
    done = predict(model, inputs([tmp_path / "in"]), tmp_path / "out")
    assert not done.problems
    made = sorted(p.relative_to(tmp_path / "out").as_posix() for p in done.files)
    assert made == ["a/1.png", "b/1.png", "c.png", "d.nii.gz"]
