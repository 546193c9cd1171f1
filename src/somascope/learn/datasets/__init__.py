"""Data sets as they are published: told from what is there, never from a flag."""

from __future__ import annotations

from pathlib import Path

from somascope.core.errors import NotFound, ParameterError, UnsupportedFormat
from somascope.learn.datasets.cases import Case, Dataset, parted, patients

__all__ = ["Case", "Dataset", "open_dataset", "parted", "patients"]

TASKS = ("classify", "detect", "segment", "register")


def open_dataset(path: str | Path, task: str, *, objects: bool = False) -> Dataset:
    """The cases behind a path, for one of ``classify detect segment register``.

    ========== =================================================================================
    classify   MedMNIST npz; one folder per class; CSV with ``label,files`` (pictures in order);
               an archive with reports that name a class
    segment    ``dataset.json`` of the Decathlon or nnU-Net; BIDS with ``derivatives``; folders
               ``images`` and ``labels``; an archive with Segmentations
    detect     Pascal VOC (``Annotations``, ``JPEGImages``); COCO JSON, with six numbers for boxes
               in volumes; a CSV of points with ``diameter_mm`` (LUNA16); reports in an archive;
               what ``segment`` reads, each component of a label map an object
    register   CSV with ``fixed,moving``; what ``segment`` reads, each case with the next
    ========== =================================================================================

    With ``objects`` the cases to classify are single objects: what ``detect`` reads, each box with
    its class; or one folder per class with a mask beside each picture, ``NAME_mask.png``.

    Raises
    ------
    NotFound
        Nothing there, or not in one of these forms; the message says what was looked for.
    """
    path = Path(path)
    if task not in TASKS:
        raise ParameterError(f"task is {task!r}; choose one of {', '.join(TASKS)}")
    if not path.exists():
        raise NotFound(f"there is no data set {str(path)!r}")
    if objects:
        return _single(path, task)
    from somascope.learn.datasets import npz, pairs

    if task == "classify":
        if path.suffix == ".npz":
            return npz.read(path)
        if path.suffix == ".csv":
            from somascope.learn.datasets import sequences

            return sequences.listed(path)
        from somascope.learn.datasets import folders, stored

        if stored.is_archive(_folder(path, task)):
            return stored.labelled(path)
        return folders.per_class(path)
    if task == "segment":
        return _outlined(_folder(path, task))
    if task == "register":
        return pairs.listed(path) if path.suffix == ".csv" else pairs.neighbours(
            _outlined(_folder(path, task))
        )  # fmt: skip
    return _objects(path)


def _single(path: Path, task: str) -> Dataset:
    """Objects of images, each a case of its own."""
    from somascope.learn.datasets import folders, objects

    if task != "classify":
        raise ParameterError(f"single objects are classified; to {task} they are found as they are")
    if path.is_dir() and folders.masked(path):
        return folders.per_class(path, objects=True)
    try:
        return objects.singled(_objects(path))
    except NotFound as error:
        raise NotFound(
            f"{path} has no objects: no Pascal VOC, COCO or table of points, no label maps, and no "
            f"NAME_mask.png beside pictures in a folder for each class ({error})"
        ) from error


def _objects(path: Path) -> Dataset:
    """Boxes in pictures or volumes: listed, reported, or around what is outlined."""
    from somascope.learn.datasets import boxes, objects, stored

    if path.suffix == ".json":
        return boxes.coco(path)
    if path.suffix == ".csv":
        return objects.points(path)
    root = _folder(path, "detect")
    if any(root.rglob("Annotations")):
        return boxes.voc(root)
    lists = [p for p in sorted(root.glob("*.json")) if boxes.is_coco(p)]
    if lists:
        return boxes.coco(lists[0])
    if (root / "annotations.csv").is_file():
        return objects.points(root / "annotations.csv")
    found = objects.reported(root) if stored.is_archive(root) else None
    return found or objects.outlined(_outlined(root))


def _outlined(path: Path) -> Dataset:
    """Images with label maps: in an archive, in BIDS, or in folders."""
    from somascope.learn.datasets import bids, folders, stored

    if stored.is_archive(path):
        return stored.segmentations(path)
    if (path / bids.DESCRIPTION).is_file():
        return bids.segmentations(path)
    return folders.pairs(path)


def _folder(path: Path, task: str) -> Path:
    if not path.is_dir():
        raise UnsupportedFormat(f"{path.name} is a file that {task} reads no data set from")
    return path
