"""From a file to a file of labels: Somascope and nnU-Net's predictor with one network of nnU-Net's.

A PlainConvUNet, trained for minutes on balls in noise, is kept as nnU-Net keeps its models; what
we run is imported from the same folder. Both read a NIfTI file, resample to the plan's spacing, cut
the same tiles (half overlapping), resample the answer and write labels, on two threads, with their
models loaded and the file in the system's memory. Neither looks at mirrored images.

nnU-Net lives in a Python of its own, named by ``SOMASCOPE_NNUNET_PYTHON``. Without it the benchmark
is left out, which stderr says. Memory is the peak over that after the imports, in a process of its
own for each.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np

from benchmarks.learn.infer3d import dice
from benchmarks.turns import compared
from somascope.core import Grid, Image

Array = np.ndarray
Sizes = tuple[int, int, int]
THREADS = 2
VARIABLE = "SOMASCOPE_NNUNET_PYTHON"
NAME = "nnUNetTrainer__nnUNetPlans__3d_fullres"
CLASSES = ("bright", "dark")
BODY, BRIGHT, DARK, NOISE = 40.0, 140.0, -60.0, 20.0
PITCH = 56.0
"""Millimetres from ball to ball."""

LOOP = """
import json, os, sys
from importlib.metadata import version
from pathlib import Path
out = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
def memory(field):
    text = Path("/proc/self/status").read_text()
    return float(text.split(field + ":")[1].split()[0]) / 1024
{side}
print(json.dumps(version(PACKAGE)), file=out, flush=True)
before = memory("VmRSS")
for line in sys.stdin:
    given, made = json.loads(line)
    Path("/proc/self/clear_refs").write_text("5")
    predict(given, made)
    print(json.dumps(memory("VmHWM") - before), file=out, flush=True)
"""
OURS = """
from somascope.models import load
from somascope.models.inputs import inputs
from somascope.models import predict as answers
PACKAGE = "somascope"
model = load(sys.argv[1], threads=int(sys.argv[2]))
def predict(given, made):
    answers.predict(model, inputs([given]), made)
"""
PEER = """
import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
PACKAGE = "nnunetv2"
torch.set_num_threads(int(sys.argv[2]))
model = nnUNetPredictor(
    tile_step_size=0.5, use_gaussian=True, use_mirroring=False, perform_everything_on_device=False,
    device=torch.device("cpu"), verbose=False, verbose_preprocessing=False, allow_tqdm=False)
model.initialize_from_trained_model_folder(
    sys.argv[1], use_folds=(0,), checkpoint_name="checkpoint_final.pth")
def predict(given, made):
    model.predict_from_files_sequential(
        [[given]], [str(Path(made) / "case")], save_probabilities=False, overwrite=True)
