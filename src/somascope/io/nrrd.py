"""Read NRRD: ``.nrrd``, and ``.nhdr`` with its data beside it.

Source: "Definition of NRRD File Format" (G. Kindlmann, Teem), NRRD0001 to NRRD0005. Anatomical
spaces are turned to LPS; a space that is not anatomical, or none, is taken as LPS as ITK does.
"""

from __future__ import annotations

import contextlib
import math
import re
from pathlib import Path

import numpy as np

from somascope.core.errors import CorruptFile, UnsupportedFormat
from somascope.core.finding import Mask
from somascope.core.grid import Array, Float, Grid
from somascope.core.image import Axis, Image
from somascope.core.provenance import Provenance, Source
from somascope.io.nrrd_data import parse, voxels
from somascope.io.nrrd_segments import described, segmentation

_SPACES = {
    **dict.fromkeys(("right-anterior-superior", "ras"), (-1.0, -1.0, 1.0)),
    **dict.fromkeys(("left-anterior-superior", "las"), (1.0, -1.0, 1.0)),
    **dict.fromkeys(("left-posterior-superior", "lps"), (1.0, 1.0, 1.0)),
}
"""Signs that turn the space into LPS."""

_OTHER_SPACES = ("scanner-xyz", "3d-right-handed", "3d-left-handed")
_TO_MM = {"m": 1000.0, "cm": 10.0, "mm": 1.0, "um": 1e-3, "µm": 1e-3, "μm": 1e-3, "nm": 1e-6}
_TO_S = {"s": 1.0, "sec": 1.0, "ms": 1e-3, "us": 1e-6}

_SPATIAL_KINDS = ("domain", "space")
_COLOUR = ("rgb-color", "3-color")
_AXIS_OF_KIND = {
    "time": "t",
    "list": "list",
    "vector": "component",
    "covariant-vector": "component",
}
UCUM_KEY = "somascope unit"
MODALITY_KEY = "modality"
AXIS_KEY = "somascope axis"


class NrrdReader:
    """``.nrrd`` and ``.nhdr`` (a `somascope.io.read.Reader`)."""

    def matches(self, head: bytes, path: Path) -> bool:  # noqa: ARG002
        """Whether the bytes start with the magic of NRRD0001 to NRRD0005."""
        return re.match(rb"NRRD000[1-5]\r?\n", head) is not None

    def read(self, path: Path) -> list[Image | Mask]:
        """The one image, or segmentation, in the file."""
        return [read_any(path)]


READER = NrrdReader()


def read(path: str | Path) -> Image:
    """Read one NRRD file.

    The axes with a direction are x, y, z in that order; others become leading axes: colour the axis
    ``channel``, time the axis ``t`` in seconds, a diffusion list the axis ``b`` in s/mm2.

    Raises
    ------
    CorruptFile
        Truncated, inconsistent, or naming a data file outside the header's folder.
    UnsupportedFormat
        Block types, and fewer than two or more than three spatial axes.
    """
    return _opened(Path(path))[0]


def read_any(path: str | Path) -> Image | Mask:
    """As `read`, but a segmentation (``.seg.nrrd``: keys ``Segment0_ID``...) becomes a `Mask`."""
    image, keys = _opened(Path(path))
    return segmentation(image, keys) if described(keys) else image


def _opened(path: Path) -> tuple[Image, dict[str, str]]:
    with path.open("rb") as file:
        fields, keys = parse(file, path.name)
        raw = voxels(file, fields, path)
    return _image(raw, fields, keys, path.name), keys


def _vectors(text: str, name: str) -> list[Float | None]:
    """``(1,0,0) none (0,1,0)`` as vectors; ``none`` as None."""
    found: list[Float | None] = []
    for word in re.findall(r"\([^)]*\)|none|nan|\S+", text):
        if word in ("none", "nan"):
            found.append(None)
            continue
        try:
            vector = np.array([float(v) for v in word.strip("()").split(",")])
        except ValueError as error:
            raise CorruptFile(f"{name} has the vector {word[:60]!r}") from error
        found.append(None if np.isnan(vector).all() else vector)
    return found


