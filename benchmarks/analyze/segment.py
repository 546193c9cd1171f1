"""Random walker, graph cut and Chan-Vese against the programs that have them; quality beside."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import product
from typing import Any

import numpy as np

from benchmarks.turns import compared
from somascope.analyze.segment.cut import UNIT, minimum_cut, neighbours
from somascope.analyze.segment.level_sets import chan_vese as ours_moved
from somascope.analyze.segment.random_walker import random_walker as ours_walked
from somascope.core import Grid, Image, Mask, Segment
from somascope.learn.metrics.regions import dice

Array = np.ndarray
Lines = Iterator[dict[str, Any]]
ONE = (1.0, 1.0, 1.0)


def scene(side: int, *, deep: bool = True, noise: float = 30.0) -> tuple[Image, Array, Mask]:
    """Two joined balls of contrast 100 in noise, and scribbles inside (1) and outside (2).

    The larger scribble is wide enough to start a front from.
    """
    shape = (side if deep else 1, side, side)
    at = np.meshgrid(*((np.arange(n) - (n - 1) / 2) / side for n in shape), indexing="ij")
    one = np.sqrt(at[0] ** 2 + at[1] ** 2 + (at[2] + 0.1) ** 2)
    two = np.sqrt(at[0] ** 2 + (at[1] - 0.1) ** 2 + (at[2] - 0.15) ** 2)
    truth = (one < 0.25) | (two < 0.18)
    random = np.random.default_rng(0)
    data = (100.0 * truth + random.normal(0, noise, shape)).astype(np.float32)
    grid = Grid.from_spacing(shape, ONE)
    marks = np.zeros(shape, np.uint8)
    marks[(one < 0.13) | (two < 0.05)] = 1
    marks[(one > 0.42) & (two > 0.42)] = 2
    segments = (Segment(1, "Object"), Segment(2, "Outside"))
    return Image(data, grid), truth, Mask(data=marks, grid=grid, segments=segments)


def _case(shape: tuple[int, ...], what: str) -> str:
    return f"{'x'.join(str(n) for n in shape if n > 1)}, {what}"


def _overlap(truth: Array) -> Callable[[Array], float]:
    def measure(found: Array) -> float:
        return dice(np.asarray(found).reshape(truth.shape) == 1, truth)

    return measure


def random_walker(*, small: bool = False) -> Lines:
    """From the same scribbles with the same weights; quality is Dice.

    Theirs have a floor of 1e-10, ours of 1e-6: with the larger ``beta`` that shows.
    """
    from skimage.segmentation import random_walker as walked

    sizes = ((24, True),) if small else ((64, True), (96, True), (512, False))
    for (side, deep), beta in product(sizes, (5.0, 30.0)):
        image, truth, marks = scene(side, deep=deep)
        values = image.data.astype(np.float64) / image.data.std()
        plain, drawn = (values, marks.data) if deep else (values[0], marks.data[0])
        yield compared(
            "segment.random_walker", _case(image.shape, f"two labels, beta {beta:g}"),
            ours=lambda: ours_walked(image, marks, beta=beta).data,  # noqa: B023
            # Theirs has beta over ten standard deviations, which are 1 here.
            peer=lambda: walked(plain, drawn, beta=10 * beta, mode="cg_j", tol=1e-3),  # noqa: B023
            package="scikit-image", quality=_overlap(truth), metric="Dice",
            rounds=1 if small else 3,
        )  # fmt: skip


def graph_cut(*, small: bool = False) -> Lines:
    """The flow of one graph, six neighbours; quality is its value over SciPy's, 1 for both."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import maximum_flow

    for side in (16,) if small else (40, 64):
        image, _, _ = scene(side)
        values = image.data
        likely = np.clip((values - 50) * 100 / 900, -15, 15)
        terminal = np.rint(UNIT * likely).astype(np.int32)
        sharp, strength = 1 / 900, 2.0
        steps, across = neighbours(values.shape, ONE, 6)
        wide = np.pad(values, 1).reshape(-1).astype(np.float64)
        inner = np.pad(np.ones(values.shape, bool), 1).reshape(-1)
        v = np.flatnonzero(inner)
        rows, columns, amounts = [], [], []
        for s, a in zip(steps, across, strict=True):
            some = v[inner[v + s]]
            weight = np.rint(
                strength * UNIT * a * np.exp(-sharp * (wide[some + s] - wide[some]) ** 2)
            )
            rows.append(some)
            columns.append(some + s)
            amounts.append(weight)
        pull = np.pad(terminal, 1).reshape(-1)
        up, down = np.flatnonzero(pull > 0), np.flatnonzero(pull < 0)
        source, sink = wide.size, wide.size + 1
        rows += [np.full(up.size, source), down]
        columns += [up, np.full(down.size, sink)]
        amounts += [pull[up], -pull[down]]
        ends = (np.concatenate(rows), np.concatenate(columns))
        graph = coo_array(
            (np.concatenate(amounts).astype(np.int32), ends), shape=(wide.size + 2,) * 2
        ).tocsr()
        exact = float(maximum_flow(graph, source, sink).flow_value)
        every = np.ones(values.shape, bool)
        yield compared(
            "segment.graph_cut", _case(values.shape, "6 neighbours, graph made by us each time"),
            ours=lambda: float(
                minimum_cut(terminal, values, every, ONE, sharp=sharp, strength=strength,  # noqa: B023
                            connectivity=6)[0]
            ),
            peer=lambda: float(maximum_flow(graph, source, sink).flow_value),  # noqa: B023
            package="scipy", quality=lambda found: found / exact,  # noqa: B023
            metric="flow over SciPy's", rounds=1 if small else 2,
        )  # fmt: skip


