"""The shape operations' contract, models on disk, and an archive's series."""

from __future__ import annotations

import io
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from somascope.analyze.shape import stored
from somascope.analyze.shape.operations import (
    check_shape,
    clean_shape,
    shape_,
    shape_modes,
    train_shape,
)
from somascope.analyze.shape.train import build
from somascope.core import Provenance, Source
from somascope.core.errors import Conflict, CorruptFile, NotFound, ParameterError, Refused
from somascope.testing import check_operation
from tests.analyze.shape.blobs import damaged, ellipse, ellipses, quadrics, seen


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory):
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("shapes")
        patch.setenv("SOMASCOPE_SHAPES", str(folder))
        yield folder


@pytest.fixture(scope="module")
def told():
    """Six images and masks that know where they are from."""
    masks = [
        replace(m, provenance=Provenance((Source("phantom", f"e{k}"),)))
        for k, m in enumerate(ellipses(6))
    ]
    images = [replace(seen(m, seed=k), provenance=m.provenance) for k, m in enumerate(masks)]
    return images, masks


@pytest.fixture(scope="module")
def kept(place: Path, told):
    images, masks = told
    series = [n for pair in zip(images, masks, strict=True) for n in pair]
    train_shape(*series, name="ellipse", points=40, appearance=True)
    return "ellipse"


def test_every_operation_keeps_its_contract(place, kept, told):
    images, masks = told
    check_operation(
        "analyze.train_shape", params={"name": "again", "points": 30}, inputs=tuple(masks)
    )
    check_operation("segment.shape", params={"model": kept}, inputs=(images[0],))
    for name in ("clean_shape", "check_shape", "shape_modes"):
        check_operation(f"analyze.{name}", params={"model": kept}, inputs=(masks[0],))


def test_training_tells_what_it_made(place, kept):
    assert "ellipse" in stored.names()
    model = stored.opened("ellipse")
    assert model.card.shapes == 6
    assert len(model.card.sha256) == 64


def test_all_methods_outline(kept, told):
    images, masks = told
    for method in ("boundary", "profile", "appearance"):
        found = shape_(images[1], model=kept, method=method)
        inside = found.data > 0
        both = np.count_nonzero(inside & (masks[1].data > 0))
        assert 2 * both / (inside.sum() + (masks[1].data > 0).sum()) > 0.9
        assert found.segments[0].label == "Ellipse"


def test_cleaning_leaves_other_segments(kept):
    mask = ellipse(22, 15)
    broken = damaged(mask, seed=1)
    data = broken.data.copy()
    data[0, :4, :4] = 7
    other = replace(mask.segments[0], number=7, label="Other")
    found = clean_shape(replace(broken, data=data, segments=(*mask.segments, other)), model=kept)
    assert (found.data[0, :4, :4] == 7).all()
    assert set(np.unique(found.data)) == {0, 1, 7}


def test_words_and_numbers(kept):
    usual, *numbers = check_shape(ellipse(22, 15), model=kept)
    assert usual.concept.meaning == "Shape as usual"
    odd, *_ = check_shape(ellipse(38, 9), model=kept)
    assert odd.concept.meaning == "Unusual shape"
    assert "mode 1 at" in odd.text
    assert {"Shape distance", "Shape off the model"} <= {n.concept.meaning for n in numbers}


def test_pages_of_modes(kept):
    pages = shape_modes(ellipse(22, 15), model=kept, modes=2)
    assert pages.data.shape[:2] == (3, 2)
    assert pages.data.dtype == np.uint8
    shown = pages.data[:, 0].reshape(3, -1).T
    assert len(np.unique(shown, axis=0)) > 5


def test_label_maps_count_as_masks(place, told):
    images, masks = told
    flat = [n for i, m in zip(images, masks, strict=True)
            for n in (i, replace(i, data=m.data, unit="1"))]  # fmt: skip
    train_shape(*flat, name="maps", points=30)
    assert stored.opened("maps").card.segments[0].label == "Label 1"
    with pytest.raises(ParameterError, match="where the mask of input 1 belongs"):
        train_shape(images[0], images[1], masks[1], name="bad")
    with pytest.raises(ParameterError, match="in turn"):
        train_shape(*masks, images[0], name="bad")


def test_a_model_comes_back_the_same(tmp_path, told):
    images, masks = told
    made = build(masks, images, points=30, appearance=True)
    for name in ("m.zip", "m"):
        written = stored.write(made, tmp_path / name)
        again = stored.read(tmp_path / name)
        assert again.card == written.card
        np.testing.assert_array_equal(again.mean, made.mean)
        np.testing.assert_array_equal(again.modes, made.modes)
        assert set(again.evidence) == set(made.evidence)
        for key, array in made.evidence.items():
            np.testing.assert_array_equal(again.evidence[key], array)
    first = (tmp_path / "m.zip").read_bytes()
    stored.write(made, tmp_path / "m.zip")  # the same one is no conflict
    assert (tmp_path / "m.zip").read_bytes() == first
    other = replace(made, mean=made.mean + 1e-3)
    with pytest.raises(Conflict, match="another shape model"):
        stored.write(other, tmp_path / "m.zip")
    stored.write(other, tmp_path / "m.zip", overwrite=True)


