"""Write NRRD: ``.nrrd``, and ``.nhdr`` with its data beside it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from somascope.core.errors import WriteError
from somascope.core.finding import Mask
from somascope.core.grid import Array, Float, Grid
from somascope.core.image import Axis, Image
from somascope.io.atomic import replacing
from somascope.io.gz import pack
from somascope.io.nrrd import AXIS_KEY, MODALITY_KEY, UCUM_KEY
from somascope.io.nrrd_segments import tags

_NAMES = {"i1": "int8", "u1": "uint8", "i2": "int16", "u2": "uint16", "i4": "int32"}
_NAMES |= {"u4": "uint32", "i8": "int64", "u8": "uint64", "f4": "float", "f8": "double"}


def write(image: Image | Mask, path: str | Path) -> None:
    """Write ``.nrrd`` (gzip inside), or ``.nhdr`` with a ``.raw.gz`` beside it; space LPS, mm.

    All numbers of the geometry are written so that they read back as the same binary64. Colour is
    the fastest axis (``RGB-color``), as other programs expect it.

    Raises
    ------
    WriteError
        For complex numbers.
    """
    path = Path(path)
    axes, data, extra = _content(image)
    if data.dtype == np.bool_:
        data = data.astype(np.uint8)
    if data.dtype == np.float16:
        data = data.astype(np.float32)
    if data.dtype.kind == "c":
        raise WriteError(
            f"{path.name}: NRRD holds no complex numbers; write NIfTI, or the magnitude"
        )
    names = [a.name for a in axes]
    if "channel" in names:
        data = np.moveaxis(data, names.index("channel"), -1)
    data = np.ascontiguousarray(data.astype(data.dtype.newbyteorder("<"), copy=False))
    header = _header(image.grid, data, axes, {**extra})
    if path.suffix.lower() == ".nhdr":
        beside = path.with_name(path.stem + ".raw.gz")
        with replacing(beside) as file:
            pack(file, data)
        with replacing(path) as file:
            file.write((header + f"data file: {beside.name}\n").encode())
        return
    with replacing(path) as file:
        file.write((header + "\n").encode())
        pack(file, data)


def _content(image: Image | Mask) -> tuple[tuple[Axis, ...], Array, dict[str, str]]:
    if isinstance(image, Image):
        keys = {MODALITY_KEY: image.modality, UCUM_KEY: image.unit}
        for axis in image.axes:
            if axis.values:
                numbers = " ".join(repr(float(v)) for v in axis.values)
                keys[f"{AXIS_KEY} {axis.name}"] = f"{axis.unit} {numbers}"
        return image.axes, image.data, keys
    keys = {}
    for i, segment in enumerate(image.segments):
        layer = i if image.data.ndim == 4 else 0
        colour = " ".join(f"{c / 255:.4f}" for c in segment.colour)
        keys |= {
            f"Segment{i}_ID": f"Segment_{segment.number}",
            f"Segment{i}_Name": segment.label.replace("\n", " "),
            f"Segment{i}_LabelValue": str(1 if image.data.ndim == 4 else segment.number),
            f"Segment{i}_Layer": str(layer),
            f"Segment{i}_Color": colour,
            f"Segment{i}_Tags": tags(segment.concept),
        }
    return ((Axis("segment"),) if image.data.ndim == 4 else ()), image.data, keys


def _header(grid: Grid, data: Array, axes: tuple[Axis, ...], keys: dict[str, str]) -> str:
    def vector(v: Float) -> str:
        return "(" + ",".join(repr(float(c) + 0.0) for c in v) + ")"

    leading = [a for a in axes if a.name != "channel"]
    colour = len(leading) < len(axes)
    steps = [_step(a) for a in leading]
    rgb = ["none"] if colour else []
    directions = [*rgb, *(vector(grid.affine[:3, k]) for k in (2, 1, 0)), *["none"] * len(leading)]
    colour_kind = "RGB-color" if data.shape[-1] == 3 else "vector"
    kinds = [*([colour_kind] if colour else []), *["space"] * 3]
    # Teem counts "time" among the domain axes, which ITK limits to the three of the space.
    kinds += ["list"] * len(leading)
    labels = [*(["channel"] if colour else []), "x", "y", "z", *(a.name for a in reversed(leading))]
    lines = [
        "NRRD0005",
        "# https://teem.sourceforge.net/nrrd/format.html",
        f"type: {_NAMES[data.dtype.str[1:]]}",
        f"dimension: {data.ndim}",
        "space: left-posterior-superior",
        f"sizes: {' '.join(str(n) for n in reversed(data.shape))}",
        f"space directions: {' '.join(directions)}",
        f"kinds: {' '.join(kinds)}",
        "labels: " + " ".join(f'"{label}"' for label in labels),
    ]
    if any(step is not None for step in steps):
        words = ["nan"] * (3 + colour) + [repr(s) if s else "nan" for s in reversed(steps)]
        units = [""] * (3 + colour) + [
            a.unit if s else "" for a, s in zip(leading, steps, strict=True)
        ][::-1]
        mins = ["nan"] * (3 + colour)
        mins += [
            repr(float(a.values[0])) if s else "nan" for a, s in zip(leading, steps, strict=True)
        ][::-1]
        lines += [
            f"spacings: {' '.join(words)}",
            f"axis mins: {' '.join(mins)}",
            "units: " + " ".join(f'"{u}"' for u in units),
        ]
    lines += [
        "endian: little",
        "encoding: gzip",
        'space units: "mm" "mm" "mm"',
        f"space origin: {vector(grid.affine[:3, 3])}",
    ]
    lines += [f"{k}:={v}" for k, v in keys.items()]
    return "\n".join(lines) + "\n"


def _step(axis: Axis) -> float | None:
    """The spacing of evenly spaced times, else None."""
    if axis.name != "t" or len(axis.values) < 2:
        return None
    values = np.array(axis.values)
    steps = np.diff(values)
    even = np.allclose(steps, steps[0], rtol=1e-6, atol=0) and steps[0] > 0
    return float(steps[0]) if even else None
