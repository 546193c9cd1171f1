"""Train the models that come with Somascope, each from the training part of a public data set.

    python examples/train_shipped.py classify.pneumonia --data DATA --out MODELS --budget 6
    python examples/train_shipped.py all --data DATA --out MODELS

Each is what `somascope train TASK DATA --committee N` makes with the settings of its recipe, and a
card that says more. The planner makes every choice but those. The figures on the card are of cases
that the network which is judged has not learned from; test parts are never opened here.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from somascope.core import Code, Progress
from somascope.learn.datasets import open_dataset
from somascope.learn.make import planned
from somascope.learn.members import Apart, committee, slim
from somascope.models import ClassName, package


@dataclass(frozen=True)
class Recipe:
    """Where a model's data lies below DATA, and what its card has to say about it.

    Parameters
    ----------
    names
        What the classes are called, in the order in which the data set has them.
    minutes
        All of its training, on one core.
    members
        Networks that decide together.
    apart
        ``folds``: each member holds out other patients, so that none is lost to all. ``seeds``: all
        hold out the same, one of ``folds`` parts where there is no official one.
    mirrored
        They look at mirrored images too.
    augment
        Changes of the images that the planner does not choose by itself.
    middle
        Edge of the part in the middle that is looked at; 0: all of it.
    rate
        Of learning; 0: the planner's.
    """

    place: str
    licence: str
    data: str
    summary: str
    modality: str = ""
    names: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()
    minutes: float = 10.0
    members: int = 1
    apart: Apart = "seeds"
    folds: int = 5
    mirrored: bool = False
    augment: Mapping[str, Any] = field(default_factory=dict[str, Any])
    middle: int = 0
    rate: float = 0.0


SMALL = 9_000_000
"""Bytes of weights."""
LARGEST = 6_000_000
"""Bytes of a shipped model."""

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
        "Tells pneumonia from normal on frontal chest X-rays of children (28 x 28 pixels)",
        limits=("Children of one hospital; pictures of 28 x 28 pixels.",),
        # The one that is shipped was made when the planner's rate was 0.001, its members one by one
        # with 50 minutes in all; no better any more, they stopped after 1600, 621 and 580 steps.
        minutes=50, members=3, rate=1e-3,
    ),
    "classify.adrenal": Recipe(
        "split_npz/adrenalmnist3d_64_trainval.npz", "CC BY 4.0",
        "AdrenalMNIST3D (MedMNIST v2), training part: 1188 shapes of adrenal glands, 64^3",
        "Tells hyperplastic from normal adrenal glands by their shape (64 mm cubes)",
        limits=("Shapes cut out of CT by hand, not CT itself.",),
        minutes=8, members=4, apart="folds", mirrored=True,
    ),
    "classify.breast-ultrasound": Recipe(
        "busi_ultrasound", "CC BY 4.0 (stated by MedMNIST; CC0 by another publisher)",
        "BUSI (Al-Dhabyani et al., 2020), 144 of its images",
        "Tells benign, malignant and normal breast ultrasound apart", modality="US",
        limits=("Trained on 144 images of one hospital: to show how it is done, not to rely on.",),
        minutes=8, members=4, apart="folds",
    ),
    "segment.hippocampus": Recipe(
        "msd_hippocampus", "CC BY-SA 4.0",
        "Medical Segmentation Decathlon Task04, 211 crops of T1 MR",
        "Outlines anterior and posterior hippocampus in T1 MR crops", modality="MR",
        names=("anterior hippocampus", "posterior hippocampus"),
        limits=(
            "Crops around the hippocampus at 1 mm.",
            "Nobody says whose crop is whose: a held-out one's other side may be a training case.",
        ),
        minutes=28, folds=8, mirrored=True,
    ),
    "segment.vessels": Recipe(
        "drive_retina", "CC BY 4.0", "DRIVE, training part: 20 fundus images",
        "Outlines blood vessels in fundus photographs", modality="OP",
        names=("retinal vessel",), limits=("Fundus at 45 degrees, one camera.",),
        minutes=11, mirrored=True,
    ),
    "segment.left-ventricle": Recipe(
        "sunnybrook_cmr_lv", "CC0", "Sunnybrook Cardiac Data, 150 short-axis slices of 8 patients",
        "Outlines the blood of the left ventricle in short-axis cine MR slices", modality="MR",
        names=("left ventricle",),
        limits=(
            "Short-axis cine slices of 256 x 256 pixels; eight patients with heart failure.",
            "The heart lies in the middle: more than 80 pixels from it nothing is looked at.",
        ),
        # A mirrored ventricle is one as well: no other class is on the other side. Hearts of other
        # diseases have thicker walls and smaller cavities, which eight of one kind do not show.
        minutes=42, members=4, apart="folds", mirrored=True, middle=160,
        augment={"flip": [0, 1], "swell": 0.35, "curve": 0.3, "bend": 0.03},
    ),
    "detect.blood-cells": Recipe(
        "bccd_detection", "MIT", "BCCD, training part: 205 blood smears",
        "Finds red and white blood cells and platelets in stained smears", modality="GM",
        limits=("One stain and one magnification.",), minutes=13,
    ),
    "register.hippocampus": Recipe(
        "msd_hippocampus", "CC BY-SA 4.0",
        "Medical Segmentation Decathlon Task04, neighbours in the list as pairs",
        "Lays one crop of the hippocampus on another", modality="MR",
        limits=("Crops around the hippocampus at 1 mm.",), minutes=4, folds=8,
    ),
}  # fmt: skip


def main(
    name: str,
    data: Path,
    out: Path,
    *,
    budget_minutes: float | None = None,
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
    path = out / f"{name}.zip"
    progress = progress or Progress()
    minutes = recipe.minutes if budget_minutes is None else budget_minutes
    plan = planned(
        dataset, budget_minutes=minutes / recipe.members, modality=recipe.modality,
        most_bytes=SMALL // recipe.members, seed=seed, progress=progress,
    )  # fmt: skip
    plan = replace(plan, augment={**plan.augment, **recipe.augment})
    plan = replace(plan, rate=recipe.rate or plan.rate)
    if recipe.middle:
        plan = replace(plan, network={**plan.network, "middle": recipe.middle})
    codes = {c: ClassName(c, CODES[c]) for c in dataset.classes if c in CODES}
    made = committee(
        dataset, path, members=recipe.members, apart=recipe.apart, mirrored=recipe.mirrored,
        chosen=plan, name=name, licence=recipe.licence, training_data=recipe.data, codes=codes,
        folds=recipe.folds, seed=seed, steps=steps, overwrite=True, progress=progress,
    )  # fmt: skip
    learned = f"Learned from {made.patients} patients or pictures, {minutes:.0f} minutes on a core."
    packed = package.read(path)
    limits = (*recipe.limits, made.card.limits[-1], learned)
    card = replace(packed.card, summary=recipe.summary, limits=limits)
    package.write(slim(replace(packed, card=card), LARGEST), path, overwrite=True)
    for m in card.metrics:
        print(f"{m.name:<28} {m.value:.4f} ({m.low:.4f} to {m.high:.4f}), {m.cases} cases")
    return path


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=["all", *sorted(RECIPES)])
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--out", type=Path, required=True, help="folder for the models")
    parser.add_argument("--budget", type=float, help="minutes in all; default: the recipe's")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    bar = Progress(lambda f, m: print(f"\r{f:6.1%} {m:<70}", end="", flush=True))
    for one in sorted(RECIPES) if given.name == "all" else [given.name]:
        print("\n", main(one, given.data, given.out, budget_minutes=given.budget,
                         seed=given.seed, progress=bar))  # fmt: skip
