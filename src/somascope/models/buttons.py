"""The shipped models as operations of their own: each is a button, a command and a REST call."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, cast

from somascope.core import QUIET, Box, Image, Label, Mask, Param, Progress, Warp, operation
from somascope.models.operations import opened

ANYWAY = Param("Look at images too that are unlike those the model was trained on")


@operation("classify.adrenal")
def adrenal(
    image: Image, *, anyway: Annotated[bool, ANYWAY] = False, progress: Progress = QUIET
) -> Label:
    """Tell hyperplasia from a normal adrenal gland by its shape (a label map of 64 mm a side).

    The network was trained on AdrenalMNIST3D; research and teaching, not for clinical use.
    """
    return _label("classify.adrenal", image, anyway=anyway, progress=progress)


@operation("classify.breast_ultrasound")
def breast_ultrasound(
    image: Image, *, anyway: Annotated[bool, ANYWAY] = False, progress: Progress = QUIET
) -> Label:
    """Tell benign, malignant and normal breast ultrasound apart.

    The networks were trained on 144 images (BUSI); research and teaching, not for clinical use.
    """
    return _label("classify.breast-ultrasound", image, anyway=anyway, progress=progress)


@operation("classify.pneumonia")
def pneumonia(
    image: Image, *, anyway: Annotated[bool, ANYWAY] = False, progress: Progress = QUIET
) -> Label:
    """Tell pneumonia from normal on a frontal chest X-ray of a child.

    The network sees 28 x 28 pixels (PneumoniaMNIST); research and teaching, not for clinical use.
    """
    return _label("classify.pneumonia", image, anyway=anyway, progress=progress)


@operation("detect.blood_cells")
def blood_cells(
    image: Image, *, anyway: Annotated[bool, ANYWAY] = False, progress: Progress = QUIET
) -> list[Box]:
    """Put boxes around red and white blood cells and platelets in a stained smear.

    The network was trained on BCCD; research and teaching, not for clinical use.
    """
    found = cast(
        "list[Box]", opened("detect.blood-cells", "detect")(image, anyway=anyway, progress=progress)
    )
    return [replace(b, provenance=image.provenance) for b in found]


@operation("register.hippocampus")
def register_hippocampus(
    fixed: Image,
    moving: Image,
    *,
    anyway: Annotated[bool, ANYWAY] = False,
    progress: Progress = QUIET,
) -> Warp:
    """Lay one T1 MR crop of a hippocampus on another, in one pass of a network.

    The network was trained on the Decathlon's Task04; research and teaching, not for clinical use.
    """
    (found,) = opened("register.hippocampus", "register")(
        fixed, moving, anyway=anyway, progress=progress
    )
    return replace(cast("Warp", found), provenance=fixed.provenance)


@operation("segment.hippocampus")
def hippocampus(
    image: Image, *, anyway: Annotated[bool, ANYWAY] = False, progress: Progress = QUIET
) -> Mask:
    """Outline the anterior and posterior hippocampus in a T1 MR crop around it.

    The network was trained on the Decathlon's Task04; research and teaching, not for clinical use.
    """
    return _mask("segment.hippocampus", image, anyway=anyway, progress=progress)


@operation("segment.left_ventricle")
def left_ventricle(
    image: Image, *, anyway: Annotated[bool, ANYWAY] = False, progress: Progress = QUIET
) -> Mask:
    """Outline the blood of the left ventricle in a short-axis cine MR slice.

    The networks were trained on eight patients (Sunnybrook); research and teaching, not for
    clinical use.
    """
    return _mask("segment.left-ventricle", image, anyway=anyway, progress=progress)


@operation("segment.vessels")
def vessels(
    image: Image, *, anyway: Annotated[bool, ANYWAY] = False, progress: Progress = QUIET
) -> Mask:
    """Outline the blood vessels of the retina in a fundus photograph.

    The network was trained on DRIVE; research and teaching, not for clinical use.
    """
    return _mask("segment.vessels", image, anyway=anyway, progress=progress)


def _label(name: str, image: Image, *, anyway: bool, progress: Progress) -> Label:
    (found,) = opened(name, "classify")(image, anyway=anyway, progress=progress)
    return replace(cast("Label", found), provenance=image.provenance)


def _mask(name: str, image: Image, *, anyway: bool, progress: Progress) -> Mask:
    (found,) = opened(name, "segment")(image, anyway=anyway, progress=progress)
    return replace(cast("Mask", found), provenance=image.provenance)
