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
    from somascope.core import Grid, Warp

ArchiveOption = Annotated[
    Path | None, typer.Option(help="Archive folder; images are series or instance UIDs.")
]


def noun_of(name: str, archive: Archive | None, noun: str, *, colour: bool = False) -> Any:
    """The noun in a file or folder, or behind a UID of the archive; ``name#n`` of several.

    A picture in colours becomes gray unless ``colour`` is asked for.
    """
    from somascope.jobs.resolve import from_archive, only

    if archive is not None and not Path(name).exists():
        found = from_archive(archive, name, noun=noun)
        return found if colour else _grey(found)
    path, number = Path(name), None
    stem, hash_, digits = name.rpartition("#")
    if hash_ and digits.isdigit() and not path.exists():
        path, number = Path(stem), int(digits)
    found = only([path], path.name, noun=noun, number=number)
    return found if colour else _grey(found)


def _grey(noun: Any) -> Any:
    """A colour picture as its brightness: registration compares one value a voxel."""
    from somascope.core import Image

    if not isinstance(noun, Image) or noun.axis_names[:1] != ("channel",):
        return noun
    from dataclasses import replace

    import numpy as np

    weights = np.array([0.299, 0.587, 0.114], np.float32)
    grey = np.tensordot(weights, noun.data.astype(np.float32), axes=1)
    if noun.data.dtype.kind == "u":
        grey = np.rint(grey).astype(noun.data.dtype)
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
    fsl: Annotated[
        bool, typer.Option("--fsl", help="Write a .mat as FSL's FLIRT reads it, not as ANTs does.")
    ] = False,
    archive: ArchiveOption = None,
    json_: Annotated[bool, typer.Option("--json", help="Print verdict and map as JSON.")] = False,
) -> None:
    """Find where every point of one image lies in another, and say what that is worth."""
    from somascope.analyze.register import register as run
    from somascope.io import write
    from somascope.io.transforms import to_fsl, write_warp

    _fits(out, warped, preset, fsl=fsl)
    store = opened(archive)
    try:
        one, two = (noun_of(n, store, "Image") for n in (fixed, moving))
    finally:
        if store is not None:
            store.close()
    pictures = (".png", ".jpg", ".jpeg")
    if warped is not None and warped.suffix.lower() in pictures and two.grid.shape[0] > 1:
        raise ParameterError(
            f"--warped {warped.name}: a picture holds one plane and {moving} has "
            f"{two.grid.shape[0]}; write .nii.gz or a folder for DICOM"
        )
    with bar("register") as progress:
        warp = run(one, two, preset, progress=progress)
    if fsl:
        from somascope.io.atomic import replacing

        rows = to_fsl(warp, one.grid, two.grid)
        text = "".join("  ".join(f"{v:.10g}" for v in row) + "\n" for row in rows)
        with replacing(out) as file:
            file.write(text.encode())
    else:
        write_warp(_gridded(warp, one.grid, out), out)
    if warped is not None:
        write(_as_given(warp.apply(two, like=one), two, warped), warped)
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
    for note in verdict.notes:
        typer.echo(f"  {note}")


def _fits(out: Path, warped: Path | None, preset: str | None, *, fsl: bool) -> None:
    """Refuse what could not be written before the work begins, not after it."""
    from somascope.analyze.register.presets import PRESETS
    from somascope.io.transforms import LINEAR, SUFFIXES
    from somascope.io.write import known, suffix_of

    suffix = suffix_of(out)
    if suffix not in ("", *SUFFIXES):
        raise ParameterError(
            f"-o {out.name}: {suffix!r} names no format of maps; use one of {', '.join(SUFFIXES)}, "
            "or a folder for DICOM"
        )
    if fsl and suffix != ".mat":
        raise ParameterError(f"--fsl writes FLIRT's matrix: -o NAME.mat, not {out.name}")
    bends = preset is None or (preset in PRESETS and PRESETS[preset].dense)
    if suffix in LINEAR and bends:
        linear = ", ".join(n for n, p in PRESETS.items() if not p.dense)
        raise ParameterError(
            f"-o {out.name}: {suffix} holds linear maps and "
            f"{'the preset by content' if preset is None else preset} may bend; say --preset with "
            f"one of {linear}, or write .nii.gz, .h5 or .dcm"
        )
    if warped is not None and suffix_of(warped) and not known(warped):
        raise ParameterError(
            f"--warped {warped.name}: {suffix_of(warped)!r} names no format of images; use "
            ".nii.gz, .nrrd, .mha, .png, .dcm, or a folder for DICOM"
        )


def _as_given(result: Any, given: Any, path: Path) -> Any:
    """Values whole again where a picture or colours are written: between pixels they are not."""
    import numpy as np

    from somascope.core import Image

    kind = given.data.dtype
    picture = path.suffix.lower() in (".png", ".jpg", ".jpeg")
    if not isinstance(result, Image) or kind not in (np.uint8, np.uint16):
        return result
    if not picture and result.axis_names[:1] != ("channel",):
        return result
    most = np.iinfo(kind).max
    return result.with_data(np.clip(np.rint(result.data), 0, most).astype(kind))


def _labels(image: Any) -> bool:
    """Whether an image holds a few whole numbers from 0 on, as a label map does."""
    from somascope.core import Image
    from somascope.process.labelled import labelled

    mask = labelled(image) if isinstance(image, Image) else None
    return mask is not None and len(mask.segments) <= 32


def _gridded(warp: Warp, grid: Grid, path: Path) -> Warp:
    """A linear map as a field on the fixed image's grid where a field is written."""
    from dataclasses import replace

    import numpy as np

    if warp.displacement is not None or not path.name.endswith((".nii", ".nii.gz")):
        return warp
    return replace(warp, grid=grid, displacement=np.zeros((3, *grid.shape), np.float32))


def _warp_of(path: Path, fixed: Grid, moving: Grid) -> Warp:
    """A map in a file; FLIRT's four rows count in the voxels of both images."""
    import numpy as np

    from somascope.io.transforms import from_fsl, read_warp

    if path.is_file() and path.stat().st_size < 4096:
        try:
            lines = path.read_text(encoding="ascii").splitlines()
            rows = np.array([line.split() for line in lines if line.strip()], float)
        except (ValueError, UnicodeDecodeError):
            rows = np.zeros(0)
        if rows.shape == (4, 4):
            return from_fsl(rows, fixed, moving)
    return read_warp(path)


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
    from somascope.analyze.register.transform import meeting
    from somascope.io import write

    store = opened(archive)
    try:
        image = noun_of(moving, store, "Image|Mask", colour=True)
        grid = noun_of(like, store, "Image|Mask")
    finally:
        if store is not None:
            store.close()
    map_ = _warp_of(warp, grid.grid, image.grid)
    meeting(map_, grid.grid, image.grid, (warp.name, like, moving))
    if not label and _labels(image):
        typer.echo(f"somascope: {moving} looks like labels; --label invents none between", err=True)
    result = map_.apply(image, like=grid, label=label)
    write(_as_given(result, image, out), out)
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
