"""Wrong input, made systematically for a model of every task: all of it is refused by name."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, zoom

from somascope.core import Axis, Grid, Provenance, Source
from somascope.core.errors import Refused
from somascope.learn.metrics.ranking import auc
from somascope.models import Network, familiar
from somascope.testing import check_model
from tests.models import people

SEEDS = (1000, 1001)


@pytest.fixture(scope="module")
def models():
    return {n: Network(people.packed(n), kind="onnxruntime", threads=1) for n in people.WORLDS}


def with_values(image, values):
    return replace(image, data=np.ascontiguousarray(values).astype(image.data.dtype))


def _scaled(image, factor):
    affine = image.grid.affine.copy()
    affine[:3, :3] *= factor
    return replace(image, grid=Grid(image.grid.shape, affine))


def _stacked(image, times, name):
    data = np.stack([image.data] * times)
    return replace(image, data=data, axes=(Axis(name), *image.axes))


def contract(image, rng):
    """Input outside what a card says in so many words."""
    yield "reads colours" if image.axes else "gray", _colours_changed(image, rng)
    for modality in ("CT", "PT", "US", "NM", "MG", "XA"):
        yield modality, replace(image, modality=modality)
    dicom = Provenance((Source("dicom", "1.2.3"),))
    yield "OT", replace(image, modality="OT", provenance=dicom)
    flat = image.grid.shape[0] == 1
    if flat:
        grid = Grid((4, *image.grid.shape[1:]), image.grid.affine)
        yield "3-D", replace(image, data=np.repeat(image.data, 4, axis=-3), grid=grid)
    else:
        yield "2-D", image.crop(start=(3, 0, 0), stop=(4, *image.grid.shape[1:]))
        yield "mm", _scaled(image, 0.2)
        yield "mm", _scaled(image, 20.0)
        yield "shows HEAD", replace(image, attributes={"BodyPartExamined": "head"})
    for axis in ("t", "echo", "b"):
        yield f"along '{axis}'", _stacked(image, 3, axis)
    yield "complex", replace(image, data=image.data.astype(np.complex64))
    yield "every value", with_values(image, np.full(image.shape, 7))
    yield "every value", with_values(image, np.zeros(image.shape))
    for bad in (np.nan, np.inf, -np.inf):
        values = np.array(image.data, np.float32)
        values[(..., *(int(rng.integers(n)) for n in image.grid.shape))] = bad
        yield "not finite", replace(image, data=values)


def _colours_changed(image, rng):
    if image.axes:
        return replace(image, data=image.data[0], axes=())
    tint = rng.uniform(0, 200, (3, *image.shape)).astype(np.float32)
    return replace(image, data=tint + image.data[None], axes=(Axis("channel"),))


def unlike(image, rng):
    """Input that is in order and shows something else than the training images."""
    values = np.asarray(image.data, np.float32)
    high = float(values.max())
    flat = image.grid.shape[0] == 1
    axes = (-2, -1) if flat else (-3, -2)
    for axis in axes:
        yield "flipped", with_values(image, np.flip(values, axis))
    if image.grid.shape[1] == image.grid.shape[2]:
        yield "turned", with_values(image, np.rot90(values, axes=(-2, -1)))
    yield "inverted", with_values(image, high - values)
    yield "noise", with_values(image, rng.uniform(0, high, values.shape))
    noisy = values + rng.normal(0, 0.25 * high, values.shape)
    yield "noisy", with_values(image, np.clip(noisy, 0, high))
    blur = gaussian_filter(values, (*[0] * (values.ndim - 2), 4, 4))
    yield "blurred", with_values(image, blur)
    yield "ramp", with_values(image, np.broadcast_to(np.linspace(0, high, values.shape[-1]),
                                                     values.shape))  # fmt: skip
    yield "metal", with_values(image, _metal(values, rng))
    quarter = values[..., : values.shape[-2] // 3, : values.shape[-1] // 3]
    pairs = zip(values.shape[-2:], quarter.shape[-2:], strict=True)
    factors = [1] * (values.ndim - 2) + [a / b for a, b in pairs]
    yield "cut out", with_values(image, zoom(quarter, factors, order=1))
    board = np.indices(values.shape[-2:]).sum(axis=0) // 4 % 2 * high
    yield "board", with_values(image, np.broadcast_to(board, values.shape))
    yield "half", with_values(image, np.where(np.arange(values.shape[-2])[:, None] * 2
                                              < values.shape[-2], values, 0))  # fmt: skip


def _metal(values, rng):
    """A bright bar through everything, and streaks from it."""
    result = values.copy()
    y = int(values.shape[-2] * rng.uniform(0.3, 0.5))
    result[..., y : y + 4, 2:-2] = 20 * values.max()
    streaks = np.sin(np.arange(values.shape[-1]) * rng.uniform(1, 2)) * values.max()
    return result + streaks


def given(model, draw, changed, rng):
    return (changed,) if model.card.task != "register" else (draw(rng), changed)


def refusal(model, images):
    try:
        model(*images)
    except Refused as error:
        return str(error)
    return ""


@pytest.mark.parametrize("name", people.WORLDS)
def test_the_right_input_is_looked_at(models, name):
    model, draw = models[name], people.WORLDS[name][0]
    rng = np.random.default_rng(5)
    for seed in range(2000, 2040):
        image = draw(np.random.default_rng(seed))
        model.card.check(image)
    check_model(model, *given(model, draw, draw(rng), rng))


def test_more_than_two_hundred_wrong_inputs(models):
    tried = 0
    passed = []
    for name, model in models.items():
        draw = people.WORLDS[name][0]
        for seed in SEEDS:
            rng = np.random.default_rng(seed)
            image = draw(rng)
            for word, changed in contract(image, rng):
                with pytest.raises(Refused) as caught:
                    model(*given(model, draw, changed, rng))
                assert word in str(caught.value), (name, word)
                assert model.card.name in str(caught.value)
                tried += 1
            for word, changed in unlike(image, rng):
                tried += 1
                said = refusal(model, given(model, draw, changed, rng))
                if model.card.name not in said or not ("unlike" in said or "values of" in said):
                    passed.append((name, seed, word, said))
    assert tried > 200
    assert not passed


@pytest.mark.parametrize("name", people.WORLDS)
def test_strangeness_tells_strangers(models, name):
    usual, draw = models[name].card.familiar, people.WORLDS[name][0]
    images = [draw(np.random.default_rng(s)) for s in range(3000, 3020)]
    known = [usual.distance(i)[0] for i in images]
    rng = np.random.default_rng(9)
    strange = [usual.distance(c)[0] for i in images[:3] for _, c in unlike(i, rng)]
    score = np.array([*known, *strange])
    assert auc(score, np.arange(len(score)) >= len(known)) > 0.98


def test_somebody_may_look_anyway(models):
    model = models["detect"]
    image = people.film(np.random.default_rng(4))
    upside = with_values(image, np.flip(image.data, -2))
    with pytest.raises(Refused, match="unlike those it was trained on"):
        model(upside)
    model(upside, anyway=True)
    with pytest.raises(Refused, match="not finite"):  # what cannot be read is not looked at
        model(replace(image, data=image.data * np.float32(np.nan)), anyway=True)


def test_what_is_usual_is_kept_on_the_card(models):
    card = models["segment"].card
    assert type(card).from_json(card.to_json()) == card
    image = people.trunk(np.random.default_rng(1))
    (mask,) = models["segment"](image)
    assert 0 < mask.provenance.steps[-1].params["strangeness"] < 1


def test_facts_do_not_depend_on_how_a_volume_is_stored(models):
    image = people.trunk(np.random.default_rng(1))
    turned = image.data.transpose(2, 0, 1)[:, ::-1]
    affine = image.grid.affine[:, [2, 0, 1, 3]].copy()
    affine[:3, 3] += affine[:3, 1] * (turned.shape[1] - 1)
    affine[:3, 1] *= -1
    other = replace(image, data=turned, grid=Grid(turned.shape, affine))
    assert familiar.facts(other) == familiar.facts(image)


def test_covariance_agrees_with_scikit_learn():
    covariance = pytest.importorskip("sklearn.covariance")
    z = np.random.default_rng(0).normal(size=(40, 12)) @ np.random.default_rng(1).normal(
        size=(12, 12)
    )
    wanted, _ = covariance.ledoit_wolf(z, assume_centered=True)
    assert np.allclose(familiar.shrunk(z), wanted, rtol=1e-6)


def test_few_patients_tell_nothing():
    """The limit is of patients left out: of four of them it cannot be told."""
    rows = [familiar.facts(people.film(np.random.default_rng(i))) for i in range(24)]

    def told(patients):
        return familiar.learned(rows, patients, measured=True, fixed=True, colour=False)

    assert told([str(i % 4) for i in range(24)]) is None
    assert told(["only"] * 24) is None
    assert told([str(i % 5) for i in range(24)]) is not None
    assert told([str(i) for i in range(24)]) is not None


def test_folds_that_leave_too_few_are_not_asked():
    """Of twenty images sixteen are one patient's: without it there are four to learn from."""
    rows = [familiar.facts(people.film(np.random.default_rng(i))) for i in range(20)]
    whose = ["many"] * 16 + list("abcd")
    asked, real = [], familiar._fit

    def noted(x, names):
        asked.append(len(x))
        return real(x, names)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(familiar, "_fit", noted)
        made = familiar.learned(rows, whose, measured=True, fixed=True, colour=False)
        assert made is not None
        assert sorted(asked) == [19] * 4 + [20]
        none = familiar.learned(
            rows[:12], [str(i) for i in range(12)], measured=True, fixed=True, colour=False
        )
    assert none is None  # twelve images, none of which can be left out


def test_few_images_tell_nothing():
    rows = [
        familiar.facts(people.film(np.random.default_rng(i))) for i in range(familiar.LEAST - 1)
    ]
    assert (
        familiar.learned(rows, list("abcdefghijk"), measured=True, fixed=True, colour=False) is None
    )
