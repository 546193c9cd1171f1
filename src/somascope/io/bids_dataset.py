"""A BIDS dataset on disk: runs and anatomy with side-cars, events and confounds.

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
from somascope.io.bids import facts_of

LARGEST = 4 << 20
"""Bytes of a side-car or table; more is no such file."""
MOST_FILES = 200_000
_ENTITY = re.compile(r"([a-zA-Z]+)-([a-zA-Z0-9+]+)")
_NIFTI = (".nii.gz", ".nii")
_MR = ("anat", "func", "dwi", "fmap", "perf")
_NOT_RAW = ("derivatives", "sourcedata", "code", "stimuli")
_DEEPEST = 8
DESCRIPTION = "dataset_description.json"


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
    of its ``events.tsv`` or ``""``; ``confounds`` that of a ``desc-confounds_timeseries.tsv``
    beside it or in the dataset's ``derivatives``, or ``""``.
    """

    file: BidsFile
    sidecar: Mapping[str, Any] = field(default_factory=dict)
    events: str = ""
    confounds: str = ""

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
        from somascope.io.nifti import read

        image = read(self.file.path)
        if [a.name for a in image.axes] != ["t"]:
            raise UnsupportedFormat(
                f"{self.file.path.name} has the axes {image.axis_names}; a bold run is one series "
                "of volumes over t"
            )
        return image


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
        described = self.root / DESCRIPTION
        if not described.is_file():
            raise NotFound(
                f"{root} holds no dataset_description.json; give the top folder of a BIDS dataset"
            )
        self._folders: dict[Path, list[BidsFile]] = {}
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
        return [self.run(file) for file in self.images("bold", **entities)]

    def images(self, suffix: str, **entities: str) -> list[BidsFile]:
        """NIfTI files of a suffix (``T1w``, ``bold``) whose entities match."""
        return [
            file for file in self.files()
            if file.suffix == suffix and file.extension in _NIFTI
            and all(file.entities.get(k) == v for k, v in entities.items())
        ]  # fmt: skip

    def run(self, file: BidsFile) -> BidsRun:
        """What the dataset tells about one functional run."""
        events = self._applying(file, "events", ".tsv")
        return BidsRun(
            file, self.sidecar(file), self._text(events[-1].path) if events else "",
            self._confounds(file),
        )  # fmt: skip

    def sidecar(self, file: BidsFile) -> dict[str, Any]:
        """All side-cars that apply to ``file`` (the inheritance principle), the nearest last."""
        merged: dict[str, Any] = {}
        for one in self._applying(file, file.suffix, ".json"):
            merged |= self._json(one.path)
        return merged

    def _applying(self, file: BidsFile, suffix: str, extension: str) -> list[BidsFile]:
        """Files that apply to ``file`` by inheritance, the most general first."""
        fit: list[BidsFile] = []
        for folder in (file.path.parent, *file.path.parent.parents):
            if not folder.is_relative_to(self.root):
                break
            fit += [
                f for f in self._listed(folder)
                if f.suffix == suffix and f.extension == extension
                and all(file.entities.get(k) == v for k, v in f.entities.items())
            ]  # fmt: skip
        return sorted(fit, key=lambda f: (len(f.path.parts), len(f.entities)))

    def _confounds(self, file: BidsFile) -> str:
        inside = file.path.parent.relative_to(self.root)
        beside = self.root / "derivatives"
        folders = [file.path.parent]
        if beside.is_dir():
            folders += [d / inside for d in sorted(beside.iterdir()) if (d / inside).is_dir()]
        for folder in folders:
            for one in self._listed(folder):
                said = {k: v for k, v in one.entities.items() if k != "desc"}
                if (
                    one.suffix in ("timeseries", "regressors")
                    and one.extension == ".tsv"
                    and one.entities.get("desc") == "confounds"
                    and all(file.entities.get(k) == v for k, v in said.items())
                ):
                    return self._text(one.path)
        return ""

    def _listed(self, folder: Path) -> list[BidsFile]:
        """Files with BIDS names in one folder, looked at once."""
        if folder not in self._folders:
            paths = sorted(p for p in folder.iterdir() if self._inside(p) and p.is_file())
            parsed = [parse(p) for p in paths]
            self._folders[folder] = [f for f in parsed if f is not None]
        return self._folders[folder]

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


