"""Why a classical model says what it says: what each feature adds, and which matter at all.

Contributions are Shapley values (Strumbelj and Kononenko, Knowl. Inf. Syst. 41, 2014) of the logit
of a class against the others: what a feature adds when it takes its value in place of the usual
one, averaged over the orders in which features may do so. They add up to the whole difference.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from somascope.core import Image
from somascope.core.errors import ParameterError
from somascope.core.grid import Array, Float
from somascope.io.atomic import replacing
from somascope.learn.classical.make import history_of
from somascope.learn.pictures import enlarged, plane_of, png
from somascope.models import Network, installed, package
from somascope.models.candidates import corners_of, described, proposed, vectors
from somascope.models.classical import vector
from somascope.models.detect import boxes, carried, overlap
from somascope.models.prepare import prepared
from somascope.process.chart import INKS

ORDERS = 24
"""Orders of the features that are averaged, each with its reverse."""
SHOWN = 12


@dataclass(frozen=True)
class Contributions:
    """``adds`` by feature, the largest first; ``values`` of the image and ``usual`` ones (features
    as IBSI defines them, not their ``arcsinh``); ``importance`` of training, where it was kept.
    """

    target: str
    logit: float
    base: float
    adds: dict[str, float]
    values: dict[str, float]
    usual: dict[str, float]
    importance: dict[str, float]


def explain(
    model: Network, image: Image, *, target: str = "", anyway: bool = False,
    importance: dict[str, float] | None = None, seed: int = 0,
) -> Contributions:  # fmt: skip
    """What each feature of an image adds to the answer for ``target`` (default: what is said).

    Raises
    ------
    ParameterError
        The model is a network, or knows no such class.
    Refused
        The image is outside the card.
    """
    card = model.card
    names = _names(model, target)
    assert card.features is not None
    image = card.declared(image)
    card.check(image, anyway=anyway)
    x = vector(card.features, image, card.preparation)
    k = names.index(target) if target else -1
    return contributions(model, x, names, k=k, importance=importance, seed=seed)


def _names(model: Network, target: str) -> list[str]:
    """Names of the classes, held against what is asked for."""
    card = model.card
    if card.features is None:
        raise ParameterError(f"{card.name} is a network; explain it by gradcam")
    names = [c.name for c in card.classes]
    if target and target not in names:
        raise ParameterError(f"{card.name} has no class {target!r}; it has {', '.join(names)}")
    return names


@dataclass(frozen=True)
class Box:
    """One find: its corners ``(2 d,)`` in the image's voxels, how sure it is, and why."""

    corners: tuple[float, ...]
    score: float
    why: Contributions


def explain_boxes(
    model: Network, image: Image, *, target: str = "", anyway: bool = False,
    importance: dict[str, float] | None = None, most: int = 10, seed: int = 0,
) -> list[Box]:  # fmt: skip
    """What each feature adds to the (at ``most``) surest boxes, of class ``target`` or of all.

    Raises as `explain`.
    """
    card = model.card
    names = _names(model, target)
    assert card.features is not None
    assert card.features.candidates is not None
    image = card.declared(image)
    card.check(image, anyway=anyway)
    ready = prepared(image, card.preparation, channels=card.channels)
    found = proposed(card.features.candidates, ready)
    rows = described(found, ready, levels=card.features.levels)
    x = vectors(rows, card.features.names, np.asarray(card.features.usual))
    corners, score, kind = boxes(card, model.engine, image)
    told: list[Box] = []
    for ends, s, k in zip(corners, score, kind, strict=True):
        if (target and names[int(k)] != target) or len(told) == most:
            continue
        shape = card.features.candidates.stretch[int(k)]
        own = carried(corners_of(found, shape, ready.grid), ready.grid, image.grid)
        row = x[int(overlap(ends[None], own)[0].argmax())]
        why = contributions(
            model, row, ["nothing", *names], k=int(k) + 1, importance=importance, seed=seed
        )
        told.append(Box(tuple(float(v) for v in ends), float(s), why))
    return told


def contributions(
    model: Network, x: Array, names: Sequence[str], *, k: int = -1,
    importance: dict[str, float] | None = None, seed: int = 0,
) -> Contributions:  # fmt: skip
    """What each number of the vector ``x`` adds to the ``k``-th class (-1: what is said)."""
    card = model.card
    assert card.features is not None
    base = np.asarray(card.features.usual, np.float32)

    def answers(row: Array) -> Float:
        return model.engine({"image": row[None]})[0][0].astype(np.float64)

    if k < 0:
        k = int(answers(x).argmax())

    def score(row: Array) -> float:
        logits = answers(row)
        others = np.delete(logits, k)
        top = float(others.max())
        return float(logits[k] - top - np.log(np.exp(others - top).sum()))

    adds = np.zeros(len(x))
    rng = np.random.default_rng(seed)
    whole, none = score(x), score(base)
    for _ in range(ORDERS):
        order = rng.permutation(len(x))
        for way in (order, order[::-1]):
            row, before = base.copy(), none
            for j in way:
                row[j] = x[j]
                after = score(row) if row[j] != base[j] else before
                adds[j] += (after - before) / (2 * ORDERS)
                before = after
    listed = card.features.names
    ranked = np.argsort(-np.abs(adds), kind="stable")
    return Contributions(
        names[k], whole, none,
        {listed[j]: float(adds[j]) for j in ranked},
        {listed[j]: float(np.sinh(np.float64(x[j]))) for j in ranked},
        {listed[j]: float(np.sinh(np.float64(base[j]))) for j in ranked},
        importance or {},
    )  # fmt: skip