def _per_axis(fields: dict[str, str], field: str, dimension: int) -> list[float]:
    """One number per axis, nan where unknown."""
    words = fields.get(field, "").split()
    try:
        values = [float(w) for w in words]
    except ValueError:
        values = []
    return values if len(values) == dimension else [math.nan] * dimension


def _words(fields: dict[str, str], field: str, dimension: int) -> list[str]:
    text = fields.get(field, "")
    words = re.findall(r'"([^"]*)"', text) if '"' in text else text.lower().split()
    return words if len(words) == dimension else ["???"] * dimension


def _image(raw: Array, fields: dict[str, str], keys: dict[str, str], name: str) -> Image:
    n = raw.ndim
    kinds = _words(fields, "kinds", n)
    directions = _vectors(fields["space directions"], name) if "space directions" in fields else []
    if directions and len(directions) != n:
        raise CorruptFile(f"{name} has {len(directions)} space directions for {n} axes")
    if directions:
        spatial = [i for i, v in enumerate(directions) if v is not None]
    else:
        spatial = [i for i, k in enumerate(kinds) if k in _SPATIAL_KINDS or k == "???"]
        # Without kinds only the sizes can tell: three (or two) axes are space, the rest follows.
        spatial = spatial[:3]
    if not 1 <= len(spatial) <= 3:
        raise UnsupportedFormat(f"{name} has {len(spatial)} spatial axes; 1 to 3 can be placed")
    others = [i for i in range(n) if i not in spatial]
    # NRRD lists the fastest axis first; C order is the reverse.
    order = [n - 1 - i for i in reversed(others)] + [n - 1 - i for i in reversed(spatial)]
    data = raw.transpose(order)
    while len(spatial) < 3:
        data = np.expand_dims(data, data.ndim - len(spatial))
        spatial.append(-1)
    affine = _affine(fields, directions, spatial, n, name)
    axes = [
        _axis(i, raw.shape[n - 1 - i], kinds, fields=fields, keys=keys) for i in reversed(others)
    ]
    for k, i in enumerate(reversed(others)):
        if kinds[i] == "complex" and raw.shape[n - 1 - i] == 2 and data.dtype.kind == "f":
            real, imaginary = np.moveaxis(data, k, 0)
            data = real + 1j * imaginary
            axes.pop(k)
            break
    single = tuple(
        k for k, axis in enumerate(axes) if data.shape[k] == 1 and axis.name != "channel"
    )
    data = np.ascontiguousarray(data.squeeze(single))
    axes = [a for k, a in enumerate(axes) if k not in single]
    return Image(
        data=_colour_last(data, axes),
        grid=Grid(data.shape[-3:], affine),  # pyright: ignore[reportArgumentType]
        modality=keys.get(MODALITY_KEY, "OT")
        if len(keys.get(MODALITY_KEY, "")) == 2
        else _diffusion(keys),
        unit=keys.get(UCUM_KEY, "1"),
        axes=tuple(
            [a for a in axes if a.name != "channel"] + [a for a in axes if a.name == "channel"]
        ),
        provenance=Provenance((Source("file", name),)),
    )


def _diffusion(keys: dict[str, str]) -> str:
    return "MR" if keys.get(MODALITY_KEY) == "DWMRI" else "OT"


def _colour_last(data: Array, axes: list[Axis]) -> Array:
    names = [a.name for a in axes]
    if "channel" not in names:
        return data
    return np.ascontiguousarray(np.moveaxis(data, names.index("channel"), len(axes) - 1))


