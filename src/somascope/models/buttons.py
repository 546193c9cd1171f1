"""The shipped models as operations of their own: each is a button, a command and a REST call."""

from __future__ import annotations

from typing import cast

from somascope.core import QUIET, Image, Label, Progress, operation
from somascope.models.operations import opened


@operation("classify.pneumonia")
def pneumonia(image: Image, *, progress: Progress = QUIET) -> Label:
    """Tell pneumonia from normal on a frontal chest X-ray of a child.

    The network sees 28 x 28 pixels (PneumoniaMNIST); research and teaching, not for clinical use.
    """
    from dataclasses import replace

    (found,) = opened("classify.pneumonia", "classify")(image, progress=progress)
    return replace(cast("Label", found), provenance=image.provenance)
