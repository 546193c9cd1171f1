"""`register` and `transform`: the map between two images, and images carried through it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from somascope.cli.bar import bar
from somascope.core.errors import ParameterError

if TYPE_CHECKING:
    from somascope.archive import Archive

ArchiveOption = Annotated[
    Path | None, typer.Option(help="Archive folder; images are series or instance UIDs.")
]


def noun_of(name: str, archive: Archive | None, noun: str) -> Any:
    """The noun in a file or folder, or behind a UID of the archive; ``name#n`` of several."""
    from somascope.jobs.resolve import from_archive, only

    if archive is not None and not Path(name).exists():
        return from_archive(archive, name, noun=noun)
    path, number = Path(name), None
    stem, hash_, digits = name.rpartition("#")
    if hash_ and digits.isdigit() and not path.exists():
        path, number = Path(stem), int(digits)
    found = only([path], path.name, noun=noun, number=number)
    return _grey(found)


def _grey(noun: Any) -> Any:
    """A colour picture as its brightness: registration compares one value a voxel."""
    from somascope.core import Image

    if not isinstance(noun, Image) or noun.axis_names[:1] != ("channel",):
        return noun
    from dataclasses import replace

    import numpy as np

    weights = np.array([0.299, 0.587, 0.114], np.float32)
    grey = np.tensordot(weights, noun.data.astype(np.float32), axes=1)
    return replace(noun, data=grey, axes=noun.axes[1:])


def register(
    fixed: Annotated[str, typer.Argument(help="The image that stays: file, folder or UID.")],
    moving: Annotated[str, typer.Argument(help="The image that moves.")],
    out: Annotated[
        Path,
        typer.Option(
            "-o", "--out", help="The map: .nii.gz .h5 .tfm .mat .txt .json .dcm, or a folder."
        ),
    ],
    preset: Annotated[
        str | None, typer.Option(help="rigid, affine, deformable, ...; by content if not given.")
    ] = None,
    warped: Annotated[
        Path | None, typer.Option(help="Also write the moving image on the fixed grid.")
    ] = None,
    archive: ArchiveOption = None,
    json_: Annotated[bool, typer.Option("--json", help="Print verdict and map as JSON.")] = False,
) -> None:
    """Find where every point of one image lies in another, and say what that is worth."""
    from somascope.analyze.register import register as run
    from somascope.io import write
    from somascope.io.transforms import write_warp

    store = opened(archive)
    try:
        one, two = (noun_of(n, store, "Image") for n in (fixed, moving))
    finally:
        if store is not None:
            store.close()
    with bar("register") as progress:
        warp = run(one, two, preset, progress=progress)
    write_warp(warp, out)
    if warped is not None:
        write(warp.apply(two, like=one), warped)
    verdict = warp.verdict
    if json_:
        said = {
            "warp": str(out), "warped": str(warped) if warped else None, "preset": warp.preset,
            "matrix": warp.matrix.tolist(), "confidence": warp.confidence,
            "verdict": verdict.plain(),
        }  # fmt: skip
        typer.echo(json.dumps(said))
        return
    typer.echo(f"{out}: {warp.preset}, {verdict.words}")
    words = {"local_correlation": "local correlation", "information": "mutual information"}
    for key, name in words.items():
        typer.echo(f"  {name}: {verdict.before[key]:.3f} before, {verdict.after[key]:.3f} after")
    if warp.displacement is not None:
        low, high, least = verdict.jacobian
        typer.echo(
            f"  volume change {low:.2f} to {high:.2f} (least {least:.2f}), folding "
            f"{verdict.folding:.3%}, there and back {verdict.inverse_error[0]:.3f} mm"
        )


def transform(
    warp: Annotated[Path, typer.Argument(help="The map: a file of `somascope register`.")],
    moving: Annotated[str, typer.Argument(help="The image or mask to carry: file, folder, UID.")],
    like: Annotated[str, typer.Option(help="The fixed image, whose grid is taken.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Result file or folder.")],
    label: Annotated[bool, typer.Option("--label", help="Values are labels.")] = False,
    archive: ArchiveOption = None,
    json_: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
) -> None:
    """Carry an image or a mask through a registration onto the fixed image's grid."""
    from somascope.io import write
    from somascope.io.transforms import read_warp

    store = opened(archive)
    try:
        image = noun_of(moving, store, "Image|Mask")
        grid = noun_of(like, store, "Image|Mask")
    finally:
        if store is not None:
            store.close()
    result = read_warp(warp).apply(image, like=grid, label=label)
    write(result, out)
    if json_:
        typer.echo(json.dumps({"outputs": [str(out)], "label": label}))
    else:
        typer.echo(str(out))


def opened(archive: Path | None) -> Archive | None:
    """The archive in that folder, where one is given."""
    if archive is None:
        return None
    if not archive.is_dir():
        raise ParameterError(f"there is no archive folder {str(archive)!r}")
    from somascope.archive import Archive

    return Archive.open(archive)
