"""A shape model on disk: one ZIP file or folder with ``shape.npz`` and ``card.json``. No pickle.

The card holds the SHA-256 of the arrays' file. Models with a name lie in the user's own folder:
``SOMASCOPE_SHAPES``, or below the user's data folder.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import zipfile
import zlib
from dataclasses import asdict, fields, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from somascope.analyze.shape.evidence import FEATURES, HALF, MOST_LEVELS, WINDOW
from somascope.analyze.shape.model import ShapeCard, ShapeModel
from somascope.core import Code, Segment
from somascope.core.errors import Conflict, CorruptFile, NotFound, ParameterError, Refused
from somascope.core.grid import Array
from somascope.io.atomic import replacing

ARRAYS, CARD = "shape.npz", "card.json"
FORMAT, VERSION = "somascope-shape", 1
_LIMITS = {ARRAYS: 1 << 28, CARD: 1 << 20}
_OWN = ("mean", "modes", "variances", "faces", "parts")
_KNOWN = (
    "profile_mean", "profile_inverse", "boundary", "pattern", "texture_mean", "texture_modes",
)  # fmt: skip
_DIMENSIONS = {
    "mean": 2, "modes": 3, "variances": 1, "faces": 2, "parts": 1, "profile_mean": 3,
    "profile_inverse": 4, "boundary": 3, "pattern": 3, "texture_mean": 1, "texture_modes": 2,
}  # fmt: skip


def folder() -> Path:
    """Where models with a name lie."""
    named = os.environ.get("SOMASCOPE_SHAPES")
    if named:
        return Path(named)
    base = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(base) / "somascope" / "shapes"


def names() -> list[str]:
    """Of the models in `folder`."""
    there = folder()
    return sorted(p.stem for p in there.glob("*.zip")) if there.is_dir() else []


def named(name: str) -> Path:
    """The file of the model of that name; it need not be there yet."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name):
        raise ParameterError(
            f"a shape model cannot be named {name!r}; use letters, digits, dots, dashes, up to 64"
        )
    return folder() / f"{name}.zip"


def write(model: ShapeModel, path: str | Path, *, overwrite: bool = False) -> ShapeModel:
    """Write a model as a ZIP file (suffix ``.zip``) or a folder; the model with the card written.

    Equal models give equal bytes; the same model is written over itself. `Conflict` where another
    one is there.
    """
    path = Path(path)
    buffer = io.BytesIO()
    kept: dict[str, Any] = {n: getattr(model, n) for n in _OWN}
    np.savez(buffer, **kept, **dict[str, Any](model.evidence))
    arrays = buffer.getvalue()
    card = replace(model.card, sha256=hashlib.sha256(arrays).hexdigest())
    text = _to_json(card).encode()
    there = path / CARD if path.suffix != ".zip" else path
    if there.exists() and not overwrite:
        old, _ = _files(path)
        if old != text:
            raise Conflict(
                f"another shape model is at {path.name} already; choose another name or overwrite"
            )
    if path.suffix != ".zip":
        for name, data in ((ARRAYS, arrays), (CARD, text)):  # without a card it is no model
            with replacing(path / name) as file:
                file.write(data)
        return replace(model, card=card)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in ((CARD, text), (ARRAYS, arrays)):
            archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)
    with replacing(path) as file:
        file.write(packed.getvalue())
    return replace(model, card=card)


def opened(name: str) -> ShapeModel:
    """The model at a path, or of a name; kept open while its file does not change."""
    path = Path(name)
    if not path.exists():
        path = named(name) if re.fullmatch(r"[A-Za-z0-9._-]+", name) else path
    if not path.exists():
        raise NotFound(
            f"there is no shape model {name!r}; there is {', '.join(names()) or 'none'}. Make one "
            "with analyze.train_shape"
        )
    file = path / CARD if path.is_dir() else path
    return _opened(str(path), file.stat().st_mtime_ns if file.exists() else 0)


@lru_cache(maxsize=4)
def _opened(path: str, stamp: int) -> ShapeModel:
    del stamp
    return read(path)


def read(path: str | Path) -> ShapeModel:
    """Read and check a model; nothing in it is executed.

    Raises
    ------
    NotFound
        There is no model there.
    CorruptFile
        Card or arrays are damaged, or do not belong together.
    Refused
        A file that is too large, or more than a model holds.
    """
    path = Path(path)
    text, data = _files(path)
    card = _from_json(text)
    if hashlib.sha256(data).hexdigest() != card.sha256:
        raise CorruptFile(f"{path.name}: {ARRAYS} is not the one its card was made for (SHA-256)")
    arrays = _arrays(data, path.name)
    own = {n: arrays.pop(n) for n in _OWN}
    model = ShapeModel(card, evidence=arrays, **own)
    _sensible(model, path.name)
    return model


