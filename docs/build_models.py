"""Write the figures on the cards of the shipped models into docs/explanation/models.md.

    python docs/build_models.py

What lies between the two marks of each part is written anew; the rest of the page is by hand.
"""

from __future__ import annotations

import re
from pathlib import Path

from somascope.models import NetworkCard, installed, package

PAGE = Path(__file__).parent / "explanation" / "models.md"

WANTED: dict[str, dict[str, float | None]] = {
    "classify.adrenal": {"auc": 0.85, "accuracy": None, "ece": -0.05, "ece_if_calibrated": None},
    "classify.breast-ultrasound": {"auc": None, "accuracy": None, "ece": -0.05,
                                   "ece_if_calibrated": None},
    "classify.pneumonia": {"auc": 0.96, "accuracy": 0.88, "ece": -0.05, "ece_if_calibrated": None},
    "detect.blood-cells": {"map50": 0.90, "ap50 RBC": None, "ap50 WBC": None,
                           "ap50 Platelets": None},
    "register.hippocampus": {"dice": None, "folded_percent": None},
    "segment.hippocampus": {"dice anterior hippocampus": 0.885,
                            "dice posterior hippocampus": 0.87},
    "segment.left-ventricle": {"dice left ventricle": 0.93, "dice_of_patients": None},
    "segment.vessels": {"dice retinal vessel": 0.81, "auc": 0.978},
}  # fmt: skip
"""Figures shown where a card has them, and what they should be at least (most where negative)."""

NAMES = {
    "auc": "AUC", "ece": "calibration error", "map50": "mAP50", "folded_percent": "folded, %",
    "ece_if_calibrated": "the same by chance alone", "dice_of_patients": "Dice of whole patients",
}  # fmt: skip

REASONS = {
    "classify.adrenal": "the error is within what chance alone makes of 98 cases when every "
                        "probability is right (its mean is above 0.05 too, see the table), and "
                        "freed of that chance nothing is left of it: so few cases cannot show "
                        "whether 0.05 is reached. None of them had a part in the calibration.",
    "classify.breast-ultrasound": "144 images of three kinds are few to learn from and few to be "
                                  "calibrated by; by chance alone they would show nearly as much.",
    "detect.blood-cells": "red cells that overlap or are cut by the edge are missed or doubled; "
                          "the network is narrow (16 channels) and sees pictures at half size.",
    "segment.left-ventricle": "the wanted 0.93 is reached by whole patients (all slices of one as "
                              "a volume) and by the median slice, not by the mean over slices: "
                              "the smallest third, at the apex, has 0.86, and the weakest of the "
                              "eight patients as well. Looking at the middle alone, mirrored "
                              "images, hearts of other proportions and five times the minutes took "
                              "it from 0.88 to here; no right ventricle is taken for the left one "
                              "any more.",
    "segment.vessels": "minutes of one core; the thinnest vessels are broken or missed.",
}  # fmt: skip
"""Why a figure is missed, told only of models that miss one."""


def reached(name: str, figure: str, value: float) -> bool:
    """Whether a figure is as good as it should be; yes where nothing is asked."""
    wanted = WANTED[name].get(figure)
    if wanted is None:
        return True
    return value >= wanted if wanted > 0 else value <= -wanted


def table(cards: list[NetworkCard]) -> str:
    """A row for each figure of each model."""
    rows = ["| model | trained on | licence | figure | held-out (95 % interval) | cases | wanted |",
            "|---|---|---|---|---|---|---|"]  # fmt: skip
    for card in cards:
        first = [f"`{card.name}`", card.training_data, card.licence]
        for figure, wanted in WANTED[card.name].items():
            m = next((x for x in card.metrics if x.name == figure), None)
            if m is None:
                continue
            name = NAMES.get(figure, figure.replace("dice", "Dice").replace("ap50", "AP50"))
            asked = "" if wanted is None else f"{'≥' if wanted > 0 else '≤'} {abs(wanted):g}"
            if not reached(card.name, figure, m.value):
                asked += ", not reached"
            value = f"{m.value:.3f} ({m.low:.3f} to {m.high:.3f})"
            rows.append(f"| {' | '.join([*first, name, value, str(m.cases), asked])} |")
            first = ["", "", ""]
    return "\n".join(rows)


def missed(cards: list[NetworkCard]) -> str:
    """A point for each model that misses a figure, and which models there are not."""
    points = [
        f"- `{card.name}`: {REASONS[card.name]}"
        for card in cards
        if not all(reached(card.name, m.name, m.value) for m in card.metrics)
    ]
    absent = sorted(set(WANTED) - {c.name for c in cards})
    if absent:
        names = ", ".join(f"`{n}`" for n in absent)
        points.append(f"- Not shipped, as what came out was too weak to be of use: {names}.")
    return "\n".join(points)


def closed(packed: list[package.Package]) -> str:
    """The models that are their graphs alone."""
    bare = [p.card.name for p in packed if "weights.safetensors" not in p.extras]
    return ", ".join(f"`{n}`" for n in bare) or "none."


def page(text: str) -> str:
    """The page with its generated parts as they are now."""
    packed = [package.read(p) for p in sorted(installed.shipped().glob("*.zip"))]
    cards = [p.card for p in packed]
    parts = {"table": table(cards), "missed": missed(cards), "closed": closed(packed)}
    for mark, part in parts.items():
        text = re.sub(
            rf"(<!-- {mark} -->\n).*?(<!-- end -->)",
            lambda m, p=part: f"{m[1]}{p}\n{m[2]}" if p else f"{m[1]}{m[2]}",
            text, flags=re.DOTALL,
        )  # fmt: skip
    return text


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
