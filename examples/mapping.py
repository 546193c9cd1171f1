"""Values to pictures and to other values: the pictures of docs/tutorials/mapping.md.

::

    python examples/mapping.py docs/images [SIZE]

SIZE is the number of pixels per side of the bodies, 160 in the tutorial.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image as Picture
from PIL import ImageDraw, ImageFont
from scipy.spatial import cKDTree

from somascope.core import Axis, Grid, Image
from somascope.core.grid import Array
from somascope.io import write
from somascope.phantoms import (
    brain_grid,
    brain_mask,
    brain_mr,
    thorax_ct,
    thorax_grid,
    thorax_pet,
)
from somascope.phantoms.perfusion import bolus_phantom, leakage_phantom
from somascope.process.appearance import as_seen, look
from somascope.process.colour import coloured, fuse
from somascope.process.combat import combat
from somascope.process.curved import curved_reslice
from somascope.process.legend import bar
from somascope.process.mapping import window
from somascope.process.palettes import PALETTES, palette
from somascope.process.perfusion import ct_perfusion
from somascope.process.present import colour_map
from somascope.process.reslice import reslice
from somascope.process.standardise import landmarks_of, nyul, nyul_standard
from somascope.process.subtraction import dsa, shifted
from somascope.process.tofts import tofts
from somascope.process.transfer import transfer


def panel(rgb: Array, *, height: int = 220) -> Array:
    """``(3, ny, nx)`` or ``(ny, nx)`` bytes as a picture of that height."""
    tile = np.moveaxis(rgb, 0, -1) if rgb.ndim == 3 else np.repeat(rgb[..., None], 3, axis=-1)
    picture = Picture.fromarray(np.ascontiguousarray(tile))
    width = round(tile.shape[1] * height / tile.shape[0])
    return np.asarray(picture.resize((width, height), Picture.Resampling.NEAREST))


def row(tiles: Sequence[Array]) -> Array:
    """Pictures of one height side by side."""
    return np.concatenate([np.pad(t, ((2, 2), (2, 2), (0, 0))) for t in tiles], axis=1)


def save(path: Path, rows: Sequence[Array]) -> None:
    """Rows under one another, the shorter ones filled up with black."""
    widest = max(r.shape[1] for r in rows)
    filled = [np.pad(r, ((0, 0), (0, widest - r.shape[1]), (0, 0))) for r in rows]
    Picture.fromarray(np.concatenate(filled)).save(path, optimize=True)


def windows(folder: Path, size: int) -> None:
    """One slice of the chest through four windows."""
    pixel = 380.0 / size
    ct = thorax_ct(thorax_grid((3, size, size), (5.0, pixel, pixel)))
    tiles = [
        panel(window(ct, preset=name, output="byte").data[1])
        for name in ("auto", "lung", "mediastinum", "bone")
    ]
    save(folder / "mapping-windows.png", [row(tiles)])


def palettes(folder: Path) -> dict[str, bool]:
    """Every palette as it is and as it is seen without green cones; whether it keeps its order."""
    names = [n for n in PALETTES if PALETTES[n].kind != "sequential" or n not in (
        "red", "green", "blue", "cyan", "magenta", "yellow", "grey_inverted")]  # fmt: skip
    kept = {n: look(n).monotone and all(look(n).in_order.values()) for n in names}
    high, wide = 20, 256
    picture = Picture.new("RGB", (2 * wide + 240, (high + 4) * len(names) + 22), "black")
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default(13)
    pen.text((130, 3), "as it is", fill="white", font=font)
    pen.text((150 + wide, 3), "without green cones", fill="white", font=font)
    for i, name in enumerate(names):
        y = 22 + i * (high + 4)
        table = palette(name).table(wide)
        for k, colours in enumerate((table, as_seen(table, "deutan"))):
            strip = np.repeat(colours[None], high, axis=0)
            picture.paste(Picture.fromarray(strip), (130 + k * (wide + 20), y))
        pen.text((6, y + 2), palette(name).label, fill="white", font=font)
        pen.text(
            (160 + 2 * wide, y + 2), "in order" if kept[name] else "-", fill="white", font=font
        )
    picture.save(folder / "mapping-palettes.png", optimize=True)
    return kept


def colours(folder: Path, size: int) -> None:
    """PET over CT, a transfer function with opacity, and the bars that belong to them."""
    pixel = 380.0 / size
    grid = thorax_grid((3, size, size), (5.0, pixel, pixel))
    ct, pet = thorax_ct(grid), thorax_pet(grid)
    top = float(np.percentile(pet.data, 99.8))
    both = fuse(ct, pet, colours="hot_iron", lower=0.0, upper=top, opacity=0.7)
    own = transfer(
        ct,
        values=(-900.0, -500.0, -200.0, 150.0, 400.0, 1200.0),
        colours=(0.0, 0, 0, 60, 140, 255, 0, 0, 0, 0, 0, 0, 255, 220, 160, 255, 255, 255),
        opacities=(0.0, 0.6, 0.0, 0.0, 0.8, 1.0),
    )
    tiles = [panel(both.data[:, 1]), bar("hot_iron", 0.0, top, unit=pet.unit, height=220),
             panel(own.data[:, 1])]  # fmt: skip
    save(folder / "mapping-colours.png", [row(tiles)])
    write(colour_map(pet, colours="hot_iron", lower=0.0, upper=top), folder / "mapping-pet-map.dcm")


def histogram(values: Array, low: float, high: float, colour: tuple[int, ...]) -> Array:
    """A curve of counts, 150 pixels high."""
    counts, _ = np.histogram(values, bins=200, range=(low, high))
    shape = np.zeros((150, 200, 3), np.uint8)
    top = np.sort(counts)[-3]
    for x, n in enumerate(np.minimum(counts / max(top, 1), 1.0)):
        shape[150 - int(140 * n) :, x] = colour
    return np.repeat(shape, 2, axis=1)


def scanners(folder: Path, size: int) -> tuple[float, float]:
    """Three scanners' brains before and after Nyul's scale; the spread of white matter."""
    grid = brain_grid((5, size, size), (8.0, 200.0 / size, 200.0 / size))
    head = brain_mask(grid)
    white = head.plane(next(s.number for s in head.segments if s.label == "White matter"))
    brains = [brain_mr("T1", grid, bias=0.0, seed=k) for k in range(3)]
    bent = [
        b.with_data(np.asarray(gain * np.maximum(b.data, 0.0) ** power, np.float32))
        for b, gain, power in zip(brains, (1.0, 2.5, 0.3), (1.0, 0.95, 1.1), strict=True)
    ]
    learnt = landmarks_of(nyul_standard(*bent))
    even = [nyul(b, landmarks=learnt) for b in bent]
    tints = ((230, 120, 90), (110, 200, 120), (110, 150, 240))
    most = max(float(np.percentile(b.data, 99.9)) for b in bent)
    above = row([histogram(b.data[b.data > 0.1 * b.data.max()], 0, most, t)
                 for b, t in zip(bent, tints, strict=True)])  # fmt: skip
    below = row([histogram(b.data[b.data > 1], 0, 130, t)
                 for b, t in zip(even, tints, strict=True)])  # fmt: skip
    save(folder / "mapping-nyul.png", [above, below])
    spread = [np.array([b.data[white].mean() for b in group]) for group in (bent, even)]
    return tuple(float(s.std() / s.mean()) for s in spread)  # pyright: ignore[reportReturnType]


def sites(seed: int = 0) -> tuple[float, float]:
    """Greatest difference between sites' means before and after ComBat, of 400 features."""
    r = np.random.default_rng(seed)
    site, age = np.repeat([0, 1, 2], 12), r.uniform(20, 80, 36)
    clean = r.normal(100, 10, 400) + np.outer(age, r.normal(0.3, 0.05, 400))
    shift, scale = np.array([0.0, 12.0, -8.0]), np.array([1.0, 2.0, 0.6])
    table = clean + shift[site][:, None] + scale[site][:, None] * r.normal(0, 3, (36, 400))
    out, _ = combat(table, site, covariates=age[:, None])
    slope = np.polyfit(age, (out - out.mean(axis=0)).mean(axis=1), 1)[0]
    rest = [t - np.outer(age, np.full(400, slope)) for t in (table, out)]
    means = [np.array([t[site == k].mean() for k in range(3)]) for t in rest]
    return float(np.ptp(means[0])), float(np.ptp(means[1]))


