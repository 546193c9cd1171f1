"""Labelled images that segment another one: one, many, and their mean; folders; refusals."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from somascope.analyze.atlas import (
    build,
    by_cases,
    case,
    fused,
    load,
    load_cases,
    propagate,
    save,
    save_cases,
)
from somascope.analyze.atlas.cases import paired
from somascope.analyze.atlas.propagate import by_atlas
from somascope.analyze.atlas.several import by_atlases, likeness
from somascope.analyze.register.levels import scaled
from somascope.core import Code, Grid, Image, Mask, Segment
from somascope.core.errors import Conflict, CorruptFile, GeometryError, ParameterError, Refused
from tests.analyze.atlas.people import GRID, SEGMENTS, SHAPE, dice, person

PRESET = "brain"
"""Small cut-outs of one organ of different people."""


@pytest.fixture(scope="module")
def target():
    return person(9, size=2.5)


@pytest.fixture(scope="module")
def atlases():
    return [person(k, size=2.5) for k in (1, 2, 3)]


def mean_dice(labels, truth) -> float:
    return float(np.mean([dice(labels, truth, k) for k in (1, 2)]))


def test_one_atlas_carries_its_labels(target, atlases):
    one = atlases[0]
    found = by_atlas(target.image, one.image, one.labels, preset=PRESET)
    before = mean_dice(one.labels.data, target.labels.data)
    assert mean_dice(found.data, target.labels.data) > max(before + 0.02, 0.88)
    assert found.grid == target.image.grid
    assert [s.label for s in found.segments] == ["Front", "Back"]
    assert 0 < found.segments[0].confidence <= 1
    assert "person 9" in {s.name for s in found.provenance.sources}


def test_labels_come_back_through_a_known_shift(target):
    """The atlas is the image itself, elsewhere in the world: labels return exactly."""
    grid = Grid(GRID.shape, GRID.affine + np.pad([[7.0], [-4.0], [3.6]], ((0, 1), (3, 0))))
    image = replace(target.image, grid=grid)
    labels = replace(target.labels, grid=grid)
    found = by_atlas(target.image, image, labels, preset="rigid")
    inner = (slice(4, -4),) * 3
    assert mean_dice(found.data[inner], target.labels.data[inner]) > 0.97


@pytest.fixture(scope="module")
def carried(target, atlases):
    return [propagate(target.image, a, PRESET) for a in atlases]


def test_many_atlases_are_better_than_each(target, carried):
    truth = target.labels.data
    labels = [c.labels for c in carried]
    alone = [mean_dice(one, truth) for one in labels]
    made = fused(target.image.data, [c.values for c in carried], labels, GRID.spacing)
    assert mean_dice(made.labels, truth) > np.mean(alone)
    assert all(c.warp.verdict.trusted for c in carried)
    assert all(
        0.5 < likeness(target.image.data, c.values, labels, target.image.grid) <= 1 for c in carried
    )


def test_the_likest_vote(target, atlases):
    """A copy of the image itself is chosen before all others."""
    cases = [atlases[0], replace(target, name="itself")]
    found = by_cases(target.image, cases, preset="rigid", keep=1, anyway=True)
    assert [name for name, _ in found.used] == ["itself"]
    assert mean_dice(found.fused.labels, target.labels.data) > 0.99


def test_the_operation_takes_pairs_and_folders(target, atlases, tmp_path):
    save_cases(atlases[:2], tmp_path / "cases")
    nouns = [n for a in atlases[:2] for n in (a.image, a.labels)]
    with_inputs = by_atlases(target.image, *nouns, preset="rigid", anyway=True, method="staple")
    with_folder = by_atlases(
        target.image, folder=str(tmp_path / "cases"), preset="rigid", anyway=True, method="staple"
    )
    assert (with_inputs.data == with_folder.data).mean() > 0.999
    assert mean_dice(with_inputs.data, target.labels.data) > 0.75
    shares = by_atlases(
        target.image, *nouns, preset="rigid", anyway=True, method="weighted", output="shares"
    )
    assert shares.fractional
    assert shares.data.shape == (2, *SHAPE)


@pytest.fixture(scope="module")
def atlas(atlases):
    return build(atlases, preset=PRESET, rounds=1)


def test_a_mean_is_made_of_all(atlas, atlases):
    planes = atlas.priors.data
    assert atlas.priors.axis_names == ("label", "z", "y", "x")
    assert atlas.priors.axes[0].values == (1.0, 2.0)
    assert planes.min() >= 0
    assert planes.sum(axis=0).max() <= 1 + 1e-5
    volumes = [(a.labels.data > 0).sum() for a in atlases]
    assert planes.sum() == pytest.approx(np.mean(volumes), rel=0.15)
    # Aligned, their texture adds up; as they lay it cancels.
    as_they_lay = np.mean([scaled(a.image.data) for a in atlases], axis=0)
    assert atlas.template.data.var() > 1.02 * as_they_lay.var()
    assert atlas.template.attributes["PatientID"] == "ATLAS"
    assert set(np.unique(atlas.labels().data)) == {0, 1, 2}


def test_a_folder_gives_the_atlas_back(atlas, tmp_path):
    save(atlas, tmp_path / "one")
    again = load(tmp_path / "one")
    assert again.segments[0].label == "Front"
    assert again.cases == 3
    assert again.priors.data == pytest.approx(atlas.priors.data)
    assert again.template.modality == "MR"
    with pytest.raises(Conflict, match="overwrite"):
        save(atlas, tmp_path / "one")
    save(atlas, tmp_path / "one", overwrite=True)
    assert "Phantom" not in (tmp_path / "one" / "atlas.json").read_text()


def test_damaged_folders_are_refused(atlas, atlases, tmp_path):
    save(atlas, tmp_path / "one")
    manifest = tmp_path / "one" / "atlas.json"
    good = manifest.read_text()
    with pytest.raises(CorruptFile, match="of kind 'probabilistic'"):
        load_cases(tmp_path / "one")
    template = tmp_path / "one" / "template.nii.gz"
    data = bytearray(template.read_bytes())
    data[-9] ^= 1
    template.write_bytes(data)
    with pytest.raises(CorruptFile, match="SHA-256"):
        load(tmp_path / "one")
    record = json.loads(good)
    record["files"] = {"../template.nii.gz": {"sha256": ""}}
    manifest.write_text(json.dumps(record))
    with pytest.raises(Refused, match="which an atlas does not have"):
        load(tmp_path / "one")
    manifest.write_text(good.replace('"version": 1', '"version": 9'))
    with pytest.raises(CorruptFile, match="version 9"):
        load(tmp_path / "one")
    manifest.write_text("{")
    with pytest.raises(CorruptFile, match="not JSON"):
        load(tmp_path / "one")


def test_other_bodies_are_refused_by_name(target, atlases):
    one = atlases[0]
    chest = replace(one.image, attributes={"BodyPartExamined": "CHEST"})
    head = replace(target.image, attributes={"BodyPartExamined": "HEAD"})
    with pytest.raises(Refused, match=r"shows HEAD and .* CHEST"):
        by_atlas(head, chest, one.labels)
    brain = replace(one.image, attributes={"BodyPartExamined": "BRAIN"})
    assert by_atlas(head, brain, one.labels, preset="rigid", anyway=True).data.any()


def noise(seed=0) -> Image:
    data = np.random.default_rng(seed).normal(size=SHAPE).astype(np.float32)
    return Image(data, GRID, "MR")


def test_an_image_of_nothing_alike_is_refused(atlases):
    one = atlases[0]
    with pytest.raises(Refused, match="do not trust"):
        by_atlas(noise(), one.image, one.labels, preset="rigid")
    with pytest.raises(Refused, match="none of 1 atlases fits"):
        by_cases(noise(), atlases[:1], preset="rigid")


def test_slices_and_volumes_are_refused_together(target, atlases):
    one = atlases[0]
    flat = target.image.crop(start=(13, 0, 0), stop=(14, *SHAPE[1:]))
    with pytest.raises(GeometryError, match="a slice needs an atlas of slices"):
        by_atlas(flat, one.image, one.labels)


def test_labels_off_the_grid_are_refused(target, atlases):
    one = atlases[0]
    off = replace(one.labels, grid=Grid.from_spacing(SHAPE, (2.0, 1.0, 1.0)))
    with pytest.raises(GeometryError, match="lie on the grid of its image"):
        by_atlas(target.image, one.image, off)


def test_labels_outside_the_image_are_refused(target, atlases):
    """The images overlap, and what is labelled lies where the target does not reach."""
    one = atlases[0]
    corner = np.zeros(SHAPE, np.uint8)
    corner[:2, :2, :2] = 1
    part = target.image.crop(start=(8, 8, 8), stop=SHAPE)
    with pytest.raises(GeometryError, match="no label of"):
        by_atlas(part, one.image, replace(one.labels, data=corner), preset="rigid", anyway=True)


def test_numbers_that_mean_different_things_are_refused(target, atlases):
    other = replace(atlases[1].labels, segments=(Segment(1, "Back"), Segment(2, "Front")))
    with pytest.raises(ParameterError, match="label 1 is 'Front'"):
        by_cases(target.image, [atlases[0], case(atlases[1].image, other)])
    coded = replace(
        atlases[1].labels,
        segments=(Segment(1, "Vorn", Code("1", "99T", "Front")), Segment(2, "Back")),
    )
    again = replace(
        atlases[0].labels,
        segments=(Segment(1, "Front", Code("2", "99T", "Other")), SEGMENTS[1]),
    )
    pair = [case(atlases[0].image, again), case(atlases[1].image, coded)]
    with pytest.raises(ParameterError, match="label 1"):
        by_cases(target.image, pair)


def test_inputs_that_do_not_pair_are_refused(target, atlases):
    one = atlases[0]
    with pytest.raises(ParameterError, match="2 images and 1 masks"):
        paired([one.image, one.image, one.labels], "test")
    with pytest.raises(ParameterError, match="has no atlas"):
        by_atlases(target.image)
    with pytest.raises(ParameterError, match="a mean needs 3"):
        build(atlases[:2])
    empty = replace(one.labels, data=np.zeros(SHAPE, np.uint8))
    with pytest.raises(ParameterError, match="no voxel has a label"):
        case(one.image, empty)
    planes = np.ones((2, *SHAPE), bool)
    with pytest.raises(ParameterError, match="overlaps"):
        case(one.image, Mask(data=planes, grid=GRID, segments=SEGMENTS))