def importance_of(model: str | Path) -> dict[str, float]:
    """Permutation importance that was kept when the model was made, the largest first."""
    path = Path(model)
    packed = package.read(path if path.exists() else installed.models().get(str(model), path))
    found: Any = history_of(packed).get("importance", {})
    return {str(k): float(v) for k, v in found.items()} if isinstance(found, dict) else {}


def picture(
    found: Contributions, image: Image, *, corners: Sequence[float] = ()
) -> bytes:  # fmt: skip
    """The image (of a box the slice in its middle), and bars of what the features add: blue for,
    orange against.
    """
    from PIL import Image as Picture
    from PIL import ImageDraw, ImageFont

    tile, _ = _boxed(image, corners) if len(corners) else enlarged(plane_of(image)[0], least=256)
    shown = list(found.adds.items())[:SHOWN]
    row, left, width = 24, 330, 240
    height = max(tile.shape[0], row * len(shown) + 60)
    sheet = Picture.new("RGB", (tile.shape[1] + 20 + left + width + 70, height), "white")
    sheet.paste(Picture.fromarray(tile), (0, 0))
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    start = tile.shape[1] + 20
    title = f"for {found.target}: log odds {found.logit:+.2f}, usual image {found.base:+.2f}"
    pen.text((start, 6), title, fill="black", font=font)
    largest = max((abs(v) for _, v in shown), default=1.0) or 1.0
    middle = start + left + width // 2
    for i, (name, value) in enumerate(shown):
        y = 34 + i * row
        pen.text((start, y), name[:50], fill="black", font=font)
        end = middle + round(value / largest * (width // 2))
        box = (min(middle, end), y + 2, max(middle, end), y + row - 8)
        pen.rectangle(box, fill=INKS[0] if value >= 0 else INKS[1])
        pen.text((start + left + width + 8, y), f"{value:+.3f}", fill="black", font=font)
    pen.line((middle, 30, middle, 34 + row * len(shown)), fill=(120, 130, 140))
    return png(np.asarray(sheet))


def _boxed(image: Image, corners: Sequence[float]) -> tuple[Array, float]:
    """The slice through the middle of a box, in the array's own directions, with the box."""
    d = len(corners) // 2
    low, high = corners[:d], corners[d:]
    if d == 3:
        z = min(max(int((low[0] + high[0]) / 2), 0), image.grid.shape[0] - 1)
        image = image.crop(start=(z, 0, 0), stop=(z + 1, *image.grid.shape[1:]))
    big, factor = enlarged(plane_of(image)[0], least=320)
    ends = [
        np.clip([round(low[a] * factor), round(high[a] * factor) - 1], 0, big.shape[a + 2 - d] - 1)
        for a in (d - 2, d - 1)
    ]
    (top, bottom), (left, right) = ends
    big = big.copy()
    big[top : bottom + 1, [left, right]] = INKS[1]
    big[[top, bottom], left : right + 1] = INKS[1]
    return big, factor


def written(
    model: str | Path, network: Network, image: Image, out: Path, *, name: str, target: str = "",
    anyway: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """Explain one case: ``NAME_features.png``, ``.csv`` (every feature) and ``.json``.

    Of a detector one set of files for each of its surest boxes, ``NAME_box1_features.png`` and so
    on; what is given back has them under ``boxes``.
    """
    known = importance_of(model)
    shown = network.card.declared(image)
    if network.card.task == "detect":
        each = explain_boxes(network, image, target=target, anyway=anyway, importance=known)
        said = [
            _kept(b.why, picture(b.why, shown, corners=b.corners), out, f"{name}_box{i}")
            | {"corners": list(b.corners), "score": b.score}
            for i, b in enumerate(each, start=1)
        ]
        return {"id": name, "method": "contributions", "boxes": said}
    found = explain(network, image, target=target, anyway=anyway, importance=known)
    return _kept(found, picture(found, shown), out, name)


def _kept(found: Contributions, drawn: bytes, out: Path, name: str) -> dict[str, Any]:
    """Write picture, table and record of one answer; the record."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["feature", "adds", "value", "usual", "importance"])
    for feature, value in found.adds.items():
        writer.writerow([feature, f"{value:.6g}", f"{found.values[feature]:.6g}",
                         f"{found.usual[feature]:.6g}",
                         f"{found.importance.get(feature, 0.0):.5g}"])  # fmt: skip
    record = {
        "id": name, "target": found.target, "method": "contributions", "logit": found.logit,
        "usual": found.base, "adds": found.adds,
    }  # fmt: skip
    out.mkdir(parents=True, exist_ok=True)
    for suffix, data in (
        (".png", drawn),
        (".csv", buffer.getvalue().encode()),
        (".json", (json.dumps(record, indent=1) + "\n").encode()),
    ):
        with replacing(out / f"{name}_features{suffix}") as file:
            file.write(data)
    return record
