"""A model on many inputs, and its answers as files other programs read.

``classify`` writes ``predictions.csv`` (``id`` and ``p_<class>``), ``detect`` writes
``predictions.json`` (COCO results: ``image``, ``category``, ``bbox`` [x, y, w, h] in pixels,
``score``), ``segment`` one label map for each input under its name and on its grid (NIfTI for
volumes, PNG for pictures), ``register`` the moved image and the displacement.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from somascope.core import QUIET, Axis, Image, Mask, Progress, Warp
from somascope.core.errors import ParameterError, SomascopeError
from somascope.io import write
from somascope.io.atomic import replacing
from somascope.models import classify, detect, segment
from somascope.models.inputs import Input
from somascope.models.run import Network

LEAST = 0.02
"""Boxes below this score are not written; the card's threshold is for findings on screen."""


@dataclass
class Predicted:
    """``files`` written, ``problems`` as (name, reason) of inputs that were not looked at."""

    files: list[Path] = field(default_factory=list[Path])
    problems: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    records: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])


def predict(
    model: Network,
    given: Sequence[Input],
    out: str | Path,
    *,
    probabilities: bool = False,
    anyway: bool = False,
    progress: Progress = QUIET,
) -> Predicted:
    """Run a model on inputs and write the answers into the folder ``out``.

    ``anyway`` looks at inputs too that are unlike the training images.

    An input that is refused or damaged does not stop the others: it is in ``problems``; a single
    one raises.

    Raises
    ------
    Refused
        The only input is outside the card.
    """
    out = Path(out)
    done = Predicted()
    if model.card.task == "register":
        _registered(model, given, out, done, progress, anyway=anyway)
        return done
    for item in progress.over(list(given), model.card.name):
        try:
            image = model.card.declared(item.load())
            model.card.check(image, anyway=anyway)
            _one(model, item, image, out, done, probabilities=probabilities)
        except SomascopeError as error:
            if len(given) == 1:
                raise
            done.problems.append((item.name, str(error)))
    if model.card.task == "classify":
        done.files.append(_table(model, done.records, out / "predictions.csv"))
    elif model.card.task == "detect":
        done.files.append(_save(json.dumps(done.records, indent=1), out / "predictions.json"))
    return done


def _one(
    model: Network, item: Input, image: Image, out: Path, done: Predicted, *, probabilities: bool
) -> None:
    card, engine = model.card, model.engine
    if card.task == "classify":
        p = classify.probabilities(card, engine, image)
        named = {f"p_{c.name}": float(v) for c, v in zip(card.classes, p, strict=True)}
        done.records.append({"id": item.name, **named})
    elif card.task == "detect":
        corners, score, kind = detect.boxes(card, engine, image, threshold=LEAST)
        for (y0, x0, y1, x1), s, k in zip(corners.tolist(), score, kind, strict=True):
            box = [round(v, 2) for v in (x0, y0, x1 - x0, y1 - y0)]
            name = card.classes[int(k)].name
            done.records.append(
                {"image": item.name, "category": name, "bbox": box, "score": round(float(s), 5)}
            )
    else:
        labels, p = segment.answer(card, engine, image, probabilities=probabilities)
        flat = image.grid.shape[0] == 1 and item.flat
        suffix = ".png" if flat else ".nii.gz"
        mask = Mask(data=labels, grid=image.grid, segments=segment.segments(card))
        path = out / f"{item.name}{suffix}"
        out.mkdir(parents=True, exist_ok=True)
        write(mask, path)
        done.files.append(path)
        counts = {c.name: int((labels == k + 1).sum()) for k, c in enumerate(card.classes)}
        done.records.append({"id": item.name, "voxels": counts})
        if p is not None:
            done.files += _probabilities(model, item, image, p, out, flat=flat)


def _probabilities(
    model: Network, item: Input, image: Image, p: np.ndarray, out: Path, *, flat: bool
) -> list[Path]:
    """8-bit PNG (255 is certain), one for each class; or one NIfTI with an axis of classes."""
    base = replace(image, axes=(), data=np.zeros(image.grid.shape, np.uint8))
    if not flat:
        path = out / f"{item.name}_prob.nii.gz"
        several = len(p) > 1
        data = p.astype(np.float32) if several else p[0].astype(np.float32)
        write(replace(base, data=data, axes=(Axis("class"),) if several else ()), path)
        return [path]
    paths: list[Path] = []
    for k, c in enumerate(model.card.classes):
        tail = "" if len(model.card.classes) == 1 else f"_{c.name}"
        path = out / f"{item.name}_prob{tail}.png"
        write(replace(base, data=np.rint(p[k] * 255).astype(np.uint8)), path)
        paths.append(path)
    return paths


def _table(model: Network, rows: list[dict[str, Any]], path: Path) -> Path:
    buffer = io.StringIO()
    columns = ["id", *(f"p_{c.name}" for c in model.card.classes)]
    writer = csv.DictWriter(buffer, columns, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({k: v if k == "id" else f"{v:.7g}" for k, v in row.items()})
    return _save(buffer.getvalue(), path)


def _save(text: str, path: Path) -> Path:
    with replacing(path) as file:
        file.write(text.encode())
    return path


def _registered(
    model: Network, given: Sequence[Input], out: Path, done: Predicted, progress: Progress, *,
    anyway: bool,
) -> None:  # fmt: skip
    if len(given) != 2:
        raise ParameterError(
            f"{model.card.name} registers two images, the fixed one first; {len(given)} given"
        )
    from somascope.models.register import moved

    fixed, moving = (i.load() for i in given)
    (warp,) = model(fixed, moving, anyway=anyway, progress=progress)
    assert isinstance(warp, Warp)
    assert warp.displacement is not None
    assert warp.grid is not None
    out.mkdir(parents=True, exist_ok=True)
    name = given[0].name
    for path, image in (
        (out / f"{name}_moved.nii.gz", moved(warp, moving, fixed.grid)),
        (
            out / f"{name}_displacement.nii.gz",
            Image(warp.displacement, warp.grid, axes=(Axis("vector"),), unit="mm"),
        ),
    ):
        write(image, path)
        done.files.append(path)
    longest = float(np.linalg.norm(warp.displacement, axis=0).max())
    done.records.append({"id": name, "matrix": warp.matrix.tolist(), "longest_mm": longest})
