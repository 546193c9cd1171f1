"""A model on many inputs, and its answers as files other programs read.

``classify`` writes ``predictions.csv`` (``id`` and ``p_<class>``), ``detect`` writes
``predictions.json`` (COCO results: ``image``, ``category``, ``bbox`` [x, y, w, h] in pixels,
``score``; in volumes ``bbox`` [x, y, z, w, h, d] in voxels, ``center_mm`` in LPS and ``size_mm``
along x, y and z), ``segment`` one label map for each input under its name and on its grid (NIfTI
for volumes, PNG for images of two dimensions), ``register`` the moved image and the displacement.

A model of single objects writes a row for each of them, ``id`` the input's name, ``#`` and the
number of its box.

With uncertainty a classification has the columns ``doubt`` and ``quarrel`` (see
`somascope.models.together.Opinion`), a segmentation the maps ``_doubt`` and ``_quarrel``: NIfTI,
8-bit PNG in two dimensions (255 is 1), and a Parametric Map beside it where the image came as
DICOM.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from somascope.core import QUIET, Axis, Image, Mask, Progress, Warp
from somascope.core.errors import ParameterError, SomascopeError
from somascope.core.grid import Array, Float
from somascope.io import write
from somascope.io.atomic import replacing
from somascope.models import classify, detect, segment
from somascope.models.card import NetworkCard
from somascope.models.inputs import Input
from somascope.models.run import Network
from somascope.models.stages import Staged
from somascope.models.together import Opinion, Together, map_of
from somascope.models.within import Within

Asked: TypeAlias = Network | Together | Within
"""One model (perhaps of two stages), several as one, or two in a row."""

LEAST = 0.02
"""Boxes below this score are not written; the card's threshold is for findings on screen."""


@dataclass
class Predicted:
    """``files`` written, ``problems`` as (name, reason) of inputs that were not looked at."""

    files: list[Path] = field(default_factory=list[Path])
    problems: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    records: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])


def predict(
    model: Asked,
    given: Sequence[Input],
    out: str | Path,
    *,
    probabilities: bool = False,
    uncertainty: bool = False,
    anyway: bool = False,
    boxes: Mapping[str, Float] | None = None,
    progress: Progress = QUIET,
) -> Predicted:
    """Run a model on inputs and write the answers into the folder ``out``.

    ``uncertainty`` says how sure the answers are, too: of one model its own doubt alone.
    ``anyway`` looks at inputs too that are unlike the training images. ``boxes`` are the objects of
    each input, by name: corners ``(n, 2 d)`` in voxel edges, for a model of single objects.

    An input that is refused or damaged does not stop the others: it is in ``problems``; a single
    one raises.

    Raises
    ------
    Refused
        The only input is outside the card.
    ParameterError
        Uncertainty or probabilities of a model that does not tell them; boxes for a model that
        reads none, or none for one that does.
    """
    out = Path(out)
    done = Predicted()
    if isinstance(model, Within | Staged) and (uncertainty or probabilities):
        raise ParameterError(
            f"{model.card.name} is two models in a row and says labels only; ask the second one "
            "alone for more"
        )
    single = model.card.single is not None
    if single != (boxes is not None):
        raise ParameterError(
            f"{model.card.name} classifies single objects: say where they are (--boxes)"
            if single
            else f"{model.card.name} reads no boxes; leave them out"
        )
    if boxes is not None and (uncertainty or not isinstance(model, Network)):
        raise ParameterError("of single objects one model is asked, for probabilities alone")
    if uncertainty and isinstance(model, Network):
        model = Together([model])
    if isinstance(model, Network) and model.card.task == "register":
        _registered(model, given, out, done, progress, anyway=anyway)
        return done
    for item in progress.over(list(given), model.card.name):
        try:
            image = model.card.declared(item.load())
            if boxes is not None and isinstance(model, Network):
                _each(model, image, item.name, boxes, done, anyway=anyway)
                continue
            said = _asked(model, image, anyway=anyway, probabilities=probabilities)
            _told(model.card, said, item, image, out, done, uncertainty=uncertainty,
                  probabilities=probabilities)  # fmt: skip
        except SomascopeError as error:
            if len(given) == 1:
                raise
            done.problems.append((item.name, str(error)))
    if model.card.task == "classify":
        more = ("doubt", "quarrel") if uncertainty else ()
        done.files.append(_table(model.card, done.records, out / "predictions.csv", more=more))
    elif model.card.task == "detect":
        done.files.append(_save(json.dumps(done.records, indent=1), out / "predictions.json"))
    return done


def _each(
    model: Network, image: Image, name: str, boxes: Mapping[str, Float], done: Predicted, *,
    anyway: bool,
) -> None:  # fmt: skip
    """Every object of one image."""
    if name not in boxes:
        some = ", ".join(sorted(boxes)[:3])
        raise ParameterError(
            f"no box is given for {name!r}; there are boxes of {some or 'nothing'}"
        )
    model.card.check(image, anyway=anyway)
    p = classify.of_objects(model.card, model.engine, image, boxes[name])
    for k, (ends, each) in enumerate(zip(boxes[name], p, strict=True)):
        row: dict[str, Any] = {"id": f"{name}#{k}"}
        row |= {f"p_{c.name}": float(v) for c, v in zip(model.card.classes, each, strict=True)}
        done.records.append(row | {"bbox": detect.coco_box(ends)})


