"""What a chain may hold, and what its frames are shown as."""

import numpy as np
import pytest

from somascope.core import Axis, Grid, Image
from somascope.core.errors import GeometryError, NotFound, ParameterError
from somascope.server.live import chain
from somascope.server.live.pipe import merged
from somascope.server.live.sources import Fluoroscopy, film, kinds, make
from somascope.server.live.worker import Display


def picture(values, spacing=(1.0, 0.5, 0.5)):
    values = np.asarray(values)
    return Image(values[None], Grid.from_spacing((1, *values.shape), spacing), "US")


@pytest.mark.parametrize(
    ("items", "error", "word"),
    [
        ("process.lee", ParameterError, "list"),
        ([{}], ParameterError, "each step"),
        ([{"operation": "process.lee", "params": 3}], ParameterError, "each step"),
        ([{"operation": "process.lee"}] * 9, ParameterError, "at most 8"),
        ([{"operation": "process.nothing"}], NotFound, "process.nothing"),
        ([{"operation": "acquire.ct.fbp"}], ParameterError, "no operation on images"),
        ([{"operation": "process.lee", "params": {"size": 4}}], ParameterError, "size"),
        ([{"operation": "process.gaussian", "params": {"sigma": -1}}], ParameterError, "sigma"),
        ([{"operation": "process.gaussian", "params": {"what": 1}}], ParameterError, "what"),
    ],
)
def test_what_is_no_chain_is_refused(items, error, word):
    with pytest.raises(error, match=word):
        chain.parse(items)


def test_a_chain_runs_in_order_and_times_each_step():
    steps = chain.parse(
        [
            {"operation": "process.gaussian", "params": {"sigma": 1.0}},
            {"operation": "process.kuan"},
            {"operation": "process.gaussian"},
        ]
    )
    values = np.random.default_rng(0).normal(size=(20, 30)).astype(np.float32)
    stages = {}
    out = chain.run(picture(values), steps, stages)
    assert list(stages) == ["gaussian", "kuan", "gaussian 3"]
    assert all(ms >= 0 for ms in stages.values())
    assert [s.operation for s in out.provenance.steps] == [
        "process.gaussian", "process.kuan", "process.gaussian",
    ]  # fmt: skip
    assert out.data.std() < 0.3 * values.std()


def test_frames_stay_small():
    grow = chain.parse([{"operation": "process.resample", "params": {"spacing": [0.01]}}])
    with pytest.raises(GeometryError, match="at most"):
        chain.run(picture(np.zeros((30, 30), np.float32)), grow, {})


def test_only_images_of_images_are_offered():
    names = chain.names()
    assert {"process.lee", "process.clahe", "process.gaussian", "process.median"} <= set(names)
    assert all(n.startswith("process.") for n in names)
    assert {k.name for k in kinds()} >= {"ultrasound", "fluoroscopy", "series"}


def test_what_is_shown():
    show = Display()
    byte = picture(np.arange(256, dtype=np.uint8).reshape(16, 16))
    shown, low, high = show(byte, ())
    assert shown is byte.data[0] or np.array_equal(shown, byte.data[0])
    assert (low, high) == (0, 255)
    values = picture(np.linspace(-50, 150, 64 * 64).reshape(64, 64).astype(np.float32))
    shown, low, high = show(values, ())
    assert low == pytest.approx(-48, abs=3)
    assert high == pytest.approx(149, abs=3)
    show.limits = (0.0, 100.0)
    shown, low, high = show(values, ())
    assert shown[values.data[0] <= 0].max() == 0
    assert shown[values.data[0] >= 100].min() == 255
    middle = np.abs(values.data[0] - 50) < 0.1
    assert np.abs(shown[middle].astype(int) - 127).max() <= 1
    holed = values.data[0].copy()
    holed[3, 3] = np.nan
    assert show(picture(holed), ())[0][3, 3] == 0


