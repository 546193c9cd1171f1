"""Images without labels: what they are worth, on worlds whose truth is known."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from somascope.core import Grid, Image, Progress
from somascope.core.errors import Cancelled, ParameterError
from somascope.learn.augment import draw
from somascope.learn.beginning import begun, unlabelled_samples
from somascope.learn.datasets import open_dataset
from somascope.learn.fewshot import discriminant
from somascope.learn.make import make, planned
from somascope.learn.networks import build
from somascope.learn.plan import Machine
from somascope.learn.pretrain import Drawer, hidden, masked
from somascope.learn.semi import Consistency, stronger
from somascope.learn.tasks.sample import Sample
from somascope.learn.train import train
from tests.learn import worlds


def sample(i, picture, label=-1, mask=None):
    values = torch.from_numpy(picture.astype(np.float32))[None]
    values = (values - values.mean()) / values.std()
    return Sample(f"s{i}", f"s{i}", values, label, mask)


def textures(count, *, seed, labelled=True, noise=1.2):
    """Stripes of two directions and any phase, noisy: 0 rising, 1 falling."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:24, :24]
    found = []
    for i in range(count):
        k = i % 2
        wave = np.sin((y + (1 if k else -1) * x) * rng.uniform(0.5, 0.8) + rng.uniform(0, 6.3))
        found.append(sample(seed * 10_000 + i, wave + rng.normal(0, noise, (24, 24)),
                            k if labelled else -1))  # fmt: skip
    return found


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    root = tmp_path_factory.mktemp("semi")
    worlds.npz(root / "discs.npz", count=24)
    made = planned(
        open_dataset(root / "discs.npz", "classify"), budget_minutes=1,
        machine=Machine(1, "", 8.0),
    )  # fmt: skip
    network = {"kind": "resnet", "inputs": 1, "outputs": 2, "dimensions": 2, "widths": [8, 16],
               "blocks": 1}  # fmt: skip
    return replace(made, network=network, patch=(24, 24), batch=8, rate=3e-3, average=0.9)


def test_hidden_blocks_cover_what_they_should():
    rng = np.random.default_rng(0)
    mask = hidden((24, 20), rng, block=(4, 5), share=0.5)
    assert mask.shape == (24, 20)
    assert mask.float().mean() == pytest.approx(0.5)
    cells = mask.reshape(6, 4, 4, 5)
    whole = cells.all(dim=3).all(dim=1)
    assert torch.equal(whole, cells.any(dim=3).any(dim=1))  # blocks are covered whole or not


