"""``python -m somascope.server.monailabel.training``: train on the archive's outlines."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from somascope.core import Progress
from somascope.core.errors import MissingExtra, ParameterError
from somascope.learn.datasets.stored import Outlined
from somascope.server.background import Background, worked
from somascope.server.monailabel.confined import confine_training, environment

if TYPE_CHECKING:
    from somascope.models.package import Package

MODULE = "somascope.server.monailabel.training"
MINUTES = 30.0
LONGEST = 24 * 60.0


class Training(Background):
    """The one training run of an archive; stopped, it goes on where it was when started again.

    Parameters
    ----------
    root
        The archive's folder; the run's is ``training`` in it.
    """

    def __init__(self, root: Path) -> None:
        super().__init__(root / "training", what="training", remedy="DELETE /train/")
        self._root = root

    def start(
        self, model: str, asked: Mapping[str, Any], *, cases: Callable[[], Sequence[Outlined]]
    ) -> dict[str, Any]:
        """Train ``model``: on from an installed one of that name that was kept with its weights,
        else anew.

        ``asked`` may say ``budget_minutes``; what other servers know besides is not looked at.
        ``cases`` finds what there is to learn from: the process itself asks no index.

        Raises
        ------
        Conflict
            A run is going on.
        ParameterError
            A name or a budget that cannot be.
        MissingExtra
            PyTorch is not installed.
        """
        from somascope.models import installed, package

        minutes = asked.get("budget_minutes", MINUTES)
        number = isinstance(minutes, int | float) and not isinstance(minutes, bool)
        if not number or not 0 < minutes <= LONGEST:
            raise ParameterError(f"budget_minutes is {minutes!r}; give more than 0, up to "
                                 f"{LONGEST:g}")  # fmt: skip
        if not model.startswith("segment.") or model != Path(model).name:
            raise ParameterError(f"a model's name is {model!r}; give segment.NAME")
        reason = unable()
        if reason:
            raise MissingExtra(reason)
        known = installed.models()
        begun = model in known and kept(package.read(known[model]))
        request = {
            "name": self._root.name, "model": model,
            "start": str(known[model]) if begun else None, "minutes": minutes,
            "cases": [asdict(c) for c in cases()],
        }  # fmt: skip
        return self.begin(MODULE, request, {"model": model}, env=environment(os.environ))


def unable() -> str:
    """Why nothing can be trained on this machine; empty where it can."""
    from importlib.util import find_spec

    if find_spec("torch") is None:
        return 'training needs PyTorch: pip install "somascope[learn]"'
    return ""


def kept(packed: Package) -> bool:
    """Whether a model's network can be opened: to be trained on, and to be explained."""
    return "plan.json" in packed.extras  # weights are beside it, or in the graph


def main() -> int:
    """Train once, and install what comes out under the model's name and ``-corrected``."""
    return worked(lambda request, folder, progress: {"result": _trained(request, folder, progress)})


def _trained(request: Mapping[str, Any], folder: Path, progress: Progress) -> str:
    from dataclasses import replace

    confine_training(float(request["minutes"]))
    from somascope.learn.datasets.stored import outlined
    from somascope.learn.make import make
    from somascope.models import installed, package

    model = str(request["model"])
    cases = [Outlined(c["series"], tuple(c["images"]), tuple(c["outline"]))
             for c in request["cases"]]  # fmt: skip
    name = model if model.endswith("-corrected") else f"{model}-corrected"
    made = folder / "made"
    make(
        outlined(str(request["name"]), cases), made, name=name,
        start=request["start"] or None, budget_minutes=float(request["minutes"]), overwrite=True,
        progress=progress,
    )  # fmt: skip
    packed = package.read(made)
    known = installed.models().get(name)
    earlier = package.read(known).card.version if known is not None else "0"
    version = str(int(earlier) + 1) if earlier.isdigit() else earlier + ".1"
    installed.keep(replace(packed, card=replace(packed.card, version=version)), overwrite=True)
    return name


if __name__ == "__main__":
    sys.exit(main())