def chan_vese(*, small: bool = False) -> Lines:
    """From one ball until the front rests, or as many steps; quality is Dice."""
    from skimage.segmentation import chan_vese as whole
    from skimage.segmentation import morphological_chan_vese as moved

    for side, deep in ((24, True),) if small else ((64, True), (96, True), (256, False)):
        image, truth, marks = scene(side, deep=deep)
        start = Mask(
            data=(marks.data == 1).astype(np.uint8), grid=image.grid, segments=marks.segments[:1]
        )
        begun = start.data.astype(np.int8)
        peers: list[tuple[str, str, Callable[[], Array]]] = [
            ("scikit-image", "morphological, 60 steps",
             lambda: moved(image.data if deep else image.data[0], 60,  # noqa: B023
                           init_level_set=begun if deep else begun[0], smoothing=2)),  # noqa: B023
        ]  # fmt: skip
        if deep:
            peers.append(("SimpleITK", "dense, 100 steps", partial(_dense, image.data, begun)))
        else:
            peers.append(
                ("scikit-image", "2-D",
                 lambda: whole(image.data[0], mu=0.1, max_num_iter=300))  # noqa: B023
            )  # fmt: skip
        for package, what, peer in peers:
            yield compared(
                "segment.chan_vese", _case(image.shape, f"theirs {what}"),
                ours=lambda: ours_moved(image, start, rounding=1.0).data,  # noqa: B023
                peer=peer, package=package, quality=_inner(truth), metric="Dice",
                rounds=1 if small else 3,
            )  # fmt: skip


def _dense(values: Array, begun: Array) -> Array:
    """SimpleITK's, whose level set is positive inside."""
    import SimpleITK

    signed = SimpleITK.SignedMaurerDistanceMap(
        SimpleITK.GetImageFromArray(begun), squaredDistance=False
    )
    run = SimpleITK.ScalarChanAndVeseDenseLevelSetImageFilter()
    run.SetMaximumRMSError(0.0)
    run.SetNumberOfIterations(100)
    run.SetCurvatureWeight(1.0)
    feature = SimpleITK.GetImageFromArray(values)
    return SimpleITK.GetArrayFromImage(run.Execute(-signed, feature))


def _inner(truth: Array) -> Callable[[Array], float]:
    """Whichever side of a level set is the object: ours marks it by 1, theirs may be signed."""

    def measure(found: Array) -> float:
        side = np.asarray(found).reshape(truth.shape) > 0
        return max(dice(side, truth), dice(~side, truth))

    return measure