@pytest.mark.parametrize(
    ("described", "patch", "ratio"),
    [
        ({"kind": "resnet", "inputs": 2, "outputs": 3, "widths": [4, 8], "blocks": 1}, (16, 24),
         (2, 2)),
        ({"kind": "unet", "inputs": 2, "outputs": 3, "widths": [4, 8]}, (8, 16, 16), (1, 1, 1)),
        ({"kind": "vit", "inputs": 2, "outputs": 3, "size": [16, 24], "width": 16, "depth": 1},
         (16, 24), (4, 4)),
    ],
)  # fmt: skip
def test_a_drawing_has_every_pixel_at_its_place(described, patch, ratio):
    drawer = Drawer(build(described), channels=2, patch=patch)
    assert drawer.ratio == ratio
    count = int(np.prod(ratio))
    cells = [n // r for n, r in zip(patch, ratio, strict=True)]
    maps = torch.zeros(1, 2 * count, *cells)
    # Channel c of cell i says its own number: the drawing must count within every block.
    maps[:] = torch.arange(2 * count).reshape(1, -1, *[1] * len(cells))
    drawer.features = lambda _: maps
    drawer.draw = torch.nn.Identity()
    drawn = drawer(torch.zeros(1, 2, *patch))
    assert drawn.shape == (1, 2, *patch)
    corner = drawn[(0, 1, *(slice(r) for r in ratio))]
    assert torch.equal(corner.flatten(), torch.arange(count, 2 * count).float())


def test_pretraining_is_repeatable_and_leaves_the_head_alone(plan):
    images = textures(12, seed=1, labelled=False)
    one, two = (masked(plan, images, steps=3) for _ in range(2))
    assert one
    assert all(torch.equal(one[k], two[k]) for k in one)
    assert not any(k.startswith("head.") for k in one)
    with pytest.raises(ParameterError, match="no maps"):
        masked(replace(plan, network={"kind": "lenet", "inputs": 1, "outputs": 2, "size": 24}),
               images)  # fmt: skip


def test_pretraining_is_of_the_budget(plan):
    """By a clock that every look at it moves on: three tenths for drawing, the rest to train."""
    now = [0.0]

    def clock():
        now[0] += 0.25
        return now[0]

    images = textures(100, seed=1, labelled=False)
    few, held = textures(8, seed=4), textures(8, seed=5)
    spent = []

    def drawn():
        before = now[0]
        found = masked(replace(plan, budget_minutes=0.5), images, clock=clock)
        spent.append(now[0] - before)
        return found

    train(replace(plan, budget_minutes=0.5), few, held, start=drawn, clock=clock)
    assert spent[0] == pytest.approx(0.3 * 30, abs=1)
    assert now[0] < 36  # not three tenths and then all of it again


def test_a_run_that_began_otherwise_is_another_run(plan, tmp_path):
    few, held = textures(6, seed=4), textures(12, seed=5)
    plain = begun(plan, few, held, folder=tmp_path, steps=4)
    again = begun(plan, few, held, folder=tmp_path, steps=4)
    drawn = begun(plan, few, held, folder=tmp_path, steps=4, pretrain="masked")
    assert again.history == plain.history
    assert drawn.history != plain.history
    weights = {k: v + 1 for k, v in plain.network.state_dict().items() if "head" in k}
    other = begun(plan, few, held, folder=tmp_path, steps=4, weights=weights)
    assert other.history != plain.history


def test_drawing_goes_on_from_other_weights(plan):
    images = textures(12, seed=1, labelled=False)
    start = {k: v * 0.5 for k, v in build(plan.network).state_dict().items() if v.ndim}
    still = replace(plan, rate=0.0)
    found = masked(still, images, start=start, steps=1)
    name = next(k for k in found if found[k].ndim == 4)
    assert torch.equal(found[name], start[name])


def test_drawing_and_heads_can_be_cancelled(plan):
    stop = Progress(cancelled=lambda: True)
    with pytest.raises(Cancelled):
        masked(plan, textures(4, seed=1), steps=3, progress=stop)
    start = build(plan.network).state_dict()
    with pytest.raises(Cancelled):
        begun(plan, textures(4, seed=1), textures(4, seed=2), few=True, weights=start,
              progress=stop)  # fmt: skip


def test_a_strong_change_is_the_plans_and_more(plan):
    more = stronger(plan.augment)
    assert more["rotate"] == pytest.approx(1.6 * plan.augment["rotate"])
    assert more["flip"] == plan.augment["flip"]
    draw(more, np.random.default_rng(0), dimensions=2)


def test_weak_and_strong_lie_on_each_other(plan):
    still = replace(plan, augment={"rotate": 15.0})
    beside = Consistency(still, textures(8, seed=2, labelled=False))
    batch = beside.batch(np.random.default_rng(3))
    assert batch["weak"].shape == (16, 1, 24, 24)
    same = torch.isclose(batch["weak"], batch["strong"], atol=1e-4).float().mean(dim=(1, 2, 3))
    assert torch.allclose(same, torch.full_like(same, 1 - 36 / 576), atol=0.01)  # but for the hole


def test_only_what_the_teacher_is_sure_of_is_learned(plan):
    beside = Consistency(plan, textures(8, seed=2, labelled=False))
    batch = beside.batch(np.random.default_rng(0))
    network = build(plan.network)

    class Says(torch.nn.Module):
        """Sure of the first two examples, of one class each, and of nothing else."""

        def forward(self, x):
            logits = torch.zeros(len(x), 2)
            logits[0, 0] = logits[1, 1] = 9.0
            return logits

    network.eval()
    with torch.no_grad():
        full = float(beside.loss(network, Says(), batch, share=1.0))
        half = float(beside.loss(network, Says(), batch, share=0.15))
        log = network(batch["strong"]).log_softmax(dim=1)
    wanted = -(log[0, 0] + log[1, 1]) / len(batch["strong"])
    assert full == pytest.approx(float(wanted), rel=1e-4)
    assert half == pytest.approx(full / 2)


def test_unlabelled_images_help_where_labels_are_few(plan):
    """Four labels in strong noise, 160 images beside them; tuned on these pictures, one seed."""
    network = {**plan.network, "norm": "instance"}
    augment = {"shift": 0.2, "noise": 0.1, "contrast": 0.2}
    how = replace(plan, network=network, augment=augment)
    few, held = textures(4, seed=20, noise=3.0), textures(200, seed=8, noise=3.0)
    beside = Consistency(how, textures(160, seed=9, labelled=False, noise=3.0))
    alone = train(how, few, held, steps=100, every=100)
    more = train(how, few, held, beside=beside, steps=100, every=100)
    assert more.history[-1]["accuracy"] > alone.history[-1]["accuracy"]
    assert more.history[-1]["auc"] > 0.95


def test_a_killed_run_beside_unlabelled_goes_on_as_it_was(plan, tmp_path):
    few, held = textures(6, seed=4), textures(12, seed=5)
    beside = Consistency(plan, textures(16, seed=6, labelled=False))
    whole = train(plan, few, held, beside=beside, steps=6, every=3, folder=tmp_path / "a")
    calls = iter(range(4))
    stop = Progress(cancelled=lambda: next(calls, None) is None)
    with pytest.raises(Cancelled):
        train(plan, few, held, beside=beside, steps=6, every=3, folder=tmp_path / "b",
              progress=stop)  # fmt: skip
    after = train(plan, few, held, beside=beside, steps=6, every=3, folder=tmp_path / "b")
    assert after.history == whole.history
    alone = train(plan, few, held, steps=6, every=3, folder=tmp_path / "b")
    assert alone.history != whole.history  # another way is another run


def test_a_discriminant_is_the_best_there_is_for_two_gaussians():
    rng = np.random.default_rng(0)
    true = np.array([[2.0, 0.8], [0.8, 0.6]])
    means = np.array([[0.0, 0.0], [1.0, -0.5], [-1.0, 1.0]])
    labels = np.repeat([0, 1, 2], 4000)
    x = rng.multivariate_normal([0, 0], true, len(labels)) + means[labels]
    weights, biases = discriminant(x, labels, classes=3)
    best = np.linalg.solve(true, means.T).T
    constant = -0.5 * (best * means).sum(axis=1)
    said = (x @ weights.T + biases).argmax(axis=1)
    bayes = (x @ best.T + constant).argmax(axis=1)
    assert (said == bayes).mean() > 0.97
    weights, biases = discriminant(np.eye(3), np.arange(3), classes=3)  # one case a class
    assert np.array_equal((np.eye(3) @ weights.T + biases).argmax(axis=1), [0, 1, 2])
    with pytest.raises(ParameterError, match="class 1 has no case"):
        discriminant(np.eye(2), np.array([0, 2]), classes=3)


def test_what_does_not_go_together_is_said(plan):
    few, held = textures(4, seed=1), textures(4, seed=2)
    with pytest.raises(ParameterError, match="choose one of"):
        begun(plan, few, held, pretrain="contrast")
    with pytest.raises(ParameterError, match="need a way"):
        begun(plan, few, held, unlabelled=few)
    with pytest.raises(ParameterError, match="no unlabelled"):
        begun(plan, few, held, pretrain="consistency")
    with pytest.raises(ParameterError, match="to start from"):
        begun(plan, few, held, few=True)
    with pytest.raises(ParameterError, match="classify and segment"):
        Consistency(replace(plan, task="detect"), few)


def test_images_that_validate_are_not_learned_from(plan, tmp_path):
    from somascope.io import write
    from somascope.learn.datasets import Case

    grid = Grid.from_spacing((1, 24, 24), (1, 1, 1))
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 255, (1, 24, 24)).astype(np.uint8) for _ in range(4)]
    for i, values in enumerate(pictures):
        write(Image(values, grid), tmp_path / f"{i}.png")
    held = [Case("held", "held", lambda: Image(pictures[2], grid))]
    found = unlabelled_samples(tmp_path, plan, held)
    assert {s.id for s in found} == {"unlabelled 0", "unlabelled 1", "unlabelled 3"}


def test_a_head_from_a_few_cases_of_another_task(plan, tmp_path):
    """Trained to tell discs from none; the head for two sizes is computed from four of each."""
    worlds.npz(tmp_path / "discs.npz", count=32)
    data = open_dataset(tmp_path / "discs.npz", "classify")
    make(data, tmp_path / "first", chosen=replace(plan, patch=(28, 28)), steps=30)
    _, done = make(data, tmp_path / "few", chosen=replace(plan, patch=(28, 28)), few_shot=True,
                   start=tmp_path / "first")  # fmt: skip
    assert done.steps == 0
    assert done.best > 0.9
