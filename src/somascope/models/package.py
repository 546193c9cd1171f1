"""A model is one folder or one ZIP file: ``model.onnx`` and ``card.json``. No pickle, ever.

Beside them there may be ``plan.json`` and ``history.json`` (how it was trained), ``weights
.safetensors`` (to train on), ``prototypes.safetensors`` (training cases as the network sees them)
and ``README.md``; nothing else is read.
"""

from __future__ import annotations

import hashlib
import io
import lzma
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from somascope.core.errors import Conflict, CorruptFile, NotFound, Refused
from somascope.io.atomic import replacing
from somascope.models import onnxfile
from somascope.models.card import NetworkCard

GRAPH = "model.onnx"
CARD = "card.json"
PROTOTYPES = "prototypes.safetensors"
FIRST, FIRST_CARD, SECOND_CARD = "first.onnx", "first.json", "second.json"
"""Of a package of two stages: see `somascope.models.stages`."""
STAGES = (FIRST, FIRST_CARD, SECOND_CARD)
OPENED = ("plan.json", "weights.safetensors")
"""What a network is opened from to look inside."""
EXTRAS = ("plan.json", "history.json", "weights.safetensors", PROTOTYPES, "README.md", *STAGES)
_LIMITS = {
    GRAPH: onnxfile.LARGEST, CARD: 1 << 20, "plan.json": 1 << 20, "history.json": 1 << 24,
    "weights.safetensors": onnxfile.LARGEST, PROTOTYPES: 1 << 24, "README.md": 1 << 20,
    FIRST: onnxfile.LARGEST, FIRST_CARD: 1 << 20, SECOND_CARD: 1 << 20,
}  # fmt: skip
DENSEST = 50
"""Times that a file of more than a mebibyte may be larger than its packed form."""


@dataclass(frozen=True)
class Package:
    """A model as it is stored: its card, its graph, and the bytes beside them by name."""

    card: NetworkCard
    graph: bytes
    extras: Mapping[str, bytes] = field(default_factory=dict[str, bytes])


def read(path: str | Path) -> Package:
    """Read and check a model folder or ZIP file; nothing in it is executed.

    Raises
    ------
    NotFound
        There is no such file or folder, or no model in it.
    CorruptFile
        The card or the graph is damaged, or they do not belong together.
    Refused
        A graph that is not run here (see `onnxfile.inspect`).
    """
    path = Path(path)
    files = _folder(path) if path.is_dir() else _zip(path)
    for name in (GRAPH, CARD):
        if name not in files:
            raise NotFound(f"{path} holds no {name}; a model is a folder or ZIP with both")
    card = NetworkCard.from_json(files.pop(CARD))
    graph = files.pop(GRAPH)
    if hashlib.sha256(graph).hexdigest() != card.sha256:
        raise CorruptFile(f"{path.name}: model.onnx is not the one its card was made for (SHA-256)")
    onnxfile.inspect(graph)
    _staged(card, files, path.name)
    return Package(card, graph, files)


def _staged(card: NetworkCard, files: Mapping[str, bytes], name: str) -> None:
    """Hold the other model of a package of two stages against the card, before it may run."""
    there = [n for n in STAGES if n in files]
    if card.stages is None:
        if there:
            raise CorruptFile(f"{name} holds {there[0]} and its card says nothing of two stages")
        return
    if len(there) < len(STAGES):
        lost = next(n for n in STAGES if n not in there)
        raise NotFound(f"{name} holds no {lost}; a model of two stages has {', '.join(STAGES)}")
    for one, digest in ((FIRST_CARD, card.stages.first), (SECOND_CARD, card.stages.second)):
        if hashlib.sha256(files[one]).hexdigest() != digest:
            raise CorruptFile(f"{name}: {one} is not the one its card was made for (SHA-256)")
        if NetworkCard.from_json(files[one]).stages is not None:
            raise Refused(f"{name}: {one} is of two stages itself; a package holds two models")
    if hashlib.sha256(files[FIRST]).hexdigest() != NetworkCard.from_json(files[FIRST_CARD]).sha256:
        raise CorruptFile(f"{name}: {FIRST} is not the one its card was made for (SHA-256)")
    onnxfile.inspect(files[FIRST])


def write(package: Package, path: str | Path, *, overwrite: bool = False) -> NetworkCard:
    """Write a model as a ZIP file (suffix ``.zip``) or a folder; the card as it was written.

    Equal packages give equal bytes. Raises `Conflict` where another model is there already.
    """
    path = Path(path)
    inspected = onnxfile.inspect(package.graph)
    assert inspected.outputs
    card = replace(package.card, sha256=hashlib.sha256(package.graph).hexdigest())
    files = {
        CARD: card.to_json().encode(), GRAPH: package.graph,
        **{n: package.extras[n] for n in EXTRAS if n in package.extras},
    }  # fmt: skip
    if not overwrite and (path / CARD if path.suffix != ".zip" else path).exists():
        raise Conflict(f"{path} is there already; choose another name or say overwrite")
    if path.suffix != ".zip":
        # The card comes last: a folder without it is no model, so a kill leaves none half written.
        for name in sorted(files, key=lambda n: n == CARD):
            with replacing(path / name) as file:
                file.write(files[name])
        return card
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)
    with replacing(path) as file:
        file.write(buffer.getvalue())
    return card


def _folder(path: Path) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    for name, limit in _LIMITS.items():
        file = path / name
        if not file.is_file():
            continue
        if file.is_symlink() or file.stat().st_size > limit:
            raise Refused(f"{file} is a link or larger than {limit} bytes; it is not read")
        files[name] = file.read_bytes()
    return files


def _zip(path: Path) -> dict[str, bytes]:
    if not path.is_file():
        raise NotFound(f"there is no model {str(path)!r}")
    files: dict[str, bytes] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for entry in archive.infolist():
                name = entry.filename
                if name not in _LIMITS or name in files:
                    raise Refused(
                        f"{path.name} holds {name!r}; a model holds {', '.join(_LIMITS)}, each once"
                    )
                if entry.file_size > _LIMITS[name]:
                    raise Refused(f"{path.name}: {name} has {entry.file_size} bytes; too many")
                if entry.file_size > (1 << 20) and entry.file_size > DENSEST * entry.compress_size:
                    raise Refused(
                        f"{path.name}: {name} unfolds from {entry.compress_size} to "
                        f"{entry.file_size} bytes, which no weights do; pack it uncompressed"
                    )
                with archive.open(entry) as file:
                    data = file.read(_LIMITS[name] + 1)
                if len(data) != entry.file_size:
                    raise CorruptFile(f"{path.name}: {name} is longer than the archive says")
                files[name] = data
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, OSError) as error:
        raise CorruptFile(
            f"{path.name} is no model: not a folder and not a ZIP file ({error})"
        ) from error
    except (ValueError, zlib.error, lzma.LZMAError) as error:
        raise CorruptFile(f"{path.name} is a damaged ZIP file ({error})") from error
    return files
