"""Explanations as files: overlays, maps, the layers to walk through, and one page for each case."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from somascope.core import Image
from somascope.core.errors import NotFound
from somascope.core.grid import Float
from somascope.io import write
from somascope.io.atomic import replacing
from somascope.learn import explain as why
from somascope.learn import layers, pictures
from somascope.learn.prototypes import Alike, nearest
from somascope.learn.report import image_tag


def overlay(image: Image, found: why.Explanation) -> bytes:
    """The map's colours on the slice where it says most, as a PNG."""
    map_ = np.maximum(found.map.data, 0)
    below, (_, values) = pictures.plane_of(image, [map_ > 0.5 * map_.max(), map_])
    big, factor = pictures.enlarged(below)
    large = values.repeat(factor, axis=0).repeat(factor, axis=1)
    return pictures.png(pictures.heat(large, below=big, opacity=0.8))


def written(
    model: str | Path,
    images: Sequence[Image],
    out: Path,
    *,
    name: str,
    methods: Sequence[why.Method],
    target: str = "",
    layer: str = "",
    sanity: bool = False,
    anyway: bool = False,
    box: Sequence[float] | Float | None = None,
) -> dict[str, Any]:
    """Explain one case by some methods and write what was found into ``out``.

    Of each method ``NAME_METHOD.png`` (on the image) and ``.nii.gz`` (the map on the image's
    grid), then ``NAME_layers.html`` (what each layer makes of it) and ``NAME.html`` (all of it).
    """
    card, _, network = why.opened(model)
    out.mkdir(parents=True, exist_ok=True)
    images = [card.declared(i) for i in images]
    rows: list[dict[str, Any]] = []
    shown: list[tuple[why.Explanation, bytes]] = []
    for method in methods:
        found = why.explain(
            model, *images, method=method, target=target, layer=layer, sanity=sanity,
            anyway=anyway, box=box,
        )  # fmt: skip
        picture = overlay(images[0], found)
        shown.append((found, picture))
        with replacing(out / f"{name}_{method}.png") as file:
            file.write(picture)
        write(found.map, out / f"{name}_{method}.nii.gz")
        rows.append(_record(found))
    looked, levels = why.looked_at(model, card, images, anyway=anyway)
    x, _ = why.input_of(card, looked, box=box, levels=levels)
    parts = (x[:, :1], x[:, 1:]) if card.task == "register" else (x,)
    title = f"{card.name}: {name}, layer by layer"
    with replacing(out / f"{name}_layers.html") as file:
        walked = layers.layers(network, *parts)
        file.write(
            layers.page(
                walked,
                title=title,
                image=x[0, : card.channels].numpy() if box is not None else x[0].numpy(),
            ).encode()
        )
    try:
        alike = nearest(model, *images, box=box)
    except NotFound:
        alike = []
    with replacing(out / f"{name}.html") as file:
        file.write(page(f"{card.name}: {name}", images[0], shown, alike, name).encode())
    return {
        "id": name, "target": rows[0]["target"], "explanations": rows,
        "words": [found.words for found, _ in shown],
        "prototypes": [
            {"name": a.name, "class": a.kind, "likeness": round(a.likeness, 4)} for a in alike
        ],
    }  # fmt: skip


def _record(found: why.Explanation) -> dict[str, Any]:
    def number(value: float) -> float | None:
        return round(value, 5) if np.isfinite(value) else None

    record: dict[str, Any] = {
        "method": found.method, "target": found.target, "deletion": number(found.deletion),
        "insertion": number(found.insertion), "random_deletion": number(found.random[0]),
        "random_insertion": number(found.random[1]), "sanity": number(found.sanity),
    }  # fmt: skip
    what = found.counterfactual
    if what is not None:
        record["counterfactual"] = {
            "flipped": what.flipped, "before": number(what.before), "after": number(what.after),
            "share": number(what.share), "by_chance": number(what.by_chance),
        }  # fmt: skip
    return record


def filled(found: why.Explanation) -> bytes:
    """The counterfactual as the network was given it: the middle slice of its region."""
    what = found.counterfactual
    assert what is not None
    region, values = what.region, what.filled.mean(axis=0)
    if region.ndim == 3:
        z = int(region.reshape(len(region), -1).sum(axis=1).argmax())
        values = values[z]
    low, high = np.percentile(values, (0.5, 99.5))
    gray = np.clip((values - low) / max(float(high - low), 1e-9), 0, 1) * 255
    return pictures.png(pictures.enlarged(gray.astype(np.uint8))[0])


def page(
    title: str,
    image: Image,
    shown: Sequence[tuple[why.Explanation, bytes]],
    alike: Sequence[Alike],
    name: str,
) -> str:
    """One HTML page without anything from outside: the image, every map and its tests."""
    cells = [_figure(pictures.plain(image), "the image")]
    for found, picture in shown:
        cells.append(_figure(picture, found.words))
        if found.counterfactual is not None:
            cells.append(_figure(filled(found), "what the network was given instead"))
    body = [f"<h1>{html.escape(title)}</h1><div class=row>{''.join(cells)}</div>"]
    if alike:
        body.append("<h2>Training cases that look most alike to the network</h2><ul>")
        for one in alike:
            kept = one.picture
            small = "" if kept is None else image_tag(pictures.png(kept), one.name)
            said = f"{one.name} {one.kind}, likeness {one.likeness:+.2f}"
            body.append(f"<li>{small} {html.escape(said)}")
        body.append("</ul>")
    body.append(f"<p><a href='{html.escape(name)}_layers.html'>What each layer sees</a></p>")
    style = (
        "body{font:15px/1.5 system-ui,sans-serif;max-width:70em;margin:2em auto;padding:0 1em}"
        "img{image-rendering:pixelated;max-width:100%}.row{display:flex;flex-wrap:wrap;gap:1em}"
        "figure{margin:0;width:15em}figcaption{font-size:13px}li{list-style:none}"
    )
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{html.escape(title)}</title>"
        f"<style>{style}</style>{''.join(body)}</html>\n"
    )


def _figure(png: bytes, said: str) -> str:
    return f"<figure>{image_tag(png, said)}<figcaption>{html.escape(said)}</figcaption></figure>"