@dataclass(frozen=True)
class _Said:
    """One answer: of every task only its own part is there."""

    p: Array | None = None
    labels: Array | None = None
    boxes: tuple[Array, Array, Array] | None = None
    opinion: Opinion | None = None


def _asked(model: Asked, image: Image, *, anyway: bool, probabilities: bool) -> _Said:
    card = model.card
    if isinstance(model, Within):
        return _Said(labels=model.answer(image, anyway=anyway)[0])
    if isinstance(model, Together):
        found = model.look(image, anyway=anyway)
        if card.task == "classify":
            return _Said(p=found.mean, opinion=found)
        kind = np.min_scalar_type(len(card.classes))
        labels = segment.decide(card, found.mean).astype(kind)
        return _Said(p=found.mean[1:], labels=labels, opinion=found)
    card.check(image, anyway=anyway)
    if isinstance(model, Staged):
        return _Said(labels=model.labels(image, anyway=anyway))
    if card.task == "classify":
        return _Said(p=classify.probabilities(card, model.engine, image))
    if card.task == "detect":
        return _Said(boxes=detect.boxes(card, model.engine, image, threshold=LEAST))
    labels, p = segment.answer(card, model.engine, image, probabilities=probabilities)
    return _Said(p=p, labels=labels)


def _told(
    card: NetworkCard, said: _Said, item: Input, image: Image, out: Path, done: Predicted, *,
    uncertainty: bool, probabilities: bool,
) -> None:  # fmt: skip
    """Note the answer for the table, or write it down."""
    if said.boxes is not None:
        places = zip(*detect.center_and_size(said.boxes[0], image.grid), strict=True)
        for ends, s, k, (centre, sides) in zip(*said.boxes, places, strict=True):
            row: dict[str, Any] = {
                "image": item.name, "category": card.classes[int(k)].name,
                "bbox": detect.coco_box(ends), "score": round(float(s), 5),
            }  # fmt: skip
            if card.dimensions == 3:
                row |= {"center_mm": [round(float(v), 3) for v in centre],
                        "size_mm": [round(float(v), 3) for v in sides]}  # fmt: skip
            done.records.append(row)
        return
    if said.labels is None:
        assert said.p is not None
        row = {"id": item.name}
        row |= {f"p_{c.name}": float(v) for c, v in zip(card.classes, said.p, strict=True)}
        if uncertainty and said.opinion is not None:
            row |= {"doubt": float(said.opinion.doubt), "quarrel": float(said.opinion.quarrel)}
        done.records.append(row)
        return
    flat = image.grid.shape[0] == 1 and item.flat
    path = out / f"{item.name}{'.png' if flat else '.nii.gz'}"
    path.parent.mkdir(parents=True, exist_ok=True)
    write(Mask(data=said.labels, grid=image.grid, segments=segment.segments(card)), path)
    done.files.append(path)
    counts = {c.name: int((said.labels == k + 1).sum()) for k, c in enumerate(card.classes)}
    row = {"id": item.name, "voxels": counts}
    if probabilities and said.p is not None:
        done.files += _probabilities(card, item, image, said.p, out, flat=flat)
    if uncertainty and said.opinion is not None:
        for name in ("doubt", "quarrel"):
            values: Array = getattr(said.opinion, name)
            row[name] = round(float(values.mean()), 6)
            done.files += _map(f"{item.name}_{name}", image, values, out, flat=flat)
    done.records.append(row)


def _map(name: str, image: Image, values: Array, out: Path, *, flat: bool) -> list[Path]:
    """A number from 0 to 1 for every voxel."""
    made = map_of(image, values)
    paths = [out / f"{name}.{'png' if flat else 'nii.gz'}"]
    if flat:
        base = replace(made, data=np.rint(made.data.clip(0, 1) * 255).astype(np.uint8))
        write(replace(base, attributes={}), paths[0])
    else:
        write(made, paths[0])
    if any(s.kind == "dicom" for s in image.provenance.sources):
        paths.append(out / f"{name}.dcm")
        write(made, paths[1])
    return paths


def _probabilities(
    card: NetworkCard, item: Input, image: Image, p: Array, out: Path, *, flat: bool
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
    for k, c in enumerate(card.classes):
        tail = "" if len(card.classes) == 1 else f"_{c.name}"
        path = out / f"{item.name}_prob{tail}.png"
        write(replace(base, data=np.rint(p[k] * 255).astype(np.uint8)), path)
        paths.append(path)
    return paths


def _table(
    card: NetworkCard, rows: list[dict[str, Any]], path: Path, *, more: Sequence[str] = ()
) -> Path:
    buffer = io.StringIO()
    columns = ["id", *(f"p_{c.name}" for c in card.classes), *more]
    writer = csv.DictWriter(buffer, columns, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({k: row[k] if k == "id" else f"{row[k]:.7g}" for k in columns})
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
