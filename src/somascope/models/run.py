"""`Network`: a model from a file; a card and a call."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from somascope.core import QUIET, Finding, Image, Progress
from somascope.core.errors import ParameterError, Refused
from somascope.core.grid import Float
from somascope.models import classify, detect, package, register, segment
from somascope.models.card import NetworkCard
from somascope.models.engine import Engine, Kind, Runtime, start
from somascope.models.thinned import Thinned, gates
from somascope.process.chunks import cores


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
        self._runtime: Runtime | None = None

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

    def thinned(self, seed: int) -> Engine:
        """The graph with one draw of its dropouts; see `somascope.models.thinned`.

        Raises
        ------
        ParameterError
            The graph was exported without them.
        """
        if self._runtime is None:
            self._runtime = Runtime(self._packed.graph, self._threads or cores())
        drawn = gates(self._runtime.optional())
        if not drawn:
            raise ParameterError(
                f"{self.card.name} has no dropout that could be drawn: its network has none, or "
                "was exported without it. Ask several models, or mirrored images, instead"
            )
        return Thinned(self._runtime, drawn, seed=seed)

    def __call__(
        self,
        *images: Image,
        objects: Sequence[Sequence[float]] | Float | None = None,
        anyway: bool = False,
        progress: Progress = QUIET,
    ) -> list[Finding]:
        """Findings on one image (``register``: fixed, then moving).

        ``objects`` are the corners of what a model of single objects classifies, in voxel edges
        (`somascope.models.single`). ``anyway`` looks at images too that are unlike the training
        images.

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
        if objects is not None:
            return classify.objects(self.card, self.engine, images[0], objects, progress=progress)
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

    packed = package.read(installed.place(model))
    if packed.card.stages is not None:
        from somascope.models.stages import Staged  # which is made of two of these

        return Staged(packed, kind=kind, threads=threads)
    return Network(packed, kind=kind, threads=threads)