def _files(path: Path) -> tuple[bytes, bytes]:
    """The card's and the arrays' bytes."""
    if not path.exists():
        raise NotFound(f"there is no shape model {str(path)!r}")
    if path.is_dir():
        for name in (CARD, ARRAYS):
            file = path / name
            if not file.is_file() or file.is_symlink():
                raise NotFound(f"{path} holds no {name}; a shape model has {CARD} and {ARRAYS}")
            if file.stat().st_size > _LIMITS[name]:
                raise Refused(f"{file} has {file.stat().st_size} bytes; too many for a shape model")
        return (path / CARD).read_bytes(), (path / ARRAYS).read_bytes()
    try:
        with zipfile.ZipFile(path) as archive:
            entries = {e.filename: e for e in archive.infolist()}
            if set(entries) != {CARD, ARRAYS} or len(archive.infolist()) != 2:
                raise Refused(f"{path.name} holds {sorted(entries)}; a shape model has two files")
            for name, entry in entries.items():
                if entry.file_size > _LIMITS[name]:
                    raise Refused(f"{path.name}: {name} has {entry.file_size} bytes; too many")
            with archive.open(CARD) as one, archive.open(ARRAYS) as two:
                return one.read(_LIMITS[CARD] + 1), two.read(_LIMITS[ARRAYS] + 1)
    except (zipfile.BadZipFile, zlib.error, ValueError, NotImplementedError, RuntimeError,
            EOFError, OSError) as error:  # fmt: skip
        raise CorruptFile(f"{path.name} is no shape model: a damaged ZIP file ({error})") from error


def _arrays(data: bytes, where: str) -> dict[str, Array]:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            size = sum(e.file_size for e in archive.infolist())
        if size > 2 * _LIMITS[ARRAYS]:
            raise Refused(f"{where}: {ARRAYS} unfolds to {size} bytes; too many")
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            arrays = {n: file[n] for n in file.files}
    except (zipfile.BadZipFile, zlib.error, ValueError, EOFError, OSError, KeyError, MemoryError,
            NotImplementedError, RuntimeError) as error:  # fmt: skip
        raise CorruptFile(f"{where}: {ARRAYS} cannot be read ({error})") from error
    missing, strange = set(_OWN) - set(arrays), set(arrays) - {*_OWN, *_KNOWN}
    if missing or strange:
        what = f"lacks {sorted(missing)}" if missing else f"holds {sorted(strange)}"
        raise CorruptFile(f"{where}: {ARRAYS} {what}, which no shape model does")
    for name, array in arrays.items():
        if array.ndim != _DIMENSIONS[name] or array.dtype.kind not in "fiu":
            raise CorruptFile(f"{where}: {name} has shape {array.shape} and type {array.dtype}")
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise CorruptFile(f"{where}: {name} holds values that are not finite")
    return arrays


_LAST = {
    "profile_mean": (2 * HALF + 1,), "profile_inverse": (2 * HALF + 1, 2 * HALF + 1),
    "boundary": (FEATURES + 1,), "pattern": (2 * WINDOW + 1,),
}  # fmt: skip
"""Axes after levels and points of what is known along normals."""


def _sensible(model: ShapeModel, where: str) -> None:
    n, d = model.mean.shape
    k = len(model.variances)
    of = {m: a.shape for m, a in model.evidence.items()}
    levels, step = model.card.levels, model.card.step
    along = {m: s for m, s in of.items() if not m.startswith("texture")}
    parts = len(model.card.segments)
    fine = (
        d in (2, 3) and d == model.card.dimensions and model.modes.shape == (k, n, d) and k >= 1
        and model.faces.shape[1] == d and model.faces.dtype.kind in "iu"
        and model.faces.size > 0 and int(model.faces.min()) >= 0 and int(model.faces.max()) < n
        and model.parts.shape == (n,) and model.parts.dtype == np.uint8
        and int(model.parts.max()) + 1 == parts
        and bool((model.variances > 0).all())
        and type(levels) is int and 0 <= levels <= MOST_LEVELS
        and set(along) == (set(_LAST) if levels else set())
        and all(s == (levels, n, *_LAST[m]) for m, s in along.items())
        and (not levels or (isinstance(step, float) and 0 < step < 1e4))
        and of.get("texture_modes", (0, 0))[1:] == of.get("texture_mean", (0,))
    )  # fmt: skip
    if not fine:
        raise CorruptFile(f"{where}: the arrays of the shape model do not fit one another")


def _to_json(card: ShapeCard) -> str:
    record = asdict(card)
    record["spacing_mm"] = [card.spacing_mm[0], None]
    for segment in record["segments"]:
        del segment["tracking"]
    record |= {"format": FORMAT, "format_version": VERSION}
    return json.dumps(record, indent=1, sort_keys=True, allow_nan=False) + "\n"


def _from_json(text: bytes) -> ShapeCard:
    try:
        record: dict[str, Any] = json.loads(text)
        if record.pop("format") != FORMAT or record.pop("format_version") != VERSION:
            raise CorruptFile(f"{CARD} is of another format or version; update Somascope")
        strange = set(record) ^ {f.name for f in fields(ShapeCard)}
        if strange:
            raise CorruptFile(f"{CARD} lacks or has a field {min(strange)!r}")
        segments = tuple(
            Segment(
                int(s["number"]), str(s["label"]), Code(**s["concept"]), str(s["algorithm"]),
                tuple(int(c) for c in s["colour"]), float(s["confidence"]),  # pyright: ignore[reportArgumentType]
            )
            for s in record.pop("segments")
        )  # fmt: skip
        record["spacing_mm"] = (float(record["spacing_mm"][0]), float("inf"))
        made: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in record.items()
        }
        return ShapeCard(segments=segments, **made)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        if isinstance(error, CorruptFile):
            raise
        raise CorruptFile(
            f"{CARD} is no shape model's card ({type(error).__name__}: {error})"
        ) from error
