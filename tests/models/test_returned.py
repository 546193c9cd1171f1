"""Probabilities back on the image's grid: as whole class maps would be, interpolated one by one."""

import tracemalloc

import numpy as np
import pytest

from somascope.core import Grid
from somascope.models import tiles
from somascope.models.classify import softmax
from somascope.models.returned import returned
from somascope.process.sampling import sample

OBLIQUE = [[0, 0.28, 0.96], [0, 0.96, -0.28], [1, 0, 0]]


def said(shape, classes, seed=0):
    logits = np.random.default_rng(seed).normal(0, 3, (classes, *shape))
    return softmax(logits, axis=0).astype(np.float32)


def cut(volume, depths):
    """In bands, each gone when the next one is asked for."""
    start = 0
    for depth in depths:
        band = volume[:, start : start + depth].copy()
        yield start, band
        band[:] = np.nan
        start += depth


def by_class(volume, grid, wanted, threshold):
    """The other way: every class sampled whole, then compared."""
    affine = np.linalg.inv(grid.affine) @ wanted.affine
    maps = np.stack([
        sample(v, affine, wanted.shape, order="linear", fill=float(k == 0))
        for k, v in enumerate(volume)
    ])  # fmt: skip
    return (maps[1] >= threshold) if len(volume) == 2 else maps.argmax(axis=0), maps[1:]


def turned(grid, order, flips):
    """The grid with its axes in another order, some the other way round."""
    affine, shape = grid.affine.copy(), list(grid.shape)
    for a in flips:
        affine[:3, 3] += affine[:3, a] * (shape[a] - 1)
        affine[:3, a] *= -1
    affine[:, :3] = affine[:, order]
    return Grid(tuple(shape[a] for a in order), affine)


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize(
    ("order", "flips"), [([0, 1, 2], ()), ([0, 1, 2], (0, 2)), ([2, 0, 1], (1,)), ([1, 2, 0], (0,))]
)
def test_labels_are_those_of_whole_class_maps(classes, order, flips):
    grid = Grid.from_spacing((9, 11, 7), (2.0, 1.5, 1.5), origin=(3, -4, 5), direction=OBLIQUE)
    # Finer, of another extent, and beyond the network's lattice on some sides.
    start = grid.to_world((-1.2, 0.3, -0.8))
    fine = Grid.from_spacing((24, 19, 15), (0.8, 1.0, 0.9), origin=tuple(start), direction=OBLIQUE)
    wanted = turned(fine, order, flips)
    volume = said(grid.shape, classes)
    labels, kept = returned(
        cut(volume, (3, 1, 4, 1)), grid, wanted, classes=classes, threshold=0.4, keep=True
    )
    expected, maps = by_class(volume, grid, wanted, 0.4)
    assert kept is not None
    assert np.allclose(kept, maps, atol=1e-5)
    # Where two classes are as probable as each other, rounding decides.
    edges = np.sort(np.concatenate([1 - maps.sum(axis=0, keepdims=True), maps]), axis=0)
    near = abs(maps[0] - 0.4) < 1e-4 if classes == 2 else edges[-1] - edges[-2] < 1e-4
    assert near.mean() < 0.01
    assert np.array_equal(labels[~near], expected[~near])
    assert (labels == 0).any()
    without, none = returned(
        cut(volume, (9,)), grid, wanted, classes=classes, threshold=0.4, keep=False
    )
    assert none is None
    assert np.array_equal(without, labels)


def test_the_same_lattice_the_other_way_round_needs_no_interpolation():
    grid = Grid.from_spacing((4, 5, 6), (2.0, 1.0, 1.0))
    volume = said(grid.shape, 3)
    wanted = turned(grid, [2, 0, 1], (0, 1, 2))
    labels, _ = returned(cut(volume, (2, 2)), grid, wanted, classes=3, threshold=0.5)
    assert np.array_equal(labels, volume.argmax(axis=0)[::-1, ::-1, ::-1].transpose(2, 0, 1))


def test_no_class_map_of_the_whole_is_held():
    classes = 12
    grid = Grid.from_spacing((96, 24, 24), (1.0, 1.0, 1.0))
    wanted = Grid.from_spacing((96, 48, 48), (1.0, 0.5, 0.5))
    band = said((4, 24, 24), classes)

    def peak():
        given = ((z, band) for z in range(0, 96, 4))
        tracemalloc.start()
        labels, _ = returned(given, grid, wanted, classes=classes, threshold=0.5)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most, labels.nbytes

    returned(iter([(z, band) for z in (0,)]), Grid.from_spacing((4, 24, 24), (1.0, 1.0, 1.0)),
             wanted, classes=classes, threshold=0.5)  # fmt: skip
    # The least of three: threads that other tests left allocate, too.
    least, size = min(peak() for _ in range(3))
    assert least < 3 * size < classes * size * 4 / 8


@pytest.mark.parametrize(("size", "tile", "overlap"), [(33, 8, 0.5), (8, 8, 0.5), (9, 8, 0.0),
                                                        (1, 1, 0.5)])  # fmt: skip
def test_what_tiles_say_of_a_voxel_weighs_one_in_all(size, tile, overlap):
    total = np.zeros(size)
    for start, weight in tiles.shares(size, tile, overlap=overlap):
        total[start : start + tile] += weight
        assert weight.min() > 0
    assert np.allclose(total, 1, atol=1e-6)
