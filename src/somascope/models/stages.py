"""Two models in one package: the first says where, the second outlines there.

The package is that of the second (``model.onnx``, and ``card.json`` under a name of its own) with
``first.onnx``, ``first.json`` (the first one's card) and ``second.json`` (the second one's card as
it was) beside it, and what the second one is opened from to be explained. What
runs is `somascope.models.within.Within`, as if both were named by hand.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import replace

from somascope.core import QUIET, Finding, Image, Progress
from somascope.core.errors import ParameterError
from somascope.core.grid import Array
from somascope.models import segment
from somascope.models.card import NetworkCard, Sees, Stages
from somascope.models.engine import Kind
from somascope.models.package import FIRST, FIRST_CARD, OPENED, SECOND_CARD, Package
from somascope.models.prepare import Levels
from somascope.models.run import Network
from somascope.models.within import Within


class Staged(Network):
    """A package of two stages (a `somascope.core.Model`).

    Parameters
    ----------
    packed
        What `package.read` gave, of a card with `NetworkCard.stages`.
    kind, threads
        See `engine.start`.
    """

    def __init__(self, packed: Package, *, kind: Kind = "auto", threads: int | None = None) -> None:
        super().__init__(packed, kind=kind, threads=threads)
        stages = packed.card.stages
        if stages is None:
            raise ParameterError(f"{packed.card.name} has one stage; run it as it is")
        self.first, self.second = (Network(p, kind=kind, threads=threads) for p in parts(packed))
        self._pair = Within(self.first, self.second, margin_mm=stages.margin_mm, sees=stages.sees)

    def labels(self, image: Image, *, anyway: bool = False, progress: Progress = QUIET) -> Array:
        """Class numbers ``(z, y, x)`` on the image's grid."""
        return self._pair.answer(image, anyway=anyway, progress=progress)[0]

    def part(self, image: Image, *, anyway: bool = False) -> tuple[Image, Levels | None]:
        """What the second stage is given of an image; see `within.Within.part`."""
        return self._pair.part(image, anyway=anyway)[:2]

    def __call__(
        self, *images: Image, anyway: bool = False, progress: Progress = QUIET
    ) -> list[Finding]:
        """One `Mask` on the image's grid; its provenance says where was looked, and by what.

        Raises
        ------
        Refused
            Outside the card of one of the stages.
        """
        for image in images:
            self.card.check(self.card.declared(image), anyway=anyway)
        return self._pair(*images, anyway=anyway, progress=progress)


def opened(packed: Package, *, kind: Kind = "auto", threads: int | None = None) -> Network:
    """The model of a package, of one stage or of two."""
    if packed.card.stages is None:
        return Network(packed, kind=kind, threads=threads)
    return Staged(packed, kind=kind, threads=threads)


def labels_of(
    model: Network, image: Image, *, probabilities: bool = False, anyway: bool = False
) -> tuple[Array, Array | None]:
    """What a model to segment says of an image, whatever its stages: see `segment.answer`.

    One of two stages tells no probabilities: None.
    """
    if isinstance(model, Staged):
        return model.labels(image, anyway=anyway), None
    return segment.answer(model.card, model.engine, image, probabilities=probabilities)


def parts(packed: Package) -> tuple[Package, Package]:
    """First and second stage as models; the second goes by the name of the whole."""
    first = NetworkCard.from_json(packed.extras[FIRST_CARD])
    second = NetworkCard.from_json(packed.extras[SECOND_CARD])
    own = packed.card
    second = replace(second, name=own.name, version=own.version, sha256=own.sha256)
    return Package(first, packed.extras[FIRST]), Package(second, packed.graph)


def join(
    first: Package,
    second: Package,
    *,
    name: str,
    version: str = "1",
    margin_mm: float = 20.0,
    sees: Sees = "image",
) -> Package:
    """One package of two models.

    Parameters
    ----------
    first
        To detect or to segment: says where to look.
    second
        To segment: outlines there.
    margin_mm, sees
        See `somascope.models.within.Within`.

    Raises
    ------
    ParameterError
        Models that cannot be one after the other, or one that has two stages itself.
    """
    for one in (first, second):
        if one.card.stages is not None:
            raise ParameterError(f"{one.card.name} has two stages already; join single models")
    Within(Network(first), Network(second), margin_mm=margin_mm, sees=sees)
    a, b = first.card, second.card
    texts = [c.to_json().encode() for c in (a, b)]
    digests = [hashlib.sha256(t).hexdigest() for t in texts]
    low = max(a.spacing_mm[0], b.spacing_mm[0])
    high = min(a.spacing_mm[1], b.spacing_mm[1])
    kinds = [m for m in b.modalities if not a.modalities or m in a.modalities]
    if (b.modalities and not kinds) or low >= high:
        raise ParameterError(f"no image is within the cards of both {a.name} and {b.name}: other "
                             "modalities or voxels")  # fmt: skip
    region = sees == "region"
    note = (f"Both stages together were not judged here; {a.name} and {b.name} have figures of "
            "their own (first.json, second.json).")  # fmt: skip
    card = replace(
        b, name=name, version=version,
        summary=f"{b.summary}, within what {a.name} finds ({a.summary})",
        modalities=tuple(kinds) or a.modalities, spacing_mm=(low, high), metrics=(),
        licence=b.licence if a.licence == b.licence else f"{a.licence}; {b.licence}",
        training_data=f"{a.name}: {a.training_data}; {b.name}: {b.training_data}",
        familiar=None if region else b.familiar,
        intensity=(-math.inf, math.inf) if region else b.intensity,
        body_parts=a.body_parts if region else b.body_parts,
        limits=(
            *dict.fromkeys((*a.limits, *b.limits)),
            note,
        ),
        stages=Stages(digests[0], digests[1], margin_mm, sees),
    )  # fmt: skip
    extras = {FIRST: first.graph, FIRST_CARD: texts[0], SECOND_CARD: texts[1]}
    extras |= {k: second.extras[k] for k in OPENED if k in second.extras}
    return Package(card, second.graph, extras)
