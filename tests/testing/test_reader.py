"""The reader contract: ours keep it, and each way of breaking it is caught."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from somascope.core import Grid, Image, Provenance, Source
from somascope.core.errors import CorruptFile, ReadError
from somascope.io import nifti, raster, write
from somascope.io.read import Reader, _readers
from somascope.testing.reader import check_reader

GRID = Grid.from_spacing((4, 8, 9), (3, 2, 1.5), origin=(5, 6, 7))


def volume() -> Image:
    values = np.random.default_rng(1).integers(-900, 1200, GRID.shape)
    return Image(values.astype(np.int16), GRID)


def plane() -> Image:
    values = np.random.default_rng(2).integers(0, 255, (3, 1, 40, 50), np.uint8)
    from somascope.core import Axis

    return Image(values, Grid.from_spacing((1, 40, 50), (1, 1, 1)), axes=(Axis("channel"),))


SAMPLES = {
    "nifti": ("a.nii", "a.nii.gz"),
    "nrrd": ("a.nrrd",),
    "metaimage": ("a.mha",),
    "raster": ("a.png", "a.tif"),
}


def test_our_readers_enter_by_the_open_door() -> None:
    assert set(SAMPLES) <= set(_readers())
    assert all(isinstance(r, Reader) for r in _readers().values())


@pytest.mark.parametrize("name", list(SAMPLES))
def test_ours_keep_the_contract(name: str, tmp_path: Path) -> None:
    files = []
    for file in SAMPLES[name]:
        write(plane() if file.endswith("png") else volume(), tmp_path / file)
        files.append(tmp_path / file)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    check_reader(_readers()[name], files, scratch=scratch)


class Good:
    """A tiny format: magic, three sizes, int16 values."""

    def matches(self, head: bytes, path: Path) -> bool:
        return head.startswith(b"TINY")

    def read(self, path: Path) -> list[Image]:
        raw = path.read_bytes()
        sizes = np.frombuffer(raw[4:10], "<u2")
        if (
            len(sizes) != 3
            or raw[:4] != b"TINY"
            or len(raw) - 10 != 2 * int(np.prod(sizes, dtype=object))
        ):
            raise CorruptFile(f"{path.name} is not whole")
        if 0 in sizes:
            raise CorruptFile(f"{path.name} is empty")
        data = np.frombuffer(raw[10:], "<i2").reshape(sizes)
        grid = Grid.from_spacing(tuple(map(int, sizes)), (1, 1, 1))
        return [Image(data, grid, provenance=Provenance((Source("file", path.name),)))]


class ByName(Good):
    def matches(self, head: bytes, path: Path) -> bool:
        return path.suffix == ".tiny" and head.startswith(b"TINY")


class ClaimsAll(Good):
    def matches(self, head: bytes, path: Path) -> bool:
        return True


class Truthy(Good):
    def matches(self, head: bytes, path: Path) -> bool:
        return head[:4] if head.startswith(b"TINY") else False  # type: ignore[return-value]


class NoList(Good):
    def read(self, path: Path) -> list[Image]:
        return super().read(path)[0]  # type: ignore[return-value]


class Pads(Good):
    """Fills what is missing with zeros, the worst thing a reader can do."""

    def read(self, path: Path) -> list[Image]:
        raw = path.read_bytes()
        if len(raw) < 10 or raw[:4] != b"TINY":
            raise CorruptFile("short")
        sizes = np.minimum(np.maximum(np.frombuffer(raw[4:10], "<u2"), 1), 9)
        data = np.zeros(int(np.prod(sizes)), np.int16)
        got = np.frombuffer(raw[10 : 10 + 2 * ((len(raw) - 10) // 2)], "<i2")[: data.size]
        data[: len(got)] = got
        grid = Grid.from_spacing(tuple(map(int, sizes)), (1, 1, 1))
        source = Provenance((Source("file", path.name),))
        return [Image(data.reshape(sizes), grid, provenance=source)]


class Crashes(Good):
    def read(self, path: Path) -> list[Image]:
        raw = path.read_bytes()
        data = np.frombuffer(raw[10:], "<i2").reshape(np.frombuffer(raw[4:10], "<u2"))
        grid = Grid.from_spacing(data.shape, (1, 1, 1))
        return [Image(data, grid, provenance=Provenance((Source("file", path.name),)))]


class Greedy(Good):
    def read(self, path: Path) -> list[Image]:
        raw = path.read_bytes()
        sizes = np.frombuffer(raw[4:10].ljust(6, b"\x01"), "<u2").astype(np.int64)
        np.empty(min(int(np.prod(sizes)) * 2, 300 << 20), np.uint8)
        return super().read(path)


class Wanders(Good):
    seen = 0

    def read(self, path: Path) -> list[Image]:
        Wanders.seen += 1
        image = super().read(path)[0]
        return [Image(image.data + Wanders.seen, image.grid, provenance=image.provenance)]


class TellsFolder(Good):
    def read(self, path: Path) -> list[Image]:
        image = super().read(path)[0]
        return [Image(image.data, image.grid, provenance=Provenance((Source("file", str(path)),)))]


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    path = tmp_path / "a.tiny"
    values = np.arange(1, 5 * 6 * 7 + 1, dtype="<i2")
    path.write_bytes(b"TINY" + np.array([5, 6, 7], "<u2").tobytes() + values.tobytes())
    (tmp_path / "scratch").mkdir()
    return path


def test_a_good_plug_in_passes(tiny: Path) -> None:
    check_reader(Good(), [tiny])


@pytest.mark.parametrize(
    ("broken", "word"),
    [
        (ByName, "goes by the name"),
        (ClaimsAll, "not its own"),
        (Truthy, "True or False"),
        (NoList, "list"),
        (Pads, "other values"),
        (Crashes, "must be a ReadError"),
        (Greedy, "MiB"),
        (Wanders, "a second time"),
        (TellsFolder, "folder"),
    ],
)
def test_each_broken_plug_in_is_caught(broken: type, word: str, tiny: Path) -> None:
    with pytest.raises(AssertionError, match=word):
        check_reader(broken(), [tiny], scratch=tiny.parent / "scratch")


def test_readers_say_read_error_for_foreign_bytes(tmp_path: Path) -> None:
    path = tmp_path / "x.nii"
    path.write_bytes(b"hello")
    for reader in (nifti.READER, raster.READER):
        with pytest.raises(ReadError):
            reader.read(path)
