"""Ours and each peer on one case: the lines of a registration benchmark."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from typing import Any

from benchmarks.register.apart import VARIABLES, ChildEnded, version_apart
from benchmarks.register.case import Mapping
from benchmarks.register.peers import How, Peer
from benchmarks.turns import compared
from somascope.analyze.register import points, register
from somascope.core import Image


def ours(fixed: Image, moving: Image, how: How, other: bool) -> Mapping:  # noqa: FBT001
    """Somascope with the preset that such a pair gets by its content."""
    preset = "rigid" if how == "rigid" else ("multimodal" if other else None)
    warp = register(fixed, moving, preset)
    return lambda at: points(warp, at)


def beside(
    name: str,
    case: str,
    pairs: Sequence[tuple[Image, Image]],
    peers: dict[str, Peer],
    *,
    how: How = "dense",
    other: bool = False,
    quality: Callable[[list[Mapping]], float],
    metric: str,
    also: Sequence[tuple[str, Callable[[list[Mapping]], float]]] = (),
    rounds: int = 1,
) -> Iterator[dict[str, Any]]:
    """One line for each peer and measure; all ``pairs`` are registered in a run.

    ``also``: further measures of the same runs, each with its line. Where a peer fails at a pair
    the images are left as they lie, and the case tells it; at every pair, and it has no line.
    """
    for package, peer in peers.items():
        found: list[list[Mapping]] = []
        failed: set[int] = set()

        def judged(maps: list[Mapping], found: list[list[Mapping]] = found) -> float:
            found.append(maps)
            return quality(maps)

        def tried(
            peer: Peer = peer, package: str = package, failed: set[int] = failed
        ) -> list[Mapping]:
            maps: list[Mapping] = []
            for k, (f, m) in enumerate(pairs):
                try:
                    maps.append(peer(f, m, how, other))
                except (ChildEnded, RuntimeError) as error:
                    failed.add(k)
                    maps.append(lambda at: at)
                    said = " ".join(str(error).split())
                    print(f"{name}: {package}, pair {k + 1}: {said}", file=sys.stderr)
            if len(failed) == len(pairs):
                raise ChildEnded(f"{package} failed at every pair")
            return maps

        try:
            line = compared(
                name, case, ours=lambda: [ours(f, m, how, other) for f, m in pairs], peer=tried,
                package=package, quality=judged, metric=metric, rounds=rounds, versions=_version,
            )  # fmt: skip
        except ChildEnded as error:
            print(f"{name}: {error}", file=sys.stderr)
            continue
        if failed:
            line["case"] += f"; {package} failed at {len(failed)} of {len(pairs)}"
        yield line
        for named, measure in also:
            good = [float(f"{measure(maps):.4g}") for maps in found]
            yield {
                **line, "quality_metric": named, "quality_ours": good[0], "quality_peer": good[1]
            }  # fmt: skip


def _version(package: str) -> str:
    return version_apart(package) if package in VARIABLES else version(package)
