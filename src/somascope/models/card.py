"""The card of a network: what it is, what it may look at, how well it did, and how it is fed."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal, TypeAlias, cast, get_args

import numpy as np

from somascope.core import Card, Code, Image
from somascope.core.errors import CorruptFile, Refused
from somascope.core.grid import Array
from somascope.models.classical import Features
from somascope.models.familiar import Familiar
from somascope.models.frames import as_slices
from somascope.models.onnxfile import ELEMENTS
from somascope.models.prepare import Preparation
from somascope.models.single import Single

FORMAT = "somascope-model"
VERSION = 1
Sees: TypeAlias = Literal["image", "region"]
"""What the second of two models was trained on."""
TASKS = ("classify", "detect", "segment", "register", "reconstruct")
COLOURS = (
    (255, 190, 60), (90, 180, 255), (240, 110, 110), (120, 220, 130), (200, 140, 255),
    (255, 240, 120), (110, 225, 220), (255, 150, 210),
)  # fmt: skip
"""Of the classes in a mask, in turn."""


@dataclass(frozen=True)
class ClassName:
    """One class in the order of the network's output, and its code."""

    name: str
    code: Code

    @classmethod
    def named(cls, name: str) -> ClassName:
        """A class that no coding scheme is known for: its name is its code, in ``99SOMASCOPE``."""
        value = "".join(c for c in name if c.isalnum() or c in "-_.")[:16] or "CLASS"
        return cls(name, Code(value, "99SOMASCOPE", name))


@dataclass(frozen=True)
class Stages:
    """Of a package of two models: what is beside the second, which the card is of.

    ``first`` and ``second`` are SHA-256 of ``first.json`` and ``second.json``; ``margin_mm`` and
    ``sees`` as `somascope.models.within.Within` has them.
    """

    first: str
    second: str
    margin_mm: float
    sees: Sees


@dataclass(frozen=True)
class Metric:
    """A figure of merit with its 95 % interval: over ``cases`` cases of ``on``."""

    name: str
    value: float
    low: float
    high: float
    cases: int
    on: str


