"""Committees: the mean of what is said, in one graph, calibrated, and gone on from."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from somascope.core.errors import ParameterError
from somascope.learn.committee import alone, joined
from somascope.learn.datasets import open_dataset, parted
from somascope.learn.export import graph_of
from somascope.learn.make import make, planned, weights_of
from somascope.learn.networks import Committee, build
from somascope.learn.plan import Machine
from somascope.learn.tasks import samples
from somascope.models import load, package
from tests.learn import worlds

SMALL = {"kind": "resnet", "inputs": 1, "outputs": 2, "dimensions": 2, "widths": [4, 8],
         "blocks": 1}  # fmt: skip
UNET = {"kind": "unet", "inputs": 1, "outputs": 3, "dimensions": 2, "widths": [4, 8], "stem": 2}


@pytest.mark.parametrize("description", [SMALL, UNET], ids=["classify", "segment"])
def test_says_the_mean_of_its_members_at_every_mirror_image(description):
    torch.manual_seed(0)
    whole = build({"kind": "committee", "members": [description] * 2, "mirror": [0, 1]}).eval()
    assert isinstance(whole, Committee)
    x = torch.randn(2, 1, 16, 24)
    with torch.inference_mode():
        logits = whole(x)
        found = logits.softmax(dim=1)
        said = []
        for member in whole.members:
            for axes in ((), (2,), (3,), (2, 3)):
                p = member(x.flip(axes)).softmax(dim=1)
                said.append(p.flip(axes) if p.ndim == 4 else p)
    assert torch.allclose(found, torch.stack(said).mean(dim=0), atol=1e-6)
    assert torch.allclose(logits.mean(dim=1), torch.zeros(()), atol=1e-5)


@pytest.mark.parametrize("description", [SMALL, UNET], ids=["classify", "segment"])
def test_becomes_a_graph_that_is_let_in_and_says_the_same(description):
    torch.manual_seed(0)
    whole = build({"kind": "committee", "members": [description] * 2, "mirror": [1]})
    given = [{"image": torch.randn(1, 1, 16, 24)} for _ in range(2)]
    assert graph_of(whole, given, output="logits")  # it compares the two


@pytest.mark.parametrize("mirror", [[0, 0], [3], [-1], list(range(40))])
def test_no_more_views_than_axes(mirror):
    with pytest.raises(ParameterError, match="mirror is"):
        build({"kind": "committee", "members": [SMALL], "mirror": mirror})


def test_a_mirrored_image_gets_the_mirrored_answer():
    torch.manual_seed(0)
    whole = build({"kind": "committee", "members": [UNET], "mirror": [1]}).eval()
    x = torch.randn(1, 1, 16, 24)
    with torch.inference_mode():
        assert torch.allclose(whole(x.flip(3)), whole(x).flip(3), atol=1e-5)


@pytest.fixture(scope="module")
def members(tmp_path_factory):
    root = tmp_path_factory.mktemp("committee")
    worlds.npz(root / "discs.npz", count=32)
    data = open_dataset(root / "discs.npz", "classify")
    plan = planned(data, budget_minutes=5, machine=Machine(1, "", 8.0))
    plan = replace(plan, network=SMALL, batch=16, average=0.9, rate=5e-3)
    paths = [root / "one.zip", root / "two.zip"]
    for i, path in enumerate(paths):
        make(data, path, chosen=replace(plan, seed=i), steps=20)
    return data, plan, paths


def test_one_graph_says_what_its_members_say_together(members, tmp_path):
    data, plan, paths = members
    held = samples(parted(data.cases)[1], plan)
    # Some truths are wrong, so that nobody can be certain.
    held = [replace(s, label=1 - s.label if i % 5 < 2 else s.label) for i, s in enumerate(held)]
    card = joined(paths, tmp_path / "both.zip", held=[held])
    both, (one, two) = load(tmp_path / "both.zip"), [load(p) for p in paths]
    x = np.random.default_rng(0).normal(size=(1, 1, 28, 28)).astype(np.float32)

    def chances(model):
        z = model.engine({"image": x})[0]
        return np.exp(z) / np.exp(z).sum()

    assert np.allclose(chances(both), (chances(one) + chances(two)) / 2, atol=1e-4)
    assert card.temperature > 2 * one.card.temperature
    assert card.conformal[0] == 0.05
    network = build(SMALL)
    kept = weights_of(tmp_path / "both.zip")
    assert set(kept) == set(network.state_dict())
    first = weights_of(paths[0])
    assert all(torch.equal(kept[k], first[k]) for k in kept)
    assert set(package.read(tmp_path / "both.zip").extras) >= {"plan.json", "history.json"}


def test_each_may_have_held_out_another_part(members, tmp_path):
    data, plan, paths = members
    held = samples(parted(data.cases)[1], plan)
    card = joined(paths, tmp_path / "both.zip", held=[held[::2], held[1::2]])
    assert 0.05 < card.temperature < 20


def test_what_cannot_be_joined(members, tmp_path):
    _, _, paths = members
    with pytest.raises(ParameterError, match="mirrored along"):
        joined(paths, tmp_path / "x.zip", mirror=(1,))
    packed = package.read(paths[0])
    text = packed.extras["plan.json"].replace(b'"normal"', b'"other"').replace(b'"0"', b'"other"')
    package.write(replace(packed, extras={**packed.extras, "plan.json": text}), tmp_path / "o.zip")
    with pytest.raises(ParameterError, match="differ"):
        joined([paths[0], tmp_path / "o.zip"], tmp_path / "x.zip")
    with pytest.raises(ParameterError, match="committee"):
        joined([], tmp_path / "x.zip")


def test_a_member_alone_looks_where_its_committee_does(members):
    _, plan, paths = members
    network = build(plan.network)
    network.load_state_dict(weights_of(paths[0]))
    network.eval()
    x = torch.randn(3, 1, 28, 28)
    with torch.inference_mode():
        found = alone(paths[0], mirror=(1,))(x).softmax(dim=1)
        want = (network(x).softmax(dim=1) + network(x.flip(3)).softmax(dim=1)) / 2
        plain = alone(paths[0])(x).softmax(dim=1)
        assert torch.allclose(found, want, atol=1e-5)
        assert torch.allclose(plain, network(x).softmax(dim=1), atol=1e-5)