def _axis(
    i: int, count: int, kinds: list[str], *, fields: dict[str, str], keys: dict[str, str]
) -> Axis:
    n = len(kinds)
    kind = kinds[i]
    if kind in _COLOUR and count == 3:
        return Axis("channel")
    b_values = _b_values(keys, count)
    if b_values:
        return Axis("b", b_values, "s/mm2")
    label = _words(fields, "labels", n)[i]
    step = _per_axis(fields, "spacings", n)[i]
    start = _per_axis(fields, "axis mins", n)[i]
    start = 0.0 if math.isnan(start) else start
    unit = _words(fields, "units", n)[i]
    if kind == "time" or label in ("t", "time"):
        scale = _TO_S.get(unit, 1.0)
        if step > 0:
            return Axis("t", tuple((start + step * k) * scale for k in range(count)), "s")
        return Axis("t", *_listed(keys, "t", count))
    name = (
        label if re.fullmatch(r"[a-z][a-z0-9_]*", label) else _AXIS_OF_KIND.get(kind, f"dim{i + 1}")
    )
    return Axis(name, *_listed(keys, name, count))


def _listed(keys: dict[str, str], name: str, count: int) -> tuple[tuple[float, ...], str]:
    """Coordinates that `write` put in a key, because they are not evenly spaced."""
    words = keys.get(f"{AXIS_KEY} {name}", "").split()
    with contextlib.suppress(ValueError):
        values = tuple(float(w) for w in words[1:])
        if len(values) == count:
            return values, words[0]
    return (), "s" if name == "t" else "1"


def _b_values(keys: dict[str, str], count: int) -> tuple[float, ...]:
    """One b value per gradient, ``b |g|^2 / max |g|^2`` (NA-MIC DWI convention)."""
    try:
        largest = float(keys["DWMRI_b-value"])
        gradients = [
            np.array([float(v) for v in keys[f"DWMRI_gradient_{i:04d}"].split()])
            for i in range(count)
        ]
    except (KeyError, ValueError):
        return ()
    squares = np.array([g @ g for g in gradients])
    top = squares.max()
    return tuple(float(v) for v in squares / (top or 1.0) * largest)


def _affine(
    fields: dict[str, str], directions: list[Float | None], spatial: list[int], n: int, name: str
) -> Float:
    """LPS of (z, y, x)."""
    space = fields.get("space", "").lower().removesuffix("-time")
    space = space[:3] if space in ("rast", "last", "lpst") else space
    if space and space not in _SPACES and space not in _OTHER_SPACES:
        raise UnsupportedFormat(f"{name} has the space {fields['space']!r}, which is not read here")
    sign = np.array(_SPACES.get(space, (1.0, 1.0, 1.0)))
    units = re.findall(r'"([^"]*)"', fields.get("space units", ""))
    scale = _TO_MM.get(units[0], 1.0) if units else 1.0
    columns = np.zeros((3, 3))
    origin = np.zeros(3)
    if directions:
        for k, i in enumerate(spatial):
            vector = directions[i] if i >= 0 else None
            if vector is not None:
                columns[: len(vector[:3]), k] = vector[:3]
        found = _vectors(fields.get("space origin", ""), name)
        if found and found[0] is not None:
            origin[: len(found[0][:3])] = found[0][:3]
    else:
        steps, mins = _per_axis(fields, "spacings", n), _per_axis(fields, "axis mins", n)
        for k, i in enumerate(spatial):
            step = steps[i] if i >= 0 and not math.isnan(steps[i]) else 1.0
            columns[k, k] = step
            origin[k] = mins[i] if i >= 0 and not math.isnan(mins[i]) else 0.0
    for k in range(3):
        if not columns[:, k].any():
            columns[:, k] = _missing(columns, k)
    affine = np.eye(4)
    affine[:3, :3] = (columns * scale * sign[:, None])[:, ::-1]
    affine[:3, 3] = origin * scale * sign
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-12:
        raise CorruptFile(f"{name} has the space directions {columns.tolist()}: not invertible")
    return affine


def _missing(columns: Float, k: int) -> Float:
    """A unit vector at right angles to the other two columns."""
    a, b = columns[:, (k + 1) % 3], columns[:, (k + 2) % 3]
    normal = np.cross(a, b)
    if not normal.any():
        return np.eye(3)[k]
    return normal / np.linalg.norm(normal)