def test_damage_and_malice_are_refused(tmp_path, told):
    images, masks = told
    stored.write(build(masks, images, points=30), tmp_path / "m")
    card, arrays = ((tmp_path / "m" / n).read_bytes() for n in (stored.CARD, stored.ARRAYS))

    def packed(name: str, files: dict[str, bytes]) -> Path:
        path = tmp_path / name
        with zipfile.ZipFile(path, "w") as archive:
            for key, data in files.items():
                archive.writestr(key, data)
        return path

    cases = {
        "swapped": ({stored.CARD: card, stored.ARRAYS: arrays + b"x"}, CorruptFile, "SHA-256"),
        "nocard": ({stored.ARRAYS: arrays}, Refused, "two files"),
        "more": ({stored.CARD: card, stored.ARRAYS: arrays, "x.py": b""}, Refused, "two files"),
        "json": ({stored.CARD: b"{", stored.ARRAYS: arrays}, CorruptFile, "no shape model's card"),
        "kind": ({stored.CARD: b"{}", stored.ARRAYS: arrays}, CorruptFile, "no shape model's card"),
        "list": ({stored.CARD: b"[1]", stored.ARRAYS: arrays}, CorruptFile, "card"),
    }
    for name, (files, error, text) in cases.items():
        with pytest.raises(error, match=text):
            stored.read(packed(f"{name}.zip", files))
    import hashlib
    import json

    def resealed(data: bytes) -> dict[str, bytes]:
        record = json.loads(card) | {"sha256": hashlib.sha256(data).hexdigest()}
        return {stored.CARD: json.dumps(record).encode(), stored.ARRAYS: data}

    with np.load(io.BytesIO(arrays)) as file:
        own = {n: file[n] for n in file.files}

    def saved(**changed) -> bytes:
        buffer = io.BytesIO()
        np.savez(buffer, **{**own, **changed})
        return buffer.getvalue()

    bad = {
        "face": saved(faces=own["faces"] + 9999),
        "nan": saved(mean=own["mean"] * np.nan),
        "object": saved(mean=np.array([{}], dtype=object)),
        "short": saved(variances=own["variances"][:-1]),
        "strange": saved(code=np.zeros(3)),
        "wide": saved(profile_mean=np.tile(own["profile_mean"], 3)),
        "lacking": saved(pattern=own["pattern"][:1]),
        "rubbish": b"PK\x03\x04 rubbish",
    }
    for name, data in bad.items():
        with pytest.raises(CorruptFile):
            stored.read(packed(f"{name}.zip", resealed(data)))
    (tmp_path / "text.zip").write_text("no zip")
    with pytest.raises(CorruptFile, match="damaged ZIP"):
        stored.read(tmp_path / "text.zip")


def test_names_are_names(place):
    with pytest.raises(ParameterError, match="cannot be named"):
        train_shape(*ellipses(5), name="../up")
    with pytest.raises(NotFound, match="no shape model 'nobody'"):
        clean_shape(ellipse(20, 14), model="nobody")


def test_a_report_and_pages_in_an_archive(place, kept, tmp_path):
    from somascope.archive import Archive, Query
    from somascope.io import read_all, write
    from somascope.jobs.run import execute

    body = quadrics(1)[0]
    masks = quadrics(5)
    train_shape(*masks, name="solid", points=120)
    image = seen(body, seed=1)
    write(replace(image, data=image.data.astype(np.int16)), tmp_path / "mr")
    (mr,) = read_all(tmp_path / "mr").images
    on = tuple(u for s in mr.provenance.sources for u in s.uids)
    write(replace(body, grid=mr.grid, on=on, attributes=dict(mr.attributes)), tmp_path / "seg")
    archive = Archive.open(tmp_path / "archive")
    try:
        archive.import_paths([tmp_path / "mr", tmp_path / "seg"])
        uids = {s["00080060"]["Value"][0]: s["0020000E"]["Value"][0]
                for s in archive.search(Query("SERIES", {}))}  # fmt: skip
        (report,) = execute(archive, "analyze.check_shape", [uids["SEG"]], {"model": "solid"})
        (clean,) = execute(archive, "analyze.clean_shape", [uids["SEG"]], {"model": "solid"})
        (pages,) = execute(archive, "analyze.shape_modes", [uids["SEG"]], {"model": "solid"})

        def read(uid: str):
            return read_all([Path(i.path) for i in archive.locate(series=uid)])

        assert {"Shape distance"} <= {f.concept.meaning for f in read(report).findings}
        assert len(read(clean).masks) == 1
        assert read(pages).images[0].data.shape[0] == 3
    finally:
        archive.close()
