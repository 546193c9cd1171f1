"""``python -m somascope.server.monailabel.exchange``: volumes and outlines between DICOM and NIfTI.

Stored pixels and what clients send are strangers' bytes: they are read in a process of their own
that gives up network and other programs first. Standard input brings one line of JSON; `exchanged`
starts it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from somascope.core.errors import SomascopeError, UnsupportedFormat
from somascope.server.decode.convert import ended

if TYPE_CHECKING:
    from somascope.core import Image, Mask

What: TypeAlias = Literal["image", "labels", "outlined"]
"""A series as NIfTI; a segmentation as a NIfTI label map; a label map as a segmentation."""
REPORT = "exchanged.json"
MOST_REPORT = 4 << 20
MOST_FILES = 1000
MODULE = "somascope.server.monailabel.exchange"
SEGMENTS = 4096


def exchanged(
    what: What,
    files: Sequence[Path],
    folder: Path,
    *,
    label: Path | None = None,
    names: Mapping[str, int] | None = None,
    memory: int,
    seconds: float,
) -> tuple[list[Path], dict[str, int]]:
    """Files made in ``folder``, and the numbers of the segments by name.

    Parameters
    ----------
    files
        DICOM instances: of the image, or (``labels``) of the segmentation.
    label, names
        With ``outlined``: the label map, and the names of its numbers.

    Raises
    ------
    UnsupportedFormat
        Not to be read, or not in so much memory and time; the message says why.
    """
    folder.mkdir(parents=True, exist_ok=True)
    request = {
        "what": what, "files": [str(f) for f in files], "folder": str(folder),
        "label": None if label is None else str(label), "names": dict(names or {}),
        "memory": memory, "seconds": seconds,
    }  # fmt: skip
    ended(MODULE, request, seconds=seconds)
    try:
        if (folder / REPORT).stat().st_size > MOST_REPORT:
            raise ValueError("it is too long")
        report = json.loads((folder / REPORT).read_bytes())
        reason, count = str(report["reason"]), int(report["files"])
        numbers = {str(k): int(v) for k, v in report["names"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UnsupportedFormat(f"conversion wrote no good report: {error}") from error
    if reason:
        raise UnsupportedFormat(reason)
    if count > MOST_FILES:
        raise UnsupportedFormat(f"conversion says that it made {count} files")
    suffix = "dcm" if what == "outlined" else "nii.gz"
    made = [folder / f"{n}.{suffix}" for n in range(count)]
    if not made or any(f.is_symlink() or not f.is_file() for f in made):
        raise UnsupportedFormat("conversion made nothing")
    return made, numbers


def main() -> int:
    """Convert once."""
    import numpy as np

    from somascope.io import read_all, write
    from somascope.io.dicom.references import headers
    from somascope.io.dicom.seg import instances
    from somascope.process.sampling import sample
    from somascope.server.decode import cell

    request = json.loads(sys.stdin.buffer.readline())
    files = [Path(f) for f in request["files"]]
    folder = Path(request["folder"])
    if request["what"] == "outlined":  # compiled code is loaded while locks may still be made
        sample(np.zeros((1, 1, 1), np.float32), np.eye(4), (1, 1, 1), order="nearest", fill=0.0)
    cell.confine(memory=int(request["memory"]), writes=True)
    cell.spend(float(request["seconds"]))
    count, reason, names = 0, "", {}
    try:
        report = read_all(files)
        if request["what"] == "image":
            write(_only(report.images, "image", report.problems), folder / "0.nii.gz")
            count = 1
        elif request["what"] == "labels":
            mask = _flattened(_only(report.masks, "segmentation", report.problems))
            write(mask, folder / "0.nii.gz")
            count, names = 1, {s.label: s.number for s in mask.segments}
        else:
            image = _only(report.images, "image", report.problems)
            mask = outlined(image, Path(request["label"]), request["names"])
            for data in instances(mask, headers(files)):
                (folder / f"{count}.dcm").write_bytes(data)
                count += 1
            names = {s.label: s.number for s in mask.segments}
    except (SomascopeError, MemoryError) as error:
        reason = str(error) or "needs more memory than a conversion may take"
    text = json.dumps({"files": count, "reason": reason, "names": names})
    (folder / REPORT).write_text(text)
    return 0


def _only(found: Sequence[Any], what: str, problems: Sequence[tuple[str, str]]) -> Any:
    if not found:
        why = f" ({problems[0][1]})" if problems else ""
        raise UnsupportedFormat(f"there is no {what} in it{why}")
    return found[0]


def _flattened(mask: Mask) -> Mask:
    """One number for each voxel; where segments overlap the later one."""
    from dataclasses import replace

    import numpy as np

    if mask.data.ndim == 3:
        return mask
    labels = np.zeros(mask.grid.shape, np.uint16)
    for plane, segment in zip(mask.data, mask.segments, strict=True):
        labels[plane >= 0.5] = segment.number
    return replace(mask, data=labels)


def outlined(image: Image, label: Path, names: Mapping[str, int]) -> Mask:
    """The label map on the image's grid, the nearest voxel, as a segmentation of it.

    Raises
    ------
    UnsupportedFormat
        No labels in it, too many, or of voxels that lie elsewhere.
    """
    import hashlib

    import numpy as np

    from somascope.core import Image as Volume
    from somascope.core import Mask, Segment, Step
    from somascope.io import read
    from somascope.models.card import COLOURS, ClassName
    from somascope.process.sampling import sample

    drawn = read(label)
    if not isinstance(drawn, Volume) or drawn.data.ndim != 3:
        raise UnsupportedFormat(f"{label.name} is not one volume of labels")
    values = np.asarray(drawn.data)
    rounded = np.rint(values)
    if not np.array_equal(values, rounded) or rounded.min() < 0 or rounded.max() > SEGMENTS:
        raise UnsupportedFormat(f"{label.name} holds values that are no labels of 0 to {SEGMENTS}")
    affine = np.linalg.inv(drawn.grid.affine) @ image.grid.affine
    there = sample(rounded.astype(np.float32), affine, image.grid.shape, order="nearest", fill=0.0)
    labels = there.astype(np.uint16)
    found = [int(k) for k in np.unique(labels) if k > 0]
    if not found:
        raise UnsupportedFormat(f"{label.name} outlines nothing of the image")
    named = {int(v): _plain(k) for k, v in names.items()}
    called = {k: named.get(k) or f"label-{k}" for k in found}
    segments = tuple(
        Segment(k, n, ClassName.named(n).code, "manual", COLOURS[(k - 1) % len(COLOURS)])
        for k, n in called.items()
    )
    uids = tuple(u for s in image.provenance.sources for u in s.uids)
    # Another drawing of the same image is another object, with identifiers of its own.
    told = {"labels": dict(names), "sha256": hashlib.sha256(labels.tobytes()).hexdigest()}
    return Mask(
        data=labels, grid=image.grid, segments=segments, on=uids,
        provenance=image.provenance.then(Step("monailabel.label", told)),
        attributes=dict(image.attributes),
    )  # fmt: skip


def _plain(name: str) -> str:
    """As a Segment Label can be (LO, PS3.5 6.2): 64 characters, none of control, no backslash."""
    kept = "".join(c if c.isprintable() and c != "\\" else " " for c in name)
    return " ".join(kept.split())[:64].strip()


if __name__ == "__main__":
    sys.exit(main())
