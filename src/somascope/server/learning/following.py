"""``python -m somascope.server.learning.following``: which of the archive's series to outline next.

The question of ``somascope next``, put to every series that no reader has outlined. It may take
long (each is looked at by every model), so it is a run in a process of its own, as a training is.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from somascope.core import Image, Progress
from somascope.core.errors import NotFound, ParameterError
from somascope.server.background import Background, worked
from somascope.server.monailabel.store import outlines

if TYPE_CHECKING:
    from somascope.archive import Archive
    from somascope.models import Network

MODULE = "somascope.server.learning.following"
MOST = 200
MODELS = 8
TOLD = 50
"""Problems that are told; all are counted."""
_MAP = "1.2.840.10008.5.1.4.1.1.30"  # Parametric Map Storage: a result, no case


class Following(Background):
    """The one search for next cases in an archive; what it found stays until the next one.

    Parameters
    ----------
    root
        The archive's folder; the run's is ``following`` in it.
    """

    def __init__(self, root: Path) -> None:
        super().__init__(
            root / "following", what="search for the next case", remedy="DELETE /learning/next"
        )
        self._root = root

    def start(self, models: Sequence[str], *, count: int, anyway: bool) -> dict[str, Any]:
        """Look for the ``count`` series that installed ``models`` (to segment) doubt most.

        ``anyway``: series too that are unlike those a model was trained on.

        Raises
        ------
        NotFound
            No installed model of that name.
        ParameterError
            No model, too many, or a count that cannot be.
        Conflict
            A search is going on.
        """
        from somascope.models import installed

        names = list(dict.fromkeys(models))
        if not 1 <= len(names) <= MODELS:
            raise ParameterError(f"{len(names)} models are named; name 1 to {MODELS}")
        if not 1 <= count <= MOST:
            raise ParameterError(f"count is {count}; give 1 to {MOST}")
        known = installed.models()
        for name in names:  # by name alone: nothing else of this machine is opened
            if name not in known:
                raise NotFound(f"no model {name!r}; installed are {', '.join(known) or 'none'}")
        request = {
            "root": str(self._root), "models": [str(known[n]) for n in names], "count": count,
            "anyway": anyway,
        }  # fmt: skip
        return self.begin(MODULE, request, {"models": names})


def main() -> int:
    """Search once."""
    return worked(lambda request, _, progress: _found(request, progress))


def _found(request: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    from somascope.archive import Archive
    from somascope.learn.active import next_cases
    from somascope.models import load

    networks = [load(path) for path in request["models"]]
    with Archive.open(request["root"]) as archive:
        images, outlined = outlines(archive)
        left = {
            uid: told
            for uid, told in images.items()
            if uid not in outlined
            and all(told["Modality"] in m.card.modalities or not m.card.modalities
                    for m in networks)
            and archive.locate(series=uid)[0].sop_class != _MAP
        }  # fmt: skip
        opened = partial(_opened, archive, networks, anyway=bool(request["anyway"]))
        found = next_cases(
            networks, [(uid, partial(opened, uid)) for uid in left], count=int(request["count"]),
            progress=progress,
        )  # fmt: skip
    cases = [
        {
            "series": c.name, "study": left[c.name]["StudyInstanceUID"],
            "patient": left[c.name]["PatientID"], "description": left[c.name]["name"],
            "modality": left[c.name]["Modality"], "doubt": round(c.doubt, 4),
            "novelty": round(c.novelty, 4), "reason": c.reason,
        }
        for c in found.cases
    ]  # fmt: skip
    problems = [{"series": uid, "reason": reason} for uid, reason in found.problems]
    return {"cases": cases, "looked": len(left) - len(problems), "refused": len(problems),
            "problems": problems[:TOLD], "outlined": len(outlined)}  # fmt: skip


def _opened(archive: Archive, networks: Sequence[Network], uid: str, *, anyway: bool) -> Image:
    """The volume of a series; `Refused` where a model does not know such images."""
    from somascope.jobs.resolve import from_archive

    image = from_archive(archive, uid, noun="Image")
    assert isinstance(image, Image)
    for network in networks:
        network.card.check(network.card.declared(image), anyway=anyway)
    return image


if __name__ == "__main__":
    sys.exit(main())