def test_colour_is_shown_as_colour():
    data = np.zeros((3, 1, 5, 6), np.uint8)
    data[1] = 200
    grid = Grid.from_spacing((1, 5, 6), (1, 1, 1))
    shown, *_ = Display()(Image(data, grid, "US", axes=(Axis("channel"),)), ())
    assert shown.shape == (5, 6, 3)
    assert shown[2, 3].tolist() == [0, 200, 0]


def test_fluoroscopy_counts_photons():
    source = Fluoroscopy(128)
    one, other = source.capture(0), source.capture(16)
    assert one.shape == (128, 128)
    # The same beat of the heart: but for the wire, the difference is twice the photons' variance.
    quiet = np.s_[:20, :]
    difference = np.mean((one[quiet] - other[quiet]) ** 2)
    assert difference == pytest.approx(2 * np.mean(one[quiet]), rel=0.1)
    shown = source.stages[0][1](one)
    assert shown.data.shape == (1, 128, 128)
    assert shown.data[0, 60:80, 60:68].mean() > shown.data[0, :, :4].mean() + 0.5


def test_the_probe_shows_its_artery():
    source = make("ultrasound", size=128, paths=())
    shown = []
    for number in (0, 5):
        value = source.capture(number)
        for _, stage in source.stages:
            value = stage(value)
        assert value.data.shape == (1, 128, 128)
        assert value.data.dtype == np.uint8
        y, x = value.grid.to_index([-3.0, 19.0, 0.0])[1:].round().astype(int)
        blood = value.data[0, y - 8 : y + 9, x - 8 : x + 9].astype(float)
        tissue = value.data[0, y - 8 : y + 9, x + 24 : x + 40].astype(float)
        assert tissue.mean() - blood.mean() > 35
        shown.append(value.data)
    assert np.abs(shown[0].astype(float) - shown[1]).mean() > 5
    assert source.capture(25) is source.capture(0)
    with pytest.raises(ParameterError, match="choose 128"):
        make("ultrasound", size=100, paths=())
    with pytest.raises(ParameterError, match="no source"):
        make("camera", size=128, paths=())


def test_the_wall_moves_and_nothing_is_squeezed():
    from somascope.acquire.ultrasound.live import ARTERY, RADIUS, SWELLING, _moved, beat

    rng = np.random.default_rng(0)
    points = np.stack([*rng.uniform(-20, 20, (2, 500)), np.zeros(500)], axis=1)
    points[:, 1] += 20
    moved = _moved(points, 0.2)
    before, after = (np.hypot(p[:, 0] - ARTERY[0], p[:, 1] - ARTERY[1]) for p in (points, moved))
    outside = before > RADIUS
    wall = RADIUS + SWELLING * beat(0.2)
    np.testing.assert_allclose((after**2 - before**2)[outside], wall**2 - RADIUS**2, rtol=1e-6)
    assert 0.3 < wall - RADIUS < 0.6


def test_a_film_of_what_was_shown():
    frames = [
        (10.0 + k / 25, picture(np.zeros((4, 6), np.float32)), np.full((4, 6), k, np.uint8))
        for k in range(3)
    ]
    image = film(frames, attributes={"PatientName": "Live^Test"})
    assert image.shape == (3, 1, 4, 6)
    assert image.axes[0].values == pytest.approx((0, 0.04, 0.08))
    assert image.data[2].min() == 2
    assert image.attributes["PatientName"] == "Live^Test"
    colour = film([(0.0, f[1], np.stack([f[2]] * 3, axis=-1)) for f in frames], attributes={})
    assert colour.shape == (3, 3, 1, 4, 6)
    assert [a.name for a in colour.axes] == ["t", "channel"]


def test_waiting_commands_are_as_few_as_there_are_kinds():
    waiting = {}
    for k in range(1000):
        merged(waiting, {"chain": [k], "credit": 1})
    merged(waiting, {"freeze": True})
    assert waiting == {"chain": [999], "credit": 1000, "freeze": True}
