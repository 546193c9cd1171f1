"""A BIDS dataset on disk: its functional runs with side-cars, events and confounds.

Source: BIDS specification 1.10, "Common principles" (entities, the inheritance principle) and
"Task (including resting state) imaging data". Nothing outside the dataset's folder is read: links
that lead out of it are refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from somascope.core.errors import NotFound, ReadError, UnsupportedFormat
from somascope.core.image import Axis, Image

LARGEST = 4 << 20
"""Bytes of a side-car or table; more is no such file."""
MOST_FILES = 200_000
_ENTITY = re.compile(r"([a-zA-Z]+)-([a-zA-Z0-9+]+)")
_NIFTI = (".nii.gz", ".nii")


@dataclass(frozen=True)
class BidsFile:
    """One file: where, its entities (``{"sub": "01", "task": "rest"}``), suffix and extension."""

    path: Path
    entities: Mapping[str, str]
    suffix: str
    extension: str


@dataclass(frozen=True)
class BidsRun:
    """One functional run.

    ``sidecar`` is what all side-cars that apply say together, the nearest last; ``events`` the text
    of its ``events.tsv`` or ``""``.
    """

    file: BidsFile
    sidecar: Mapping[str, Any] = field(default_factory=dict)
    events: str = ""

    @property
    def name(self) -> str:
        """The file's name without its extension."""
        return self.file.path.name.removesuffix(self.file.extension)

    def read(self) -> Image:
        """The run as an image: axis ``t`` in s, facts of the side-cars among the attributes.

        Raises
        ------
        ReadError
            The volumes and the side-cars contradict each other.
        """
        from somascope.io.bids import facts_of
        from somascope.io.nifti import read

        image = read(self.file.path)
        if [a.name for a in image.axes] != ["t"]:
            raise UnsupportedFormat(
                f"{self.file.path.name} has the axes {image.axis_names}; a bold run is one series "
                "of volumes over t"
            )
        facts = facts_of(self.sidecar)
        modality = str(facts.pop("Modality", "") or image.modality)
        facts.pop("Units", None)
        timing = self.sidecar.get("SliceTiming")
        if isinstance(timing, list) and len(timing) != image.grid.shape[0]:
            raise ReadError(
                f"{self.file.path.name}: SliceTiming lists {len(timing)} slices and the file has "
                f"{image.grid.shape[0]}"
            )
        axes = image.axes
        repetition = self.sidecar.get("RepetitionTime")
        if isinstance(repetition, (int, float)) and repetition > 0:
            times = tuple(round(k * float(repetition), 9) for k in range(image.shape[0]))
            axes = (Axis("t", times, "s"),)
        return replace(
            image, axes=axes, modality="MR" if modality == "OT" else modality,
            attributes={**image.attributes, **facts},
        )  # fmt: skip


class BidsDataset:
    """A folder with a ``dataset_description.json``.

    Parameters
    ----------
    root
        The folder.

    Raises
    ------
    NotFound
        There is no such folder, or no description in it.
    UnsupportedFormat
        The description is not one.
    """

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root).resolve()
        described = self.root / "dataset_description.json"
        if not described.is_file():
            raise NotFound(
                f"{root} holds no dataset_description.json; give the top folder of a BIDS dataset"
            )
        self.description = self._json(described)
        if not isinstance(self.description.get("Name"), str):
            raise UnsupportedFormat(f"{described.name} names no dataset (Name is missing)")

    def files(self) -> Iterator[BidsFile]:
        """All files of subjects and of the top level, in the order of their paths."""
        found: list[Path] = []
        folders = [self.root]
        while folders:
            for path in sorted(folders.pop().iterdir()):
                if path.name.startswith(".") or not self._inside(path):
                    continue
                if path.is_dir() and not path.is_symlink():
                    top = path.parent == self.root
                    if not top or path.name.startswith("sub-"):
                        folders.append(path)
                elif path.is_file():
                    found.append(path)
                    if len(found) > MOST_FILES:
                        raise UnsupportedFormat(f"more than {MOST_FILES} files in {self.root.name}")
        for path in sorted(found):
            parsed = parse(path)
            if parsed is not None:
                yield parsed

    def runs(self, **entities: str) -> list[BidsRun]:
        """Functional runs whose entities match: ``runs(sub="01", task="rest")``."""
        every = list(self.files())
        return [
            BidsRun(file, self._sidecar(file, every), self._table(file, every, "events"))
            for file in every
            if file.suffix == "bold" and file.extension in _NIFTI
            and all(file.entities.get(k) == v for k, v in entities.items())
        ]  # fmt: skip

    def _applying(self, file: BidsFile, every: list[BidsFile], suffix: str, extension: str
                  ) -> list[BidsFile]:  # fmt: skip
        """Files that apply to ``file`` by inheritance, the most general first."""
        above = set(file.path.parents)
        fit = [
            f for f in every
            if f.suffix == suffix and f.extension == extension and f.path.parent in above
            and all(file.entities.get(k) == v for k, v in f.entities.items())
        ]  # fmt: skip
        return sorted(fit, key=lambda f: (len(f.path.parts), len(f.entities)))

    def _sidecar(self, file: BidsFile, every: list[BidsFile]) -> dict[str, Any]:
        merged: dict[str, Any] = {}
        for one in self._applying(file, every, file.suffix, ".json"):
            merged |= self._json(one.path)
        return merged

    def _table(self, file: BidsFile, every: list[BidsFile], suffix: str) -> str:
        fit = self._applying(file, every, suffix, ".tsv")
        return self._text(fit[-1].path) if fit else ""

    def _inside(self, path: Path) -> bool:
        """Whether what the path leads to lies in the dataset."""
        try:
            return path.resolve(strict=True).is_relative_to(self.root)
        except (OSError, RuntimeError):
            return False

    def _text(self, path: Path) -> str:
        if not self._inside(path):
            raise ReadError(f"{path.name} leads out of the dataset; put the file itself there")
        if path.stat().st_size > LARGEST:
            raise ReadError(f"{path.name} has {path.stat().st_size} bytes; no such file is so long")
        try:
            return path.read_bytes().decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise ReadError(f"{path.name} is not UTF-8: {error}") from error

    def _json(self, path: Path) -> dict[str, Any]:
        try:
            record = json.loads(self._text(path))
        except (ValueError, RecursionError) as error:
            raise ReadError(f"{path.name} is not JSON: {error}") from error
        if not isinstance(record, dict):
            raise ReadError(f"{path.name} holds no JSON object")
        return record


def parse(path: Path) -> BidsFile | None:
    """Entities and suffix of a file name, None where it is not a BIDS name.

    ``sub-01_task-rest_bold.nii.gz`` has the entities sub and task and the suffix bold.
    """
    stem, dot, rest = path.name.partition(".")
    *pairs, suffix = stem.split("_")
    if not dot or not suffix.isalnum():
        return None
    entities: dict[str, str] = {}
    for pair in pairs:
        found = _ENTITY.fullmatch(pair)
        if found is None or found.group(1) in entities:
            return None
        entities[found.group(1)] = found.group(2)
    return BidsFile(path, entities, suffix, f".{rest}")