def perfusion(folder: Path) -> dict[str, Image]:
    """Maps of the two digital reference objects, each beside its truth."""
    bolus = bolus_phantom("ct", noise=1.0, interval=1.0)
    maps = ct_perfusion(bolus.image, bolus.mask)
    ends = {"CBF": 80.0, "CBV": 6.0, "MTT": 16.0, "Tmax": 10.0}
    rows: list[Array] = []
    truths = ("CBF", "CBV", "MTT", "delay")
    for k in range(2):
        tiles: list[Array] = []
        for image, (name, high), truth in zip(maps, ends.items(), truths, strict=True):
            values = image.data[1] if k == 0 else bolus.truth[truth][1]
            inner = values[:, : values.shape[1] * 4 // 6]
            tiles.append(panel(coloured(inner.astype(np.float32), "ember", 0.0, high), height=96))
            unit = image.unit
            tiles.append(bar("ember", 0.0, high, unit=unit, height=96))
            assert name
        rows.append(row(tiles))
    save(folder / "mapping-perfusion.png", rows)
    leak = leakage_phantom(noise=0.01)
    found = tofts(leak.image, leak.mask)
    rows = []
    for k in range(2):
        tiles = []
        for image, (name, high) in zip(
            found, {"Ktrans": 0.3, "ve": 0.6, "vp": 0.1}.items(), strict=True
        ):
            values = image.data[1] if k == 0 else leak.truth[name][1]
            inner = values[:, : values.shape[1] * 4 // 5]
            tiles.append(panel(coloured(inner.astype(np.float32), "viridis", 0.0, high),
                               height=120))  # fmt: skip
            tiles.append(bar("viridis", 0.0, high, unit=image.unit, height=120))
        rows.append(row(tiles))
    save(folder / "mapping-leakage.png", rows)
    return {"CBF": maps[0], "CBV": maps[1], "Ktrans": found[0]}


def angiography(folder: Path, size: int) -> float:
    """A skull that moves under a filling vessel; what is left of the bone, as a share."""
    y, x = np.mgrid[:size, :size] / size
    r = np.random.default_rng(2)
    bone = sum(
        0.25 * np.exp(-(((x - a) ** 2 + (y - b) ** 2) / s**2))
        for a, b, s in r.uniform(0.1, 0.9, (14, 3)) * (1, 1, 0.25)
    ) + 0.6 * ((x - 0.5) ** 2 + (y - 0.5) ** 2 < 0.2)
    vessel = 0.35 * np.exp(-(((x - 0.5 - 0.15 * np.sin(7 * y)) / 0.02) ** 2)) * (y > 0.15)
    vessel += 0.2 * np.exp(-(((y - 0.45 - 0.4 * x) / 0.012) ** 2)) * (x > 0.45)
    frames = [
        2e4 * np.exp(-shifted(np.asarray(bone), (0.9 * k, -1.4 * k)) - k / 2 * vessel)
        for k in range(3)
    ]
    noisy = r.poisson(np.array(frames)).astype(np.float32)[:, None]
    film = Image(noisy, Grid.from_spacing((1, size, size), (1, 0.5, 0.5)), "XA", "1",
                 (Axis("t", (0.0, 0.5, 1.0), "s"),))  # fmt: skip
    plain, moved = dsa(film, registration="none"), dsa(film)
    tiles = [
        panel(np.clip(255 * (np.log(2.2e4) - np.log(film.data[2, 0])) / 2.5, 0, 255).astype("u1")),
        *(panel(np.clip(128 + 300 * d.data[2, 0], 0, 255).astype("u1")) for d in (plain, moved)),
    ]
    save(folder / "mapping-dsa.png", [row(tiles)])
    clear = (vessel < 0.005) & (np.hypot(x - 0.5, y - 0.5) < 0.47)
    return float(moved.data[2, 0][clear].std() / plain.data[2, 0][clear].std())


def curves(folder: Path) -> Image:
    """A winding vessel: projection, straightened along its centreline, and stretched."""
    t = np.linspace(0, 1, 40)
    points = np.stack([25 * np.sin(5 * t), 14 * np.cos(6 * t), -45 + 90 * t], axis=1)
    grid = Grid.from_spacing((96, 64, 80), (1, 1, 1), origin=(-40, -32, -48))
    world = grid.to_world(np.moveaxis(np.mgrid[:96, :64, :80], 0, -1))
    fine = np.stack([np.interp(np.linspace(0, 1, 300), t, p) for p in points.T], axis=1)
    near, _ = cKDTree(fine).query(world)
    narrow = 1.0 - 0.55 * np.exp(-(((world[..., 2] - 5) / 4.0) ** 2))
    values = 300.0 * (near < 4.0 * narrow) + 20.0 * np.random.default_rng(0).normal(size=grid.shape)
    image = Image(values.astype(np.float32), grid, "CT", "[hnsf'U]")
    flat = tuple(points[::3].ravel().tolist())
    mip = reslice(image, normal=(0.0, 1.0, 0.0), thickness=60.0, slab="maximum", spacing=0.5)
    straight = curved_reslice(image, points=flat, width=30.0, spacing=0.5)
    rolled = curved_reslice(image, points=flat, width=30.0, spacing=0.5, mode="stretched")
    tiles = [
        panel(window(i, centre=150.0, width=400.0, output="byte").data[0], height=260)
        for i in (mip, straight, rolled)
    ]
    save(folder / "mapping-curves.png", [row(tiles)])
    return straight


def main(out: Path, *, size: int = 160) -> dict[str, object]:
    """Draw everything into ``out``; the figures that the text states."""
    out.mkdir(parents=True, exist_ok=True)
    windows(out, size)
    colours(out, size)
    found: dict[str, object] = {"order": palettes(out)}
    found["white"] = scanners(out, size)
    found["sites"] = sites()
    found.update(perfusion(out))
    found["bone"] = angiography(out, 2 * size)
    found["straight"] = curves(out)
    return found


if __name__ == "__main__":
    print(
        {
            k: v
            for k, v in main(
                Path(sys.argv[1]), size=int(sys.argv[2]) if len(sys.argv) > 2 else 160
            ).items()
            if not isinstance(v, Image)
        }
    )
