"""A page about one run: motion, framewise displacement, DVARS, signal to noise, carpet plot.

One HTML file without anything from elsewhere: lines as SVG, pictures as PNG inside. The carpet
(Power, NeuroImage 154 (2017) 150-158) shows every voxel's course, one per row, dark to bright.
"""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from html import escape

import numpy as np

from somascope.acquire.fmri.realign import Motion, dvars
from somascope.acquire.fmri.runs import head_mask, volumes
from somascope.core import Image
from somascope.core.grid import Array, Float

_COLOURS = ("#4e9bd1", "#e0813a", "#57ab5a", "#c75c5c", "#9b7bc9", "#a98467")
_WIDTH, _HEIGHT = 760, 150


@dataclass(frozen=True, eq=False)
class Quality:
    """Numbers of one run: ``(scans,)`` series, the tSNR map, and their summaries."""

    framewise: Float
    dvars: Float
    tsnr: Array
    mask: Array

    @property
    def summary(self) -> dict[str, float]:
        """Mean and greatest displacement (mm), share of scans above 0.5 mm, median DVARS, tSNR."""
        inside = self.tsnr[self.mask]
        return {
            "mean framewise displacement, mm": float(self.framewise[1:].mean()),
            "greatest framewise displacement, mm": float(self.framewise.max()),
            "scans above 0.5 mm, %": 100 * float((self.framewise > 0.5).mean()),
            "median DVARS, %": float(np.median(self.dvars[1:])),
            "median temporal signal-to-noise ratio": float(np.median(inside)),
        }


def tsnr(data: Array) -> Array:
    """Mean over standard deviation of each voxel's course, linear drift taken off."""
    n = len(data)
    line = np.linspace(-1, 1, n, dtype=np.float32)
    mean = data.mean(axis=0)
    slope = np.tensordot(line, data, axes=1) / np.float32((line**2).sum())
    spread = data.var(axis=0) - slope**2 * np.float32((line**2).mean())
    spread = np.sqrt(np.maximum(spread, 0) * np.float32(n / max(n - 2, 1)))
    return np.divide(mean, spread, out=np.zeros_like(mean), where=spread > 0)


def quality(run: Image, motion: Motion) -> Quality:
    """The numbers of a run (before or after realignment) and its motion."""
    data = volumes(run, "quality", least=4)
    mask = head_mask(data)
    return Quality(motion.framewise, dvars(data, mask), tsnr(data), mask)


def carpet(data: Array, mask: Array, *, rows: int = 240) -> Array:
    """Courses as a grey picture ``(rows, scans)`` uint8: detrended, +-2 standard deviations.

    Voxels from bottom to top of the head; each row is the mean of its share of them.
    """
    y = data[:, mask].astype(np.float32)
    t = np.linspace(-1, 1, len(y), dtype=np.float32)
    t /= np.linalg.norm(t)
    y = y - y.mean(axis=0)
    y -= t[:, None] * (t @ y)
    size = y.std(axis=0)
    y = np.divide(y, size, out=np.zeros_like(y), where=size > 0)
    groups = np.array_split(np.arange(y.shape[1]), min(rows, y.shape[1]))
    means = np.stack([y[:, g].mean(axis=1) * np.sqrt(len(g)) ** 0.5 for g in groups])
    return (np.clip((means + 2) / 4, 0, 1) * 255).astype(np.uint8)


def mosaic(
    volume: Array, *, columns: int = 9, low: float = 0.0, high: float | None = None
) -> Array:
    """Slices side by side as a grey picture, at most 27 of them, uint8."""
    chosen = np.unique(np.linspace(0, len(volume) - 1, min(27, len(volume))).astype(int))
    top = float(np.quantile(volume, 0.995)) if high is None else high
    tiles = np.clip((volume[chosen] - low) / max(top - low, 1e-12), 0, 1) * 255
    missing = -len(tiles) % columns
    tiles = np.concatenate([tiles, np.zeros((missing, *tiles.shape[1:]))]).astype(np.uint8)
    lines = [np.concatenate(list(tiles[i : i + columns]), axis=1)
             for i in range(0, len(tiles), columns)]  # fmt: skip
    return np.concatenate(lines)


