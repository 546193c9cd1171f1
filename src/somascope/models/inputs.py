"""Images to look at, from files, folders and arrays, one after the other and each with its name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from somascope.core import Axis, Grid, Image, Provenance, Source
from somascope.core.errors import CorruptFile, NotFound
from somascope.core.grid import Array

_PLAIN = (".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd", ".png", ".jpg", ".jpeg", ".tif",
          ".tiff", ".gif", ".bmp")  # fmt: skip


@dataclass(frozen=True)
class Input:
    """``name`` is the row of an array, the stem of a file or the UID of a series; ``flat`` says
    that it came as a picture file.
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
    for path in map(Path, paths):
        if path.is_dir():
            found += _folder(path)
        elif not path.is_file():
            raise NotFound(f"there is no file or folder {str(path)!r}")
        elif path.suffix == ".npz":
            found += list(_rows(path))
        else:
            found.append(Input(stem(path), partial(one, path), _flat(path)))
    names = [i.name for i in found]
    if len(set(names)) < len(names):
        raise CorruptFile(
            f"two inputs are named {next(n for n in names if names.count(n) > 1)!r}; results are "
            "named after them. Predict them one folder at a time"
        )
    return found


def _flat(path: Path) -> bool:
    return path.suffix.lower() in (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".gif", ".bmp")


def _folder(root: Path) -> list[Input]:
    from somascope.io.read import is_dicom, read_all

    files = sorted(p for p in root.rglob("*") if p.is_file() and not p.name.startswith("."))
    plain = [p for p in files if p.name.lower().endswith(_PLAIN)]
    found = [Input(stem(p), partial(one, p), _flat(p)) for p in plain]
    others = [p for p in files if p not in set(plain)]
    dicom = [p for p in others if is_dicom(_head(p))]
    if dicom:
        images = read_all(list(dicom)).images
        for i, image in enumerate(images):
            uid = str(image.attributes.get("SeriesInstanceUID", "")) or f"series_{i + 1}"
            same = [n for n in found if n.name.split("#")[0] == uid]
            name = f"{uid}#{len(same) + 1}" if same else uid
            found.append(Input(name, partial(_given, image)))
    if not found:
        raise NotFound(f"{root} holds no image that is read here")
    return found


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

        with Pillow.open(path, formats=("GIF", "BMP")) as opened:
            gray = opened.mode in ("L", "1")
            return picture(np.asarray(opened.convert("L" if gray else "RGB")), path.name)
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
    for i in range(len(images)):
        yield Input(str(i), partial(picture, images[i], f"{path.name} {i}"), flat=images.ndim == 3)
