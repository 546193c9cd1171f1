"""``register.open_ms``: two contrasts of one head, the second through a known map.

T1 and FLAIR of a patient with multiple sclerosis where the development data is there (both lie on
one grid before the map), else T1 and T2 of the phantom. Both ways round.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from benchmarks.register.case import (
    ANGLES,
    SCALES,
    SHIFT,
    known,
    phantom,
    shared,
    turned,
    volume,
)  # fmt: skip
from benchmarks.register.synthetic import WIDTH, measured

NAMES = "N4_noneck_reduced_winsor_regtoFLAIR_brain_N4_regtoMNI.nii.gz"


def run(*, small: bool) -> Iterator[dict[str, Any]]:
    """Mean and 95 % of the error in the head, and folding; small: the phantom at 48^3."""
    n = 48 if small else 128
    folder = None if small else shared("open_ms", "cross_sectional", "MNI", "patient07")
    if folder is None:
        images, names = [phantom(n, "T1"), phantom(n, "T2")], ["phantom's T1", "phantom's T2"]
    else:
        names = ["T1", "FLAIR"]
        images = [volume(folder / f"{name}_{NAMES}", n) for name in names]
    for k in (0, 1)[: 1 if small else 2]:
        matrix = turned(images[k].grid, ANGLES, SHIFT, SCALES)
        pair = known(images[k], images[1 - k], matrix=matrix, width=WIDTH[small], seed=k)
        what = f"{names[k]} and {names[1 - k]}"
        yield from measured("register.open_ms", what, pair, small=small, other=True)