def lines(series: dict[str, Float], *, title: str, unit: str, limit: float | None = None) -> str:
    """Curves over scans as SVG, a legend above, an optional dashed ``limit``."""
    values = np.concatenate([np.asarray(v, float) for v in series.values()])
    low, high = min(float(values.min()), 0.0), max(float(values.max()), limit or 0.0, 1e-6)
    room = 0.05 * (high - low)
    low, high = low - (room if low < 0 else 0), high + room
    left, top, w, h = 56, 26, _WIDTH - 66, _HEIGHT - 48

    def y_of(v: float) -> float:
        return top + h * (1 - (v - low) / (high - low))

    parts = [
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(title)}">',
        f'<text x="{left}" y="14" class="t">{escape(title)}</text>',
    ]
    for value in (low + room if low < 0 else 0.0, 0.0, high - room):
        y = y_of(value)
        parts.append(f'<line x1="{left}" x2="{left + w}" y1="{y:.1f}" y2="{y:.1f}" class="g"/>')
        parts.append(f'<text x="{left - 6}" y="{y + 4:.1f}" class="n">{value:.2g}</text>')
    if limit is not None:
        y = y_of(limit)
        parts.append(f'<line x1="{left}" x2="{left + w}" y1="{y:.1f}" y2="{y:.1f}" class="l"/>')
    for k, (name, one) in enumerate(series.items()):
        n = len(one)
        points = " ".join(
            f"{left + w * i / max(n - 1, 1):.1f},{y_of(float(v)):.1f}" for i, v in enumerate(one)
        )
        colour = _COLOURS[k % len(_COLOURS)]
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}"/>')
        if len(series) > 1:
            parts.append(
                f'<text x="{left + 200 + 62 * k}" y="14" fill="{colour}">{escape(name)}</text>'
            )
    parts.append(f'<text x="{left + w}" y="{_HEIGHT - 6}" class="n">scan {len(values)}</text>'
                 if len(series) == 1 else "")  # fmt: skip
    parts.append(f'<text x="8" y="{top + h / 2:.0f}">{escape(unit)}</text></svg>')
    return "".join(parts)


def _picture(values: Array, text: str) -> str:
    from PIL import Image as Picture

    file = io.BytesIO()
    Picture.fromarray(values).save(file, "PNG", optimize=True)
    data = base64.b64encode(file.getvalue()).decode()
    return f'<img alt="{escape(text)}" src="data:image/png;base64,{data}">'


_STYLE = """
body{font:14px system-ui,sans-serif;margin:24px auto;max-width:800px;background:#14171a;
color:#d8dde2}h1{font-size:20px}h2{font-size:15px;margin:22px 0 6px}svg,img{width:100%;
display:block;background:#0c0e10;border-radius:4px}img{image-rendering:pixelated}
svg text{fill:#9aa4ad;font-size:11px}svg text[fill]{fill:attr(fill)}.n{text-anchor:end}
svg .t{fill:#d8dde2;font-size:12px}.g{stroke:#2a3036}.l{stroke:#c75c5c;stroke-dasharray:4 4}
td{padding:2px 18px 2px 0}td+td{text-align:right;font-variant-numeric:tabular-nums}
"""


def page(run: Image, motion: Motion, *, title: str = "") -> str:
    """The page as HTML text; write it wherever it shall be.

    ``run`` is best the run as measured: the carpet then shows what motion did to it.
    """
    found = quality(run, motion)
    data = volumes(run, "quality")
    name = title or str(run.attributes.get("SeriesDescription") or "Functional run")
    p = motion.parameters
    shift = {n: p[:, i] for i, n in enumerate(("left", "back", "up"))}
    turn = {n: p[:, i + 3] for i, n in enumerate(("left", "back", "up"))}
    rows = "".join(
        f"<tr><td>{escape(k)}</td><td>{v:.3g}</td></tr>" for k, v in found.summary.items()
    )
    facts = f"{len(data)} scans of {'x'.join(map(str, run.grid.shape[::-1]))} voxels"
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(name)}</title>'
        f"<style>{_STYLE}</style><h1>{escape(name)}</h1><p>{facts}. Not for clinical use.</p>"
        f"<table>{rows}</table>"
        f"<h2>Motion</h2>{lines(shift, title='Translation towards', unit='mm')}"
        f"{lines(turn, title='Rotation about', unit='deg')}"
        f"{lines({'': found.framewise}, title='Framewise displacement', unit='mm', limit=0.5)}"
        f"<h2>Signal</h2>{lines({'': found.dvars}, title='DVARS', unit='%')}"
        f"<h2>Carpet</h2>{_picture(carpet(data, found.mask), 'Courses of all voxels')}"
        f"<h2>Temporal signal-to-noise ratio</h2>"
        f"{_picture(mosaic(found.tsnr * found.mask), 'Map of tSNR')}</html>"
    )
