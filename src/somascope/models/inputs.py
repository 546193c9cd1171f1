"""Images to look at, from files, folders and arrays, one after the other and each with its name."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from somascope.core import Axis, Grid, Image, Provenance, Source
from somascope.core.errors import CorruptFile, NotFound, SomascopeError
from somascope.core.grid import Array

_VOLUMES = (".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd")
_PLAIN = (*_VOLUMES, ".png", ".jpg", ".jpeg", ".tif", ".tiff", ".gif", ".bmp")


@dataclass(frozen=True)
class Input:
    """``name`` is the row of an array, the stem of a file or the UID of a series of several files;
    below a folder that has several files of one stem, the path in it.

    ``flat`` says that an answer for one slice is a picture, as the file is none of volumes.
    """

    name: str
    load: Callable[[], Image]
    flat: bool = False


def stem(path: Path) -> str:
    """The name without its suffix, ``.nii.gz`` in one."""
    lower = path.name.lower()
    suffix = next((s for s in (".nii.gz", *_PLAIN) if lower.endswith(s)), path.suffix)
    return path.name[: len(path.name) - len(suffix)] if suffix else path.name


def inputs(paths: Sequence[str | Path]) -> list[Input]:
    """What is behind paths: rows of ``images`` in an npz, picture and volume files, DICOM series.

    A folder gives every file in it (below it, too); its pictures are pictures, never a stack.

    Raises
    ------
    NotFound
        A path that is not there, or a folder without an image.
    """
    found: list[Input] = []
    longer: list[str] = []
    for path in map(Path, paths):
        if path.is_dir():
            for item, name in _folder(path):
                found.append(item)
                longer.append(name)
            continue
        if not path.is_file():
            known = re.fullmatch(r"[0-9][0-9.]{4,63}", str(path)) is not None
            raise NotFound(
                f"there is no file or folder {str(path)!r}"
                + ("; a UID is looked up in an archive: give --archive DIR" if known else "")
            )
        found += _rows(path) if path.suffix == ".npz" else [
            Input(stem(path), partial(one, path), _flat(path))
        ]  # fmt: skip
        longer += [i.name for i in found[len(longer) :]]
    counts = Counter(i.name for i in found)
    named = [
        replace(i, name=name) if counts[i.name] > 1 else i
        for i, name in zip(found, longer, strict=True)
    ]
    twice = [n for n, k in Counter(i.name for i in named).items() if k > 1]
    if twice:
        raise CorruptFile(
            f"two inputs are named {twice[0]!r}; results are named after them. Predict them one "
            "folder at a time"
        )
    return named


def _flat(path: Path) -> bool:
    return not path.name.lower().endswith(_VOLUMES)


def _folder(root: Path) -> list[tuple[Input, str]]:
    """The images below a folder, and of each a name that no other has."""
    from somascope.io.read import is_dicom, read_all

    files = sorted(p for p in root.rglob("*") if p.is_file() and not p.name.startswith("."))
    plain = [p for p in files if p.name.lower().endswith(_PLAIN)]
    found = [
        (Input(stem(p), partial(one, p), _flat(p)),
         (p.parent / stem(p)).relative_to(root).as_posix()) for p in plain
    ]  # fmt: skip
    pictures = set(plain)
    others = [p for p in files if p not in pictures]
    dicom = [p for p in others if p.suffix.lower() == ".dcm" or is_dicom(_head(p))]
    alone, together = _series(dicom)
    found += [
        (Input(stem(p), partial(one, p), flat=True),
         (p.parent / stem(p)).relative_to(root).as_posix()) for p in alone
    ]  # fmt: skip
    if together:
        report = read_all(together)
        for i, image in enumerate(report.images):
            uid = str(image.attributes.get("SeriesInstanceUID", ""))
            if not re.fullmatch(r"[0-9][0-9.]*", uid):  # files are named after it
                uid = f"series_{i + 1}"
            same = [n for n, _ in found if n.name.split("#")[0] == uid]
            name = f"{uid}#{len(same) + 1}" if same else uid
            found.append((Input(name, partial(_given, image), flat=True), name))
        for name, reason in report.problems:
            found.append((Input(Path(name).name, partial(_damaged, name, reason)), name))
    if not found:
        raise NotFound(
            f"{root} holds no image that is read here: DICOM, {', '.join(s[1:] for s in _PLAIN)}"
        )
    return found


def _series(paths: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """DICOM files that are a whole series, or that cannot be read, and those of several files."""
    from somascope.io.dicom.header import scan

    groups: dict[str, list[Path]] = {}
    for path in paths:
        try:
            uid = scan(path).text("SeriesInstanceUID") or str(path)
        except (SomascopeError, OSError):
            uid = str(path)
        groups.setdefault(uid, []).append(path)
    alone = [g[0] for g in groups.values() if len(g) == 1]
    return alone, [p for g in groups.values() if len(g) > 1 for p in g]


def _damaged(name: str, reason: str) -> Image:
    raise CorruptFile(reason if name in reason else f"{name}: {reason}")


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(256)


def _given(image: Image) -> Image:
    return image


def one(path: Path) -> Image:
    """The one image of a file."""
    from somascope.io import read

    if path.suffix.lower() in (".gif", ".bmp"):
        from PIL import Image as Pillow

        try:
            with Pillow.open(path, formats=("GIF", "BMP")) as opened:
                gray = opened.mode in ("L", "1")
                return picture(np.asarray(opened.convert("L" if gray else "RGB")), path.name)
        except (OSError, ValueError, Pillow.DecompressionBombError) as error:
            raise CorruptFile(f"{path.name} is no picture that can be read ({error})") from error
    image = read(path)
    if isinstance(image, list):
        raise CorruptFile(f"{path.name} holds {len(image)} volumes; give one a file")
    return image


def picture(values: Array, name: str) -> Image:
    """An array ``(y, x)``, ``(y, x, 3)`` or ``(z, y, x)`` as an image at 1 mm."""
    colour = values.ndim == 3 and values.shape[-1] == 3
    if colour:
        data = np.moveaxis(values, -1, 0)[:, None]
    elif values.ndim in (2, 3):
        data = values[None] if values.ndim == 2 else values
    else:
        raise CorruptFile(f"{name} has shape {values.shape}; give (y, x), (y, x, 3) or (z, y, x)")
    grid = Grid.from_spacing(data.shape[-3:], (1.0, 1.0, 1.0))
    axes = (Axis("channel"),) if colour else ()
    return Image(data, grid, axes=axes, provenance=Provenance((Source("file", name),)))


def arrays(path: Path) -> dict[str, Array]:
    """The arrays of an npz file; a pickled one is refused."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except Exception as error:
        raise CorruptFile(f"{path.name} is no archive of plain arrays ({error})") from error


def _rows(path: Path) -> Iterator[Input]:
    found = arrays(path)
    names = [n for n in found if n == "images" or n.endswith("_images")]
    if "images" in names:
        names = ["images"]
    if len(names) != 1:
        raise NotFound(
            f"{path.name} has {', '.join(found) or 'no arrays'}; predict wants one array 'images' "
            "(n, y, x), (n, y, x, 3) or (n, z, y, x)"
        )
    images = found[names[0]]
    if images.ndim not in (3, 4):
        raise CorruptFile(
            f"{path.name}: {names[0]} has shape {images.shape}; give (n, y, x), (n, y, x, 3) or "
            "(n, z, y, x)"
        )
    flat = images.ndim == 3 or images.shape[-1] == 3
    for i in range(len(images)):
        yield Input(str(i), partial(picture, images[i], f"{path.name} {i}"), flat=flat)
