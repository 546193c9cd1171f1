"""Train the models that come with Somascope, each from the training part of a public data set.

    python examples/train_shipped.py classify.pneumonia --data DATA --out MODELS --budget 45

The planner makes every choice. The figures on the card are of the validation part (which also
decided when to stop); test parts are never opened here.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from pathlib import Path

from somascope.core import Code, Progress
from somascope.learn.datasets import open_dataset, parted
from somascope.learn.evaluate import evaluate
from somascope.learn.make import WEIGHTS, make, planned
from somascope.models import ClassName, load, package


@dataclass(frozen=True)
class Recipe:
    """Where a model's data lies below DATA, and what its card has to say about it.

    ``names`` are what the classes are called, in the order in which the data set has them.
    """

    place: str
    licence: str
    data: str
    modality: str = ""
    names: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()


SMALL = 9_000_000
"""Bytes of weights: a shipped model stays below ten megabytes."""
LARGEST = 10_000_000

VALIDATED = (
    "The figures are of the validation part, which also decided when to stop, the temperature and "
    "the conformal limit: expect less on new cases."
)

CODES = {
    "normal": Code("17621005", "SCT", "Normal"),
    "pneumonia": Code("233604007", "SCT", "Pneumonia"),
    "left ventricle": Code("87878005", "SCT", "Left cardiac ventricular structure"),
    "RBC": Code("41898006", "SCT", "Erythrocyte"),
    "WBC": Code("52501007", "SCT", "Leukocyte"),
    "Platelets": Code("16378004", "SCT", "Platelet"),
}

RECIPES = {
    "classify.pneumonia": Recipe(
        "split_npz/pneumoniamnist_28_trainval.npz", "CC BY 4.0",
        "PneumoniaMNIST (MedMNIST v2), training part: 4708 chest X-rays of children, 28 x 28",
        limits=("Children of one hospital; pictures of 28 x 28 pixels.",),
    ),
    "classify.adrenal": Recipe(
        "split_npz/adrenalmnist3d_64_trainval.npz", "CC BY 4.0",
        "AdrenalMNIST3D (MedMNIST v2), training part: 1188 shapes of adrenal glands, 64^3",
        limits=("Shapes cut out of CT by hand, not CT itself.",),
    ),
    "classify.breast-ultrasound": Recipe(
        "busi_ultrasound", "CC BY 4.0 (stated by MedMNIST; CC0 by another publisher)",
        "BUSI (Al-Dhabyani et al., 2020), 144 images", modality="US",
        limits=("Few cases of one hospital.",),
    ),
    "segment.hippocampus": Recipe(
        "msd_hippocampus", "CC BY-SA 4.0",
        "Medical Segmentation Decathlon Task04, 211 crops of T1 MR", modality="MR",
        names=("anterior hippocampus", "posterior hippocampus"),
        limits=("Crops around the hippocampus at 1 mm.",),
    ),
    "segment.vessels": Recipe(
        "drive_retina", "CC BY 4.0", "DRIVE, 20 training fundus images", modality="OP",
        names=("retinal vessel",), limits=("Fundus at 45 degrees, one camera.",),
    ),
    "segment.left-ventricle": Recipe(
        "sunnybrook_cmr_lv", "CC0", "Sunnybrook Cardiac Data, 150 short-axis slices of 8 patients",
        modality="MR", names=("left ventricle",), limits=("Short-axis cine slices.",),
    ),
    "detect.blood-cells": Recipe(
        "bccd_detection", "MIT", "BCCD, training part: 205 blood smears", modality="GM",
        limits=("One stain and one magnification.",),
    ),
    "register.hippocampus": Recipe(
        "msd_hippocampus", "CC BY-SA 4.0",
        "Medical Segmentation Decathlon Task04, neighbours in the list as pairs", modality="MR",
        limits=("Crops around the hippocampus at 1 mm.",),
    ),
}  # fmt: skip


def main(
    name: str,
    data: Path,
    out: Path,
    *,
    budget_minutes: float = 45.0,
    seed: int = 0,
    steps: int | None = None,
    progress: Progress | None = None,
) -> Path:
    """Train one model and write it to ``out/NAME.zip``, its figures on its card."""
    recipe = RECIPES[name]
    task = name.split(".", maxsplit=1)[0]
    dataset = open_dataset(data / recipe.place, task)
    if recipe.names and task != "register":
        dataset = replace(dataset, classes=recipe.names)
    codes = {c: ClassName(c, CODES[c]) for c in dataset.classes if c in CODES}
    path = out / f"{name}.zip"
    progress = progress or Progress()
    plan = planned(
        dataset, budget_minutes=budget_minutes, modality=recipe.modality, most_bytes=SMALL,
        seed=seed, progress=progress,
    )  # fmt: skip
    make(
        dataset, path, chosen=plan, name=name, licence=recipe.licence, training_data=recipe.data,
        codes=codes, steps=steps, overwrite=True, progress=progress,
    )  # fmt: skip
    if path.stat().st_size > LARGEST:  # the graph alone then: it runs, but cannot be trained on
        packed = package.read(path)
        extras = {k: v for k, v in packed.extras.items() if k != WEIGHTS}
        package.write(replace(packed, extras=extras), path, overwrite=True)
    model = load(path)
    _, held = parted(dataset.cases)
    held = tuple(replace(c, split="val") for c in held)
    judged = evaluate(model, dataset.only(held), split="val", progress=progress)
    packed = package.read(path)
    card = replace(packed.card, metrics=tuple(judged.metrics), limits=(*recipe.limits, VALIDATED))
    package.write(replace(packed, card=card), path, overwrite=True)
    for m in judged.metrics:
        print(f"{m.name:<28} {m.value:.4f} ({m.low:.4f} to {m.high:.4f}), {m.cases} cases")
    return path


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=sorted(RECIPES))
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--out", type=Path, required=True, help="folder for the models")
    parser.add_argument("--budget", type=float, default=45.0, help="minutes")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    bar = Progress(lambda f, m: print(f"\r{f:6.1%} {m:<70}", end="", flush=True))
    print("\n", main(given.name, given.data, given.out, budget_minutes=given.budget,
                     seed=given.seed, progress=bar))  # fmt: skip
