"""Groupwise registration of a series in time: every volume to the mean of all, none favoured.

The mean and the maps are found in turn; after each round the maps are centred, so that their mean
is the identity and the common space is the mean position (Joshi et al., NeuroImage 23 (2004)
S151-S160; Metz et al., Med. Image Anal. 15 (2011) 238-249).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np

from somascope.analyze.register.engine import register
from somascope.analyze.register.presets import Name
from somascope.analyze.register.transform import compose, invert
from somascope.analyze.register.verdict import Verdict
from somascope.core import QUIET, Image, Param, Progress, Warp, operation
from somascope.core.errors import GeometryError


@dataclass(frozen=True, eq=False)
class Group:
    """``aligned``: the series in the common space; ``mean`` of it; ``warps`` from there to each.

    ``verdicts``: of each volume's last registration to the mean.
    """

    aligned: Image
    mean: Image
    warps: tuple[Warp, ...]
    verdicts: tuple[Verdict, ...] = ()

    @property
    def words(self) -> str:
        """``trusted``, or which volumes (from 1) are not to be trusted and why, a line each."""
        bad = [f"volume {k}: {v.words}" for k, v in enumerate(self.verdicts, 1) if not v.trusted]
        if not bad:
            return "trusted"
        return "\n".join([f"{len(bad)} of {len(self.verdicts)} volumes badly aligned", *bad])


@operation("analyze.align_series")
def align_series(
    image: Image,
    *,
    preset: Annotated[Name, Param("What may move between the volumes")] = "rigid",
    rounds: Annotated[
        int, Param("Times the mean is made anew", minimum=1, maximum=10, advanced=True)
    ] = 2,
    progress: Progress = QUIET,
) -> Image:
    """Align the volumes of a series with each other, in the mean of their positions.

    ``(n, nz, ny, nx)`` of a heart, a perfusion or a repeated scan; the same shape comes out.
    Volumes whose alignment is not to be trusted are told in ``ImageComments``.
    """
    group = groupwise(image, preset=preset, rounds=rounds, progress=progress)
    if all(v.trusted for v in group.verdicts):
        return group.aligned
    facts = group.aligned.attributes
    told = "\n".join(filter(None, [str(facts.get("ImageComments") or ""), group.words]))
    return replace(group.aligned, attributes={**facts, "ImageComments": told})


def groupwise(
    image: Image, *, preset: Name = "rigid", rounds: int = 2, progress: Progress = QUIET
) -> Group:
    """The maps from the common space of a series ``(n, nz, ny, nx)`` to each of its volumes.

    Raises
    ------
    GeometryError
        Not a series of at least two volumes along one axis.
    """
    if image.data.ndim != 4 or len(image.data) < 2:
        raise GeometryError(
            f"groupwise: the image has shape {image.data.shape}; give a series of volumes "
            "(n, z, y, x) with n of 2 or more"
        )
    frames = [_frame(image, k) for k in range(len(image.data))]
    # The mean of what has moved is blurred: the first round goes to one volume.
    mean = frames[len(frames) // 2]
    warps: list[Warp] = [Warp(matrix=np.eye(4)) for _ in frames]
    verdicts: list[Verdict] = []
    for turn in range(rounds):
        found: list[Warp] = []
        verdicts.clear()
        for k, (frame, last) in enumerate(zip(frames, warps, strict=True)):
            progress((turn + k / len(frames)) / rounds, f"round {turn + 1}, volume {k + 1}")
            begin = replace(last, grid=None, displacement=None)
            made = register(mean, frame, preset, start=begin)
            found.append(_plain(made))
            verdicts.append(made.verdict)
        away = invert(_average(found, rigid=preset in ("rigid", "followup")))
        warps = [compose(away, warp) for warp in found]
        moved = [warp.apply(f, like=mean) for f, warp in zip(frames, warps, strict=True)]
        mean = mean.with_data(np.mean([m.data for m in moved], axis=0))
    data = np.stack([warp.apply(f, like=mean).data for f, warp in zip(frames, warps, strict=True)])
    aligned = image.with_data(data.astype(np.float32))
    group = Group(aligned, mean, tuple(warps), tuple(verdicts))
    progress(1.0, group.words.partition("\n")[0])
    return group


def _frame(image: Image, k: int) -> Image:
    return replace(image, data=image.data[k], axes=image.axes[1:])


def _plain(warp: Warp) -> Warp:
    return Warp(matrix=warp.matrix, grid=warp.grid, displacement=warp.displacement)


def _average(warps: list[Warp], *, rigid: bool) -> Warp:
    """The mean map: of matrices (brought back to a turn) and of displacements, on their grid."""
    matrix = np.mean([w.matrix for w in warps], axis=0)
    if rigid:
        u, _, vt = np.linalg.svd(matrix[:3, :3])
        matrix[:3, :3] = u @ vt
    bent = [(w.grid, np.asarray(w.displacement)) for w in warps if w.displacement is not None]
    if not bent:
        return Warp(matrix=matrix)
    total = np.sum([d for _, d in bent], axis=0) / len(warps)
    return Warp(matrix=matrix, grid=bent[0][0], displacement=total.astype(np.float32))
