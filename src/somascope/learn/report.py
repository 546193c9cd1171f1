"""An evaluation as one HTML page that needs nothing else: figures, curves, cases to look at."""

from __future__ import annotations

import base64
import html
import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from somascope import __version__
from somascope.core import Image, Warp
from somascope.core.grid import Array
from somascope.learn import pictures
from somascope.learn.datasets import Case, Dataset
from somascope.learn.evaluate import Evaluation
from somascope.learn.metrics.compare import Difference
from somascope.models import Metric, Network, detect
from somascope.models.stages import labels_of

STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:60em;margin:2em auto;padding:0 1em;color:#1c2730}
table{border-collapse:collapse;margin:1em 0}td,th{padding:.2em .8em;border-bottom:1px solid #d5dce1;
text-align:right}td:first-child,th:first-child{text-align:left}figure{display:inline-block;
margin:.5em}figcaption{font-size:13px;color:#51606b;max-width:20em}img{image-rendering:pixelated;
max-width:20em;background:#000}svg{background:#f6f8f9}.note{color:#8a3b12}
"""


def page(
    result: Evaluation,
    model: Network,
    dataset: Dataset,
    *,
    shown: int = 3,
    against: Mapping[str, Sequence[Difference]] = MappingProxyType({}),
) -> str:
    """The report; best, median and worst cases in pictures, ``shown`` of each.

    ``against`` holds what `compare` says of this model and others, by their names.
    """
    card = model.card
    parts = [
        f"<h1>{_t(result.model)} on {_t(result.dataset)}</h1>",
        _about(result, model),
        "<h2>Figures</h2>", _figures(result.metrics),
    ]  # fmt: skip
    if result.subgroups:
        parts.append(f"<h2>Groups</h2>{_figures(result.subgroups, of='group')}")
    if against:
        parts.append(_differences(against))
    if result.problems:
        listed = "".join(f"<li>{_t(n)}: {_t(r)}</li>" for n, r in result.problems[:20])
        parts.append(f"<h2>Not looked at: {len(result.problems)}</h2><ul>{listed}</ul>")
    if "roc" in result.tables:
        parts.append(_curve("ROC", result.tables["roc"], "1 - specificity", "sensitivity"))
    if "pr" in result.tables:
        parts.append(_curve("Precision and recall", result.tables["pr"], "recall", "precision",
                            chance=False))  # fmt: skip
    if "reliability" in result.tables:
        rows = [r[:2] for r in result.tables["reliability"]]
        parts.append(_curve("Reliability", rows, "confidence", "accuracy", dots=True))
    if "confusion" in result.tables:
        parts.append(_confusion(result))
    if any(n.startswith("froc ") for n in result.tables):
        parts.append(_froc(result))
    parts.append(_cases(result, model, dataset, shown))
    parts.append(
        f"<h2>Card</h2><p>Task {_t(card.task)}; trained on {_t(card.training_data)}; licence "
        f"{_t(card.licence)}; temperature {card.temperature:.3f}; SHA-256 <code>{card.sha256}"
        f"</code>. Limits: {_t(' '.join(card.limits) or 'none said')}</p>"
        f"<p>Made by Somascope {__version__}.</p>"
    )
    title = _t(f"{result.model} on {result.dataset}")
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{title}</title>"
        f"<style>{STYLE}</style>{''.join(parts)}</html>\n"
    )


def _about(result: Evaluation, model: Network) -> str:
    patients = len({r["patient"] for r in result.rows})
    notes = "".join(f"<p class=note>{_t(n)}.</p>" for n in result.notes)
    return (
        f"<p>{len(result.rows)} cases ({_t(result.split)}) of {patients} patients. Intervals are "
        f"95 %, drawn by patient. {_t(model.card.summary)}. "
        f"<span class=note>{_t(model.card.intended_use)}</span></p>{notes}"
    )


def _t(text: object) -> str:
    return html.escape(str(text))


def _number(value: float) -> str:
    return f"{value:.4f}" if math.isfinite(value) else "none"


def _figures(metrics: Sequence[Metric], *, of: str = "") -> str:
    rows = "".join(
        f"<tr><td>{_t(m.on) + '</td><td>' if of else ''}{_t(m.name)}</td><td>{_number(m.value)}"
        f"</td><td>{_number(m.low)} to {_number(m.high)}</td><td>{m.cases}</td></tr>"
        for m in metrics
    )
    head = f"<th>{of}</th>" if of else ""
    return (
        f"<table><tr>{head}<th>figure</th><th>value</th><th>95 % interval</th><th>cases</th></tr>"
        f"{rows}</table>"
    )


def _differences(against: Mapping[str, Sequence[Difference]]) -> str:
    rows = "".join(
        f"<tr><td>{_t(name)}</td><td>{_t(d.name)}</td><td>{_number(d.first)}</td><td>"
        f"{_number(d.second)}</td><td>{_number(d.value)}</td><td>{_number(d.low)} to "
        f"{_number(d.high)}</td><td>{_number(d.p)}</td><td>{_t(d.method)}</td></tr>"
        for name, each in against.items()
        for d in each
    )
    return (
        "<h2>Against other models</h2><table><tr><th>other</th><th>figure</th><th>this</th>"
        "<th>other</th><th>difference</th><th>95 % interval</th><th>p</th><th>by</th></tr>"
        f"{rows}</table><p>On the same cases; p is two-sided and not corrected for the number of "
        "figures.</p>"
    )


def _curve(
    title: str, points: Sequence[Sequence[float]], x: str, y: str, *, dots: bool = False,
    chance: bool = True,
) -> str:  # fmt: skip
    size, edge = 240, 30
    at = [(edge + p[0] * (size - 2 * edge), size - edge - p[1] * (size - 2 * edge)) for p in points]
    line = " ".join(f"{a:.1f},{b:.1f}" for a, b in at)
    diagonal = f"<line x1={edge} y1={size - edge} x2={size - edge} y2={edge} stroke='#b8c4cc'/>"
    marks = "".join(f"<circle cx={a:.1f} cy={b:.1f} r=3 fill='#0b6e99'/>" for a, b in at)
    return (
        f"<figure><svg width={size} height={size} role=img aria-label='{_t(title)}'>"
        f"{diagonal if chance else ''}"
        f"<rect x={edge} y={edge} width={size - 2 * edge} height={size - 2 * edge} fill=none "
        f"stroke='#7a8a95'/><polyline points='{line}' fill=none stroke='#0b6e99' stroke-width='2'/>"
        f"{marks if dots else ''}<text x={size / 2} y={size - 8} text-anchor=middle font-size=12>"
        f"{_t(x)}</text><text x=12 y={size / 2} font-size=12 transform='rotate(-90 12 {size / 2})' "
        f"text-anchor=middle>{_t(y)}</text></svg><figcaption>{_t(title)}</figcaption></figure>"
    )


def _confusion(result: Evaluation) -> str:
    head = "".join(f"<th>said {_t(c)}</th>" for c in result.classes)
    rows = "".join(
        f"<tr><td>{_t(c)}</td>{''.join(f'<td>{int(v)}</td>' for v in row)}</tr>"
        for c, row in zip(result.classes, result.tables["confusion"], strict=True)
    )
    return f"<h2>Decisions</h2><table><tr><th>truth</th>{head}</tr>{rows}</table>"


def _froc(result: Evaluation) -> str:
    """Sensitivity at numbers of false finds; `metrics.boxes.froc`."""
    rows = "".join(
        f"<tr><td>{_t(name.removeprefix('froc '))}</td>"
        f"{''.join(f'<td>{_number(v)}</td>' for v in table[0])}</tr>"
        for name, table in result.tables.items()
        if name.startswith("froc ")
    )
    head = "".join(f"<th>{n}</th>" for n in ("1/8", "1/4", "1/2", "1", "2", "4", "8"))
    return (
        f"<h2>Sensitivity at false finds per image</h2><table><tr><th>class</th>{head}</tr>{rows}"
        "</table><p>Their mean is the CPM.</p>"
    )


def _cases(result: Evaluation, model: Network, dataset: Dataset, shown: int) -> str:
    ranked = sorted(result.rows, key=lambda r: (r["quality"], r["id"]))
    middle = max(len(ranked) // 2 - shown // 2, 0)
    groups = [
        ("Worst", ranked[:shown]), ("Median", ranked[middle : middle + shown]),
        ("Best", ranked[::-1][:shown]),
    ]  # fmt: skip
    there = {c.id: c for c in dataset.cases}
    text = ""
    for title, rows in groups:
        figures = "".join(_figure(r, there[r["id"]], model, result) for r in rows)
        text += f"<h2>{title}</h2>{figures}"
    return text


def _figure(row: dict[str, Any], case: Case, model: Network, result: Evaluation) -> str:
    card, image = model.card, model.card.declared(case.image())
    said = f"{row['quality']:.3f}"
    if card.task == "segment":
        assert case.mask is not None
        labels, _ = labels_of(model, image)
        data = pictures.outlined(image, case.mask(), labels)
        said = f"Dice {said} (green: truth, orange: found)"
    elif card.task == "detect":
        corners, score, _ = detect.boxes(card, model.engine, image)
        empty: Array = np.zeros((0, 5))
        data = pictures.boxed(image, case.boxes if case.boxes is not None else empty, corners)
        said = f"AP {said}, {len(score)} boxes (green: truth, orange: found)"
    elif card.task == "register":
        data, said = _registered(case, model, image, row)
    else:
        data = pictures.plain(image)
        if case.box is not None:
            data = pictures.boxed(image, case.box[None], np.zeros((0, len(case.box))))
        if card.task == "classify":
            said = (
                f"truth {result.classes[row['truth']]} ({said}), said {result.classes[row['said']]}"
            )
    return (
        f"<figure>{image_tag(data, row['id'])}"
        f"<figcaption>{_t(row['id'])}: {_t(said)}</figcaption></figure>"
    )


def _registered(
    case: Case, model: Network, image: Image, row: Mapping[str, Any]
) -> tuple[bytes, str]:
    """The fixed image with both outlines; without labels the fixed and the moved one."""
    from somascope.models.register import moved

    assert case.moving is not None
    other = model.card.declared(case.moving())
    (warp,) = model(image, other)
    assert isinstance(warp, Warp)
    folded = f"{row['folded_percent']:.2f} % folded"
    if case.mask is not None and case.moving_mask is not None:
        labels = Image(case.moving_mask(), other.grid, "OT")
        found = moved(warp, labels, image.grid, nearest=True).data
        data = pictures.outlined(image, case.mask(), found.reshape(image.grid.shape))
        said = f"Dice {row['dice']:.3f}, {folded} (green: of the fixed image, orange: moved)"
        return data, said
    planes = [pictures.plane_of(i)[0] for i in (image, moved(warp, other, image.grid))]
    side = np.concatenate([pictures.enlarged(p)[0] for p in planes], axis=1)
    return pictures.png(side), f"{folded}; left the fixed image, right the moved one"


def image_tag(png: bytes, said: str) -> str:
    """A PNG within a page."""
    coded = base64.b64encode(png).decode()
    return f"<img alt='{_t(said)}' src='data:image/png;base64,{coded}'>"