def root_of(path: Path) -> Path | None:
    """The dataset a file of a subject lies in: the nearest folder above with a description."""
    for folder in list(path.resolve().parents)[:_DEEPEST]:
        if (folder / DESCRIPTION).is_file():
            return folder
    return None


def told(path: Path, image: Image) -> Image:
    """The image of a NIfTI file with what the dataset around it says; as it is outside of one.

    Facts of all side-cars that apply, under DICOM keywords; subject, session and dataset as
    patient and study (no name is in a BIDS dataset); of a functional run also times, ``Events``
    and ``Confounds`` (texts of its tables).

    Raises
    ------
    ReadError
        A side-car is damaged or contradicts the volumes.
    """
    file = parse(path.resolve())
    root = root_of(path) if file is not None and "sub" in file.entities else None
    if file is None or root is None:
        return image
    try:
        dataset = BidsDataset(root)
    except ReadError:  # a broken description says nothing about this image
        return image
    said = dataset.sidecar(file)
    facts = facts_of(said)
    modality = str(facts.pop("Modality", "") or image.modality)
    unit = str(facts.pop("Units", "") or image.unit)
    if file.path.parent.name in _MR and modality == "OT":
        modality = "MR"
    facts |= _study(dataset, file)
    axes = image.axes
    if file.suffix == "bold" and [a.name for a in axes] == ["t"]:
        run = dataset.run(file)
        facts |= {k: v for k, v in (("Events", run.events), ("Confounds", run.confounds)) if v}
        repetition = said.get("RepetitionTime")
        if isinstance(repetition, (int, float)) and repetition > 0:
            times = tuple(round(k * float(repetition), 9) for k in range(image.shape[0]))
            axes = (Axis("t", times, "s"),)
    facts = {**image.attributes, **facts}
    if facts.pop("SliceTiming", None) is not None:
        facts |= _slice_times(said, image.grid.shape[0], path.name)
    return replace(image, axes=axes, modality=modality, unit=unit, attributes=facts)


def _slice_times(said: Mapping[str, Any], count: int, name: str) -> dict[str, Any]:
    """Slice times in the order of z; nothing where slices were not taken along it."""
    timing, along = said.get("SliceTiming"), str(said.get("SliceEncodingDirection", "k"))
    if not isinstance(timing, list) or along[:1] != "k":
        return {}
    if len(timing) != count or not all(isinstance(t, (int, float)) for t in timing):
        raise ReadError(
            f"{name}: SliceTiming lists {len(timing)} slices and the file has {count}; give one "
            "time in s for each"
        )
    return {"SliceTiming": timing[::-1] if along.endswith("-") else timing}


def _study(dataset: BidsDataset, file: BidsFile) -> dict[str, Any]:
    """Subject and session as patient and study; all files of a session lie in one study."""
    from somascope.io.dicom.uid import derive

    subject, session = file.entities["sub"], file.entities.get("ses", "")
    name = str(dataset.description["Name"])
    described = {k: v for k, v in file.entities.items() if k not in ("sub", "ses")}
    title = " ".join([*(f"{k}-{v}" for k, v in described.items()), file.suffix])
    facts = {
        "PatientID": f"sub-{subject}", "PatientName": f"sub-{subject}",
        "StudyInstanceUID": derive("bids", name, subject, session),
        "StudyDescription": name[:64], "SeriesDescription": title[:64],
    }  # fmt: skip
    return facts | ({"StudyID": session[:16]} if session else {})


def beside_raw(root: Path) -> tuple[str, ...]:
    """Folders of a dataset that hold no raw images (results, sources, programs); else none."""
    return _NOT_RAW if (root / DESCRIPTION).is_file() else ()


def is_side_file(path: Path) -> bool:
    """Whether a file belongs to a dataset and is no image: side-cars, tables, texts."""
    return not path.name.endswith(_NIFTI) and (
        path.name.endswith((".json", ".tsv", ".tsv.gz", ".bval", ".bvec"))
        or path.stem in ("README", "CHANGES", "LICENSE", ".bidsignore")
    ) and root_of(path) is not None  # fmt: skip


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