@dataclass(frozen=True)
class NetworkCard(Card):
    """What a network is, the inputs it accepts, and everything needed to run it.

    Parameters
    ----------
    classes
        In the order of the network's output; for ``segment`` without the background, which is
        output 0.
    channels
        1 (gray) or 3 (R, G, B).
    preparation
        How an image becomes the network's input.
    patch
        Tile ``(z, y, x)`` (``(y, x)`` in 2-D) of segmentation and detection; empty: the whole.
    overlap
        Part of a tile that its neighbour sees too.
    stride
        Pixels of the input per cell of a detector's map.
    threshold
        Least confidence of a box; probability from which the second class of two is said.
    intensity
        Smallest and largest value (1st and 99th percentile) that an image may have.
    temperature
        Divides the logits, so that probabilities are frequencies (Guo et al., ICML 2017).
    offsets
        Added to the divided logits of a classifier, one a class: how frequent each is; or empty.
    conformal
        Miscoverage and the least probability of a class in the prediction set (split conformal);
        empty where none was computed.
    body_parts
        BodyPartExamined of the training images, where they say one; an image that says another is
        refused.
    familiar
        What is usual among the training images; None where nobody kept it.
    frames
        Reads the frames of a film as slices, in order.
    features
        What a classical model reads in place of voxels: radiomics; None: it is a network.
    single
        It classifies single objects of an image, and sees so much around each; None: whole images.
    stages
        Another model says where this one looks: a package of two. None: it looks everywhere.
    sha256
        Of ``model.onnx``.
    """

    classes: tuple[ClassName, ...] = ()
    channels: int = 1
    preparation: Preparation = field(default_factory=Preparation)
    patch: tuple[int, ...] = ()
    overlap: float = 0.5
    stride: int = 1
    threshold: float = 0.5
    intensity: tuple[float, float] = (-math.inf, math.inf)
    temperature: float = 1.0
    offsets: tuple[float, ...] = ()
    conformal: tuple[float, ...] = ()
    metrics: tuple[Metric, ...] = ()
    intended_use: str = "Research and teaching. Not for clinical use."
    limits: tuple[str, ...] = ()
    body_parts: tuple[str, ...] = ()
    familiar: Familiar | None = None
    frames: bool = False
    features: Features | None = None
    single: Single | None = None
    stages: Stages | None = None
    sha256: str = ""

    def check(self, image: Image, *, anyway: bool = False) -> None:
        """Raise `Refused` naming the first way in which ``image`` is outside this card.

        ``anyway`` lets images pass that are readable but unlike the training images.
        """
        if self.task == "reconstruct":
            raise Refused(f"{self.name} reads k-space, no images; use models.reconstruct")
        super().check(image)
        self._check_axes(image)
        self._check_values(image)
        part = str(image.attributes.get("BodyPartExamined", "")).strip().upper()
        if part and self.body_parts and part not in self.body_parts:
            raise Refused(
                f"{self.name} knows {', '.join(self.body_parts)}; this image says it shows {part}"
            )
        if self.familiar is not None and not anyway:
            distance, said = self.familiar.distance(image)
            if distance > self.familiar.limit:
                raise Refused(
                    f"{self.name}: the image is unlike those it was trained on (distance "
                    f"{distance:.1f}, at most {self.familiar.limit:.1f} is usual; {said}). Check "
                    "body part, direction and series; to look at it all the same, say anyway"
                )

    def _check_axes(self, image: Image) -> None:
        wide = [(a.name, n) for a, n in zip(image.axes, image.shape, strict=False) if n > 1]
        if [w for w in wide if w != ("channel", 3)]:
            name, n = wide[0]
            raise Refused(
                f"{self.name} reads one picture and this image has {n} along {name!r}; choose one "
                f"with image.at({name}=0)"
            )
        if image.data.dtype.kind == "c":
            raise Refused(f"{self.name} reads real values and this image is complex; take the "
                          "magnitude first")  # fmt: skip
        coloured = [a.name for a in image.axes] == ["channel"] and image.shape[0] == 3
        if self.channels == 3 and not coloured:
            raise Refused(f"{self.name} reads colours (R, G, B) and this image is gray")
        if self.channels == 1 and coloured and _spotted(image.data):
            raise Refused(
                f"{self.name} reads gray and this image has colours; give the image itself, not a "
                "coloured picture of it"
            )

    def _check_values(self, image: Image) -> None:
        least, most = float(image.data.min()), float(image.data.max())
        if not (math.isfinite(least) and math.isfinite(most)):
            raise Refused(f"{self.name}: the image holds values that are not finite; mend it first")
        if least == most:
            raise Refused(
                f"{self.name}: every value of the image is {least:g}; there is nothing to look at"
            )
        few = image.data[..., :: max(image.grid.shape[0] // 32, 1), :, :]
        low, high = (float(v) for v in np.percentile(few.astype(np.float32), (1, 99)))
        if low < self.intensity[0] or high > self.intensity[1]:
            raise Refused(
                f"{self.name} reads values of {self.intensity[0]:g} to {self.intensity[1]:g}; this "
                f"image has {low:g} to {high:g}. Give it in the unit of the training images"
            )

    def declared(self, image: Image) -> Image:
        """The image under the card's modality where its file cannot say one (PNG, NIfTI, npz);
        a film as slices where the card reads `frames`.
        """
        if self.frames:
            image = as_slices(image)
        kinds = {s.kind for s in image.provenance.sources}
        if image.modality == "OT" and self.modalities and kinds <= {"file"}:
            return replace(image, modality=self.modalities[0])
        return image

    def to_json(self) -> str:
        """The card as JSON text; infinities are null."""
        record = asdict(self)
        record["spacing_mm"] = [_finite(v) for v in self.spacing_mm]
        record["intensity"] = [_finite(v) for v in self.intensity]
        for metric in record["metrics"]:
            metric |= {k: _finite(metric[k]) for k in ("value", "low", "high")}
        record["familiar"] = None if self.familiar is None else self.familiar.to_record()
        record["features"] = None if self.features is None else self.features.to_record()
        record |= {"format": FORMAT, "format_version": VERSION}
        record["preparation_digest"] = self.preparation.digest()
        text = json.dumps(record, indent=1, ensure_ascii=False, sort_keys=True, allow_nan=False)
        return text + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> NetworkCard:
        """Read what `to_json` wrote; `CorruptFile` names the first field that is wrong."""
        try:
            record = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise CorruptFile(f"card.json is not JSON ({error})") from error
        if not isinstance(record, dict) or record.get("format") != FORMAT:
            raise CorruptFile(f'card.json does not say "format": {FORMAT!r}: no model\'s card')
        if record.get("format_version") != VERSION:
            raise CorruptFile(
                f"card.json is of format version {record.get('format_version')!r} and {VERSION} is "
                "read here; update Somascope"
            )
        return _card(cast("dict[str, Any]", record))


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _spotted(data: Array) -> bool:
    """Whether more than a hundredth of the pixels have a colour that is seen."""
    few = data[:, :, ::2, ::2].astype(np.float32)
    apart = few.max(axis=0) - few.min(axis=0)
    return bool((apart > 0.1 * max(float(few.max()), 1e-6)).mean() > 0.01)


def _metric(record: dict[str, Any]) -> Metric:
    """A figure; those that do not exist (of no case) are null in JSON, NaN here."""
    value, low, high = (
        math.nan if record[k] is None else float(record[k]) for k in ("value", "low", "high")
    )
    return Metric(
        _text(record, "name"), value, low, high, int(record["cases"]), _text(record, "on")
    )


def _card(record: dict[str, Any]) -> NetworkCard:
    known = {f.name for f in fields(NetworkCard)} | {
        "format", "format_version", "preparation_digest",
    }  # fmt: skip
    strange = sorted(set(record) - known)
    if strange:
        raise CorruptFile(f"card.json has a field {strange[0]!r} that is not known here")
    try:
        low, high = record["spacing_mm"]
        least, most = record["intensity"]
        card = NetworkCard(
            name=_text(record, "name"), version=_text(record, "version"),
            task=_text(record, "task"), summary=_text(record, "summary"),
            modalities=tuple(map(str, record["modalities"])),
            dimensions=int(record["dimensions"]),
            spacing_mm=(float(low or 0.0), math.inf if high is None else float(high)),
            licence=_text(record, "licence"), training_data=_text(record, "training_data"),
            classes=tuple(
                ClassName(str(c["name"]), Code(**{k: str(v) for k, v in c["code"].items()}))
                for c in record["classes"]
            ),
            channels=int(record["channels"]),
            preparation=Preparation.from_record(record["preparation"]),
            patch=tuple(int(n) for n in record["patch"]),
            overlap=float(record["overlap"]), stride=int(record["stride"]),
            threshold=float(record["threshold"]),
            intensity=(
                -math.inf if least is None else float(least),
                math.inf if most is None else float(most),
            ),
            temperature=float(record["temperature"]),
            offsets=tuple(float(v) for v in record.get("offsets", ())),
            conformal=tuple(float(v) for v in record["conformal"]),
            metrics=tuple(_metric(m) for m in record["metrics"]),
            intended_use=_text(record, "intended_use"),
            limits=tuple(map(str, record["limits"])),
            body_parts=tuple(map(str, record.get("body_parts", ()))),
            familiar=(
                Familiar.from_record(record["familiar"]) if record.get("familiar") else None
            ),
            frames=bool(record.get("frames", False)),
            features=(
                Features.from_record(record["features"]) if record.get("features") else None
            ),
            single=Single.from_record(record["single"]) if record.get("single") else None,
            stages=Stages(**record["stages"]) if record.get("stages") else None,
            sha256=_text(record, "sha256"),
        )  # fmt: skip
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise CorruptFile(
            f"card.json is incomplete or wrong ({type(error).__name__}: {error})"
        ) from error
    _sensible(card, str(record.get("preparation_digest", "")))
    return card


def _text(record: dict[str, Any], name: str) -> str:
    if not isinstance(record[name], str):
        raise CorruptFile(f"card.json: {name} is {record[name]!r}; it must be text")
    return record[name]


def _sensible(card: NetworkCard, digest: str) -> None:
    def demand(fine: object, what: str, value: object) -> None:
        if not fine:
            raise CorruptFile(f"card.json: {what} is {value!r}, which no model can have")

    demand(card.task in TASKS, "task", card.task)
    demand(card.dimensions in (2, 3), "dimensions", card.dimensions)
    demand(card.channels in (1, 3), "channels", card.channels)
    demand(len(card.classes) <= 4096, "the number of classes", len(card.classes))
    demand(card.classes or card.task in ("register", "reconstruct"), "classes", card.classes)
    demand(len(card.patch) in (0, card.dimensions), "patch", card.patch)
    demand(all(1 <= n <= 2048 for n in card.patch), "patch", card.patch)
    demand(math.prod(card.patch) <= ELEMENTS, "patch", card.patch)
    demand(0 <= card.overlap <= 0.9, "overlap", card.overlap)
    demand(1 <= card.stride <= 64, "stride", card.stride)
    demand(0 <= card.threshold <= 1, "threshold", card.threshold)
    demand(0 <= card.spacing_mm[0] < card.spacing_mm[1], "spacing_mm", card.spacing_mm)
    demand(card.intensity[0] < card.intensity[1], "intensity", card.intensity)
    demand(len(card.conformal) in (0, 2), "conformal", card.conformal)
    demand(all(0 <= v <= 1 for v in card.conformal), "conformal", card.conformal)
    demand(1e-3 < card.temperature < 1e3, "temperature", card.temperature)
    demand(len(card.offsets) in (0, len(card.classes)), "offsets", card.offsets)
    demand(all(abs(v) < 100 for v in card.offsets), "offsets", card.offsets)
    if card.features is not None:
        where = card.features.candidates
        demand(card.task == ("classify" if where is None else "detect"), "task", card.task)
        fits = where is None or len(where.stretch) == len(card.classes)
        demand(fits, "the number of stretches", where)
    if card.single is not None:
        fits = card.task == "classify" and card.features is None and card.preparation.size
        demand(fits, "single", card.single)
    if card.stages is not None:
        s = card.stages
        demand(card.task == "segment", "task", card.task)
        digests = all(isinstance(d, str) and len(d) == 64 for d in (s.first, s.second))
        demand(digests, "stages", s)
        demand(isinstance(s.margin_mm, int | float) and 0 <= s.margin_mm < math.inf, "stages", s)
        demand(s.sees in get_args(Sees), "stages", s)
    demand(len(card.sha256) == 64, "sha256", card.sha256)
    demand(digest == card.preparation.digest(), "preparation_digest", digest)
