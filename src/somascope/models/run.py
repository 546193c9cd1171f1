"""`Network`: a model from a file; a card and a call."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from somascope.core import QUIET, Finding, Image, Progress
from somascope.core.errors import NotFound, Refused
from somascope.models import classify, detect, package, register, segment
from somascope.models.card import NetworkCard
from somascope.models.engine import Engine, Kind, start


class Network:
    """A trained network (a `somascope.core.Model`).

    Parameters
    ----------
    packed
        What `package.read` gave.
    kind, threads
        See `engine.start`.
    """

    def __init__(
        self, packed: package.Package, *, kind: Kind = "auto", threads: int | None = None
    ) -> None:
        self._packed = packed
        self._kind: Kind = kind
        self._threads = threads
        self._engine: Engine | None = None

    @property
    def card(self) -> NetworkCard:
        """What it is and accepts."""
        return self._packed.card

    @property
    def engine(self) -> Engine:
        """The graph, ready to run; started with the first use."""
        if self._engine is None:
            heavy = self.card.dimensions == 3 and self.card.task == "segment"
            self._engine = start(
                self._packed.graph, kind=self._kind, threads=self._threads, heavy=heavy
            )
        return self._engine

    def __call__(
        self, *images: Image, anyway: bool = False, progress: Progress = QUIET
    ) -> list[Finding]:
        """Findings on one image (``register``: fixed, then moving).

        ``anyway`` looks at images too that are unlike the training images.

        Raises
        ------
        Refused
            Outside the card: modality, dimensions, voxel size, values, number of images.
        """
        wanted = 2 if self.card.task == "register" else 1
        if len(images) != wanted:
            raise Refused(
                f"{self.card.name} reads {wanted} image(s) at a time; {len(images)} given"
            )
        images = tuple(self.card.declared(i) for i in images)
        for image in images:
            self.card.check(image, anyway=anyway)
        task: Any = {
            "classify": classify.findings, "segment": segment.findings,
            "detect": detect.findings, "register": register.findings,
        }[self.card.task]  # fmt: skip
        return task(self.card, self.engine, images, progress=progress)


def load(model: str | Path, *, kind: Kind = "auto", threads: int | None = None) -> Network:
    """A model by path (folder or ZIP file) or by the name of an installed one.

    Raises
    ------
    NotFound
        Neither a path nor a name; the message lists the names.
    """
    from somascope.models import installed

    path = Path(model)
    if not path.exists():
        known = installed.models()
        if str(model) not in known:
            raise NotFound(
                f"there is no model {str(model)!r}: no such file or folder, and installed are "
                f"{', '.join(known) or 'none'}"
            )
        path = known[str(model)]
    return Network(package.read(path), kind=kind, threads=threads)