"""


@dataclass(frozen=True)
class Case:
    """A volume, the voxel edges it is seen at, and the network that looks at it."""

    shape: Sizes
    spacing: tuple[float, float, float]
    at: float
    patch: int
    widths: tuple[int, ...]
    steps: int


SMALL = Case((32, 64, 64), (2.0, 1.8, 1.8), 2.0, 32, (4, 8, 16), 160)
LARGE = Case((300, 512, 512), (1.0, 0.7, 0.7), 2.0, 64, (16, 32, 64, 128), 160)


def run(*, small: bool) -> Iterator[dict[str, Any]]:
    """Dice with the truth, time and memory."""
    python = os.environ.get(VARIABLE)
    if python is None:
        print(f"learn.files: nnU-Net is left out ({VARIABLE} is not set)", file=sys.stderr)
        return
    case = SMALL if small else LARGE
    with ExitStack() as open_, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        truth = written(case, folder / "case_0000.nii.gz")
        trained(case, folder / NAME)
        imported(folder / NAME, folder / "ours")
        ours = open_.enter_context(Side(sys.executable, OURS, folder / "ours"))
        peer = open_.enter_context(Side(python, PEER, folder / NAME))
        line = compared(
            "learn.files", described(case), package="nnunetv2", rounds=1 if small else 2,
            ours=lambda: ours.labels(folder), peer=lambda: peer.labels(folder),
            quality=lambda a: dice(a, truth), metric="least Dice of a class with the truth",
            versions=lambda _: peer.version,
        )  # fmt: skip
        yield line
        yield {
            **line, "case": f"{described(case)}; memory", "quality_ours": round(max(ours.peaks), 1),
            "quality_peer": round(max(peer.peaks), 1),
            "quality_metric": "peak of resident memory over that after the imports, MB",
        }  # fmt: skip


def described(case: Case) -> str:
    """In words."""
    size = "x".join(map(str, case.shape[::-1]))
    widths = "-".join(map(str, case.widths))
    return f"{size} int16 .nii.gz, at {case.at:g} mm, tiles of {case.patch}^3, widths {widths}"


@dataclass
class Side:
    """One program in a process of its own, its model loaded."""

    python: str
    code: str
    model: Path
    version: str = ""
    peaks: list[float] = field(default_factory=list[float])

    def __enter__(self) -> Self:
        self._aside = tempfile.TemporaryFile("w+")
        told = {"OMP_NUM_THREADS": str(THREADS), "NUMBA_NUM_THREADS": str(THREADS)}
        self._process = subprocess.Popen(
            [self.python, "-c", LOOP.format(side=self.code), str(self.model), str(THREADS)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._aside, text=True,
            cwd=Path(__file__).parents[2], env={**os.environ, **told},
        )  # fmt: skip
        self.version = json.loads(self._heard())
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()
        self._aside.close()

    def _heard(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._aside.seek(0)
            raise RuntimeError(self._aside.read()[-2000:])
        return line

    def labels(self, folder: Path) -> Array:
        """Of the file in the folder, read back from the file it becomes."""
        from somascope.io import read

        with tempfile.TemporaryDirectory() as made:
            assert self._process.stdin is not None
            asked = [str(folder / "case_0000.nii.gz"), made]
            self._process.stdin.write(json.dumps(asked) + "\n")
            self._process.stdin.flush()
            self.peaks.append(json.loads(self._heard()))
            (path,) = Path(made).glob("*.nii.gz")
            image = read(path)
            assert isinstance(image, Image)
            return image.data


def scene(shape: Sizes, spacing: tuple[float, ...], *, seed: int) -> tuple[Array, Array]:
    """Values and labels ``(z, y, x)``: bright and dark balls of 10 to 18 mm in a noisy body."""
    rng = np.random.default_rng(seed)
    edges = np.asarray(spacing)
    size = np.asarray(shape) * edges
    labels = np.zeros(shape, np.uint8)
    counts = [max(int(s // PITCH), 1) for s in size]
    for n, place in enumerate(np.ndindex(*counts)):
        centre = (np.asarray(place) + 0.5) * size / counts + rng.uniform(-6, 6, 3)
        radius = rng.uniform(10, 18)
        low = np.maximum(np.floor((centre - radius) / edges), 0).astype(int)
        high = np.minimum(np.ceil((centre + radius) / edges) + 1, shape).astype(int)
        axes = np.ogrid[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
        far = sum(((i + 0.5) * e - c) ** 2 for i, e, c in zip(axes, edges, centre, strict=True))
        labels[tuple(slice(a, b) for a, b in zip(low, high, strict=True))][far < radius**2] = (
            1 + (n + seed) % 2
        )
    levels = np.asarray((BODY, BRIGHT, DARK), np.float32)
    values = rng.standard_normal(shape, np.float32)
    values *= np.float32(NOISE)
    values += levels[labels]
    return np.rint(values, out=values).astype(np.int16), labels


def written(case: Case, path: Path) -> Array:
    """The file both read; the truth."""
    from somascope.io import write

    values, labels = scene(case.shape, case.spacing, seed=0)
    write(Image(values, Grid.from_spacing(case.shape, case.spacing), "CT"), path)
    return labels


def plans(case: Case) -> dict[str, Any]:
    """As nnU-Net writes them."""
    depth, whole = len(case.widths), [case.at] * 3
    resampling = {"is_seg": False, "order": 3, "order_z": 0, "force_separate_z": None}
    fullres = {
        "data_identifier": "nnUNetPlans_3d_fullres", "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 2, "patch_size": [case.patch] * 3, "spacing": whole,
        "median_image_size_in_voxels": [
            round(n * s / case.at) for n, s in zip(case.shape, case.spacing, strict=True)
        ],
        "normalization_schemes": ["CTNormalization"], "use_mask_for_norm": [False],
        "resampling_fn_data": "resample_data_or_seg_to_shape",
        "resampling_fn_data_kwargs": resampling,
        "resampling_fn_seg": "resample_data_or_seg_to_shape",
        "resampling_fn_seg_kwargs": {**resampling, "is_seg": True, "order": 1},
        "resampling_fn_probabilities": "resample_data_or_seg_to_shape",
        "resampling_fn_probabilities_kwargs": {**resampling, "order": 1},
        "batch_dice": False,
        "architecture": {
            "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
            "arch_kwargs": {
                "n_stages": depth, "features_per_stage": list(case.widths),
                "conv_op": "torch.nn.modules.conv.Conv3d", "kernel_sizes": [[3, 3, 3]] * depth,
                "strides": [[1, 1, 1], *[[2, 2, 2]] * (depth - 1)],
                "n_conv_per_stage": [2] * depth, "n_conv_per_stage_decoder": [2] * (depth - 1),
                "conv_bias": True, "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
                "norm_op_kwargs": {"eps": 1e-05, "affine": True}, "dropout_op": None,
                "dropout_op_kwargs": None, "nonlin": "torch.nn.LeakyReLU",
                "nonlin_kwargs": {"inplace": True},
            },
            "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
        },
    }  # fmt: skip
    stored = {
        "mean": BODY, "median": BODY, "std": 60.0, "min": -200.0, "max": 300.0,
        "percentile_00_5": -120.0, "percentile_99_5": 200.0,
    }  # fmt: skip
    return {
        "dataset_name": "Dataset901_Balls", "plans_name": "nnUNetPlans",
        "original_median_spacing_after_transp": list(case.spacing),
        "original_median_shape_after_transp": list(case.shape),
        "image_reader_writer": "SimpleITKIO", "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2], "configurations": {"3d_fullres": fullres},
        "experiment_planner_used": "ExperimentPlanner", "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {"0": stored},
    }  # fmt: skip


DATASET = {
    "channel_names": {"0": "CT"}, "numTraining": 1, "file_ending": ".nii.gz", "licence": "CC0",
    "labels": {"background": 0, **{c: k + 1 for k, c in enumerate(CLASSES)}},
}  # fmt: skip


def trained(case: Case, folder: Path) -> None:
    """A network, trained on scenes at the plan's spacing, kept as nnU-Net and as plain numbers."""
    import torch
    from safetensors.torch import save_file

    from somascope.learn.adopt import built
    from somascope.learn.tasks.segment import dice_and_entropy

    torch.manual_seed(0)
    torch.set_num_threads(THREADS)
    plan = plans(case)
    network = built({
        **plan["configurations"]["3d_fullres"]["architecture"], "channels": 1,
        "classes": len(CLASSES) + 1,
    })  # fmt: skip
    optimiser = torch.optim.AdamW(network.parameters(), lr=4e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, total_steps=case.steps)
    stored = plan["foreground_intensity_properties_per_channel"]["0"]
    edge = min(case.patch, 40)
    for step in range(case.steps):
        pairs = [scene((edge, edge, edge), (case.at,) * 3, seed=1 + 2 * step + k) for k in range(2)]
        values = np.stack([v for v, _ in pairs])[:, None].astype(np.float32)
        low, high = stored["percentile_00_5"], stored["percentile_99_5"]
        values = (values.clip(low, high) - stored["mean"]) / stored["std"]
        # Resampling takes noise away: it has to know less of it, too.
        x = torch.from_numpy(values)
        smooth = torch.nn.functional.avg_pool3d(x, 3, stride=1, padding=1)
        x = torch.lerp(x, smooth, float(np.random.default_rng(step).random()))
        loss = dice_and_entropy(
            network(x), torch.from_numpy(np.stack([m for _, m in pairs])).long()
        )
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        schedule.step()
    (folder / "fold_0").mkdir(parents=True)
    (folder / "plans.json").write_text(json.dumps(plan))
    (folder / "dataset.json").write_text(json.dumps(DATASET))
    weights = {k: v.detach().clone() for k, v in network.state_dict().items()}
    save_file(weights, folder / "fold_0" / "model.safetensors")
    kept = {
        "network_weights": weights, "trainer_name": "nnUNetTrainer",
        "init_args": {"configuration": "3d_fullres"}, "inference_allowed_mirroring_axes": None,
    }  # fmt: skip
    torch.save(kept, folder / "fold_0" / "checkpoint_final.pth")


def imported(folder: Path, made: Path) -> None:
    """What ``somascope model import`` makes of the folder."""
    from somascope.learn.adopt import adopted
    from somascope.models import package
    from somascope.models.foreign import finished, taken

    package.write(finished(adopted(taken(folder))), made)
