"""The learning benchmarks run in their smallest case and both sides answer alike."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.learn import files, first, focus, infer3d, train_step


@pytest.fixture(autouse=True)
def _threads():
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_the_first_answer_needs_no_pytorch(tmp_path):
    np.save(tmp_path / "x.npy", np.arange(784, dtype=np.uint8).reshape(28, 28))
    assert 0.5 <= first.answer(first.OURS, tmp_path / "x.npy")() <= 1


def test_labels_of_a_volume_against_monai():
    pytest.importorskip("monai")
    line = next(infer3d.run(small=True))
    assert line["quality_ours"] > 0.99  # MONAI blends logits, we probabilities


def test_within_what_a_coarse_look_finds_the_labels_are_the_same():
    line = next(focus.run(small=True))
    assert line["quality_ours"] > 0.99


def test_each_step_of_the_benchmark_draws_another_batch(monkeypatch):
    from somascope.learn.train import Run

    torch = pytest.importorskip("torch")
    drawn, real = [], Run._batch

    def noted(run, step):
        seed, batch = real(run, step)
        drawn.append(batch["image"].clone())
        return seed, batch

    monkeypatch.setattr(Run, "_batch", noted)
    patch = (16, 16, 16)
    train_step.by_us(train_step.volumes(4, patch), patch, 4)(2)
    assert len(drawn) == 2
    assert not torch.equal(*drawn)


def test_training_against_monai():
    pytest.importorskip("monai")
    (line,) = train_step.run(small=True)
    assert 0 < line["quality_ours"] < 3


def test_scenes_are_the_same_at_every_spacing():
    case = replace(files.SMALL, spacing=(2.0, 2.0, 2.0))
    _, coarse = files.scene(case.shape, case.spacing, seed=3)
    _, fine = files.scene(tuple(2 * n for n in case.shape), (1.0, 1.0, 1.0), seed=3)
    assert set(np.unique(coarse)) == {0, 1, 2}
    assert files.dice(fine[::2, ::2, ::2], coarse) > 0.9


def test_without_nnunet_its_benchmark_says_so(monkeypatch, capsys):
    monkeypatch.delenv(files.VARIABLE, raising=False)
    assert list(files.run(small=True)) == []
    assert files.VARIABLE in capsys.readouterr().err
