"""The routes of MONAI Label that its clients use, over the archive, its jobs and our models.

An image is a series, named by its UID; a label is a Segmentation of it, the one stored last that is
not a model's answer as it was given. ``/infer`` runs the operation ``models.segment`` as a job,
whose result is kept in the archive as every result is; asked again, the same answer is given again
while the model is the same. A session is the series that was sent for it: nothing is deleted here.

Source: MONAI Label's interface (github.com/Project-MONAI/MONAILabel, monailabel/endpoints and
monailabel/client), written against its description and its client; no code of it is used.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, HTTPException, Query, Request
from fastapi.responses import JSONResponse, Response
from starlette.concurrency import run_in_threadpool

from somascope import __version__
from somascope.archive import Archive
from somascope.core import Job
from somascope.core.errors import Conflict, NotFound, ParameterError
from somascope.jobs import Jobs
from somascope.jobs.records import now
from somascope.server.api.errors import Route
from somascope.server.api.upload import Limits, Uploads
from somascope.server.monailabel.exchange import exchanged
from somascope.server.monailabel.forms import attachment, both, form, names_of, record
from somascope.server.monailabel.store import (
    changed,
    files_of,
    outlines,
    pairs,
    segmenters,
    stats,
)
from somascope.server.monailabel.training import Training

PATIENCE = 60.0
"""Seconds that a job may wait for a worker."""
LONGEST = 1800.0
"""Seconds that a job may take."""
POLL = 0.1
STRATEGY = "first"

Told = Literal["all", "image", "json", "dicom_seg"]


def label_router(
    archive: Archive,
    jobs: Jobs,
    *,
    limits: Limits | None = None,
    patience: float = PATIENCE,
) -> APIRouter:
    """The interface; mount it at ``/api/monailabel``."""
    limits = limits or Limits()
    uploads = Uploads(archive, limits)
    training = Training(archive.root)
    converting = asyncio.Semaphore(1)  # volumes are large: one at a time

    router = APIRouter(route_class=Route, tags=["MONAI Label"])

    @router.get("/info/")
    @router.get("/info", include_in_schema=False)
    def info() -> dict[str, Any]:
        """What can be asked: models to segment, and the state of the archive."""
        models = segmenters()
        return {
            "name": "Somascope",
            "description": "Models to segment that are installed at this archive. Not for clinical "
            "use.",
            "version": __version__,
            "labels": sorted({n for m in models.values() for n in m["labels"]}),
            "models": models,
            "trainers": {
                n: {"description": f"Train on the archive's outlines, from {n}",
                    "config": {"budget_minutes": 30}} for n in models
            },
            "strategies": {STRATEGY: {"description": "The first series without an outline"}},
            "scoring": {}, "train_stats": {}, "datastore": stats(archive), "config": {},
        }  # fmt: skip

    @router.get("/auth/")
    @router.get("/auth", include_in_schema=False)
    def auth() -> dict[str, Any]:
        """Clients need no login of this kind: whoever reads this has shown the server's token."""
        return {"enabled": False, "client_id": "somascope", "realm": ""}

    @router.get("/datastore/")
    @router.get("/datastore", include_in_schema=False)
    def datastore(output: Literal["all", "stats", "train"] = "stats") -> Any:
        """Series and their outlines: counts, or (``all``) names."""
        if output == "stats":
            return stats(archive)
        images, outlined = outlines(archive)
        if output == "train":
            return [{"image": i, "label": outlined[i]} for i in images if i in outlined]
        return {
            "name": archive.root.name, "description": "",
            "images": {
                i: {"image": {"ext": ".nii.gz", "info": told},
                    "labels": {"final": {"ext": ".nii.gz", "info": {"name": outlined[i]}}}
                    if i in outlined else {}}
                for i, told in images.items()
            },
        }  # fmt: skip

    @router.get("/datastore/image")
    async def image(image: Annotated[str, Query(max_length=200)]) -> Response:
        """A series as NIfTI."""
        files = await run_in_threadpool(files_of, archive, image)
        async with converting:
            data, _ = await run_in_threadpool(_nifti, archive, "image", files, limits)
        return attachment(data, f"{image}.nii.gz")

    @router.get("/datastore/label")
    async def label(
        label: Annotated[str, Query(max_length=200)], tag: Annotated[str, Query(max_length=64)] = ""
    ) -> Response:
        """The outline of a series (or one that is named itself) as NIfTI."""
        del tag  # of several outlines the one stored last counts
        _, outlined = await run_in_threadpool(outlines, archive)
        files = await run_in_threadpool(files_of, archive, outlined.get(label, label))
        async with converting:
            data, _ = await run_in_threadpool(_nifti, archive, "labels", files, limits)
        return attachment(data, f"{label}.nii.gz")

    @router.get("/datastore/image/info")
    def image_info(image: Annotated[str, Query(max_length=200)]) -> dict[str, Any]:
        """What is known about a series."""
        images, _ = outlines(archive)
        if image not in images:
            raise NotFound(f"no series {image!r} in this archive")
        return images[image]

    @router.put("/datastore/")
    @router.put("/datastore", include_in_schema=False)
    async def add(request: Request) -> dict[str, Any]:
        """Take in an image; it gets the UID of its series as a name, whatever was asked."""
        return {"image": _taken(await uploads.receive(request))}

    @router.put("/datastore/label")
    async def save(
        request: Request, image: Annotated[str, Query(max_length=200)],
        tag: Annotated[str, Query(max_length=64)] = "final",
    ) -> dict[str, Any]:  # fmt: skip
        """Keep an outline of a series as a Segmentation."""
        files = await run_in_threadpool(files_of, archive, image)
        with tempfile.TemporaryDirectory(prefix="upload-", dir=archive.root) as folder:
            given, path = await form(request, Path(folder), limits)
            if path is None:
                raise ParameterError("the form holds no label; send a part with a filename")
            names = names_of(given.get("params", "{}"))
            async with converting:
                made, _ = await run_in_threadpool(
                    lambda: exchanged(
                        "outlined", files, Path(folder) / "made", label=path, names=names,
                        memory=limits.convert_bytes, seconds=limits.convert_seconds,
                    )
                )  # fmt: skip
            series = await run_in_threadpool(_stored, archive, made)
        return {"image": image, "label": series, "tag": tag or "final"}

    @router.delete("/datastore/")
    @router.delete("/datastore", include_in_schema=False)
    def remove() -> None:
        """Nothing is deleted from an archive at a client's word."""
        raise HTTPException(405, "an archive of Somascope keeps everything; delete in its viewer")

    @router.put("/session/")
    @router.put("/session", include_in_schema=False)
    async def open_session(request: Request) -> dict[str, Any]:
        """Take in an image; the session is its series."""
        series = _taken(await uploads.receive(request))
        return {"session_id": series, "session_info": _session(series)}

    @router.get("/session/{session}")
    async def session(session: str, image: Annotated[bool, Query()] = False) -> Any:  # noqa: FBT002
        """A session, or its image as NIfTI."""
        files = await run_in_threadpool(files_of, archive, session)
        if not image:
            return _session(session)
        async with converting:
            data, _ = await run_in_threadpool(_nifti, archive, "image", files, limits)
        return attachment(data, f"{session}.nii.gz")

    @router.delete("/session/{session}")
    def close_session(session: str) -> dict[str, Any]:
        """Nothing is held for a session, and its image stays."""
        files_of(archive, session)
        return _session(session)

    @router.post("/infer/{model}")
    async def infer(
        request: Request, model: str, image: Annotated[str, Query(max_length=200)] = "",
        session_id: Annotated[str, Query(max_length=200)] = "", output: Told = "all",
    ) -> Response:  # fmt: skip
        """Outline a series (or a session's) with a model.

        The answer is a form with ``params`` (JSON) and the label map (NIfTI); ``output`` asks for
        one of them, or for the Segmentation itself.
        """
        start = time.monotonic()
        known = await run_in_threadpool(segmenters)
        if model not in known:
            raise NotFound(f"no model {model!r} to segment; there is {', '.join(known) or 'none'}")
        series = session_id or image
        if not series:
            raise ParameterError("name an image or a session: ?image=UID")
        await run_in_threadpool(files_of, archive, series)
        with tempfile.TemporaryDirectory(prefix="upload-", dir=archive.root) as folder:
            given, _ = await form(request, Path(folder), limits)
            asked = record(given.get("params", "{}"))
        params = {"model": model, "anyway": bool(asked.get("anyway", False))}
        asked_at = now()
        job = await run_in_threadpool(_submitted, jobs, series, params)
        job = await _ended(request, jobs, job, patience, own=job.created >= asked_at)
        files = await run_in_threadpool(files_of, archive, job.outputs[0])
        if output == "dicom_seg":
            data = await run_in_threadpool(files[0].read_bytes)
            return Response(data, media_type="application/dicom")
        async with converting:
            data, names = await run_in_threadpool(_nifti, archive, "labels", files, limits)
        told = {
            "label_names": names, "label": job.outputs[0], "job": job.id, "image": series,
            "latencies": {"total": round(time.monotonic() - start, 3)},
        }  # fmt: skip
        if output == "json":
            return JSONResponse(told)
        if output == "image":
            return attachment(data, f"{series}.nii.gz")
        return both(told, data, f"{series}.nii.gz")

    @router.post("/activelearning/{strategy}")
    def following(strategy: str) -> dict[str, Any]:
        """The next series to outline; empty where all have been."""
        if strategy not in (STRATEGY, "random"):
            raise NotFound(f"no strategy {strategy!r}; there is {STRATEGY}")
        images, outlined = outlines(archive)
        left = [i for i in images if i not in outlined]
        return {"id": left[0], "weight": 1, **images[left[0]]} if left else {}

    @router.post("/train/{model}")
    async def train(request: Request, model: str) -> Any:
        """Train on the outlines of this archive; from the model of that name, or anew."""
        body = await request.body()
        asked = record(body.decode("utf-8", "replace") or "{}")
        own = asked.get(model)
        try:
            return await run_in_threadpool(
                lambda: training.start(
                    model, own if isinstance(own, dict) else asked, cases=lambda: pairs(archive)
                )
            )
        except Conflict as error:
            raise HTTPException(429, str(error)) from error

    @router.get("/train/")
    @router.get("/train", include_in_schema=False)
    def trained(
        check_if_running: Annotated[bool, Query()] = False,  # noqa: FBT002
    ) -> dict[str, Any]:
        """How the training stands, or how the last one ended."""
        if check_if_running and not training.running:
            raise NotFound("no training is running")
        return training.status()

    @router.delete("/train/")
    @router.delete("/train", include_in_schema=False)
    def stop() -> dict[str, Any]:
        """End the training; started again it goes on where it was."""
        return training.stop()

    return router


def _nifti(
    archive: Archive, what: Literal["image", "labels"], files: list[Path], limits: Limits
) -> tuple[bytes, dict[str, int]]:
    with tempfile.TemporaryDirectory(prefix="upload-", dir=archive.root) as folder:
        made, names = exchanged(
            what, files, Path(folder) / "made", memory=limits.convert_bytes,
            seconds=limits.convert_seconds,
        )  # fmt: skip
        return made[0].read_bytes(), names


def _stored(archive: Archive, made: list[Path]) -> str:
    """The series of what was stored."""
    series = ""
    for path in made:
        stored = archive.store(path.read_bytes(), origin="monailabel")
        if stored.outcome == "conflict":
            raise Conflict(f"the archive holds another outline {stored.series}; it was kept")
        series = stored.series
    return series


def _taken(outcomes: list[dict[str, Any]]) -> str:
    for outcome in outcomes:
        if outcome["outcome"] in ("stored", "duplicate") and outcome["series"]:
            return str(outcome["series"])
    reasons = "; ".join(f"{o['name']}: {o['reason']}" for o in outcomes[:3])
    raise ParameterError(f"no image was taken in: {reasons}")


def _session(series: str) -> dict[str, Any]:
    return {"name": series, "path": "", "image": series, "meta": {}, "expiry": 0}


def _submitted(jobs: Jobs, series: str, params: dict[str, Any]) -> Job:
    """A job that outlines a series, perhaps one that was asked for since the model was written."""
    job = jobs.submit("models.segment", [series], params, reuse=True)
    if datetime.fromisoformat(job.created).timestamp() >= changed(params["model"]):
        return job
    return jobs.submit("models.segment", [series], params)


async def _ended(request: Request, jobs: Jobs, job: Job, patience: float, *, own: bool) -> Job:
    """The job once it is done; cancelled when the client whose ``own`` it is leaves or nobody
    takes it.
    """
    start = time.monotonic()
    while True:
        job = await run_in_threadpool(jobs.get, job.id)
        if job.state == "done":
            return job
        if job.state in ("failed", "cancelled"):
            raise HTTPException(422, job.message or f"the job was {job.state}")
        waited = time.monotonic() - start
        idle = job.state == "queued" and waited > patience
        if idle or waited > LONGEST or await request.is_disconnected():
            if own:
                await run_in_threadpool(jobs.cancel, job.id)
            raise HTTPException(
                503, f"no worker took the job in {patience:g} s; serve with --workers 1 or more"
                if idle else f"the job was stopped after {waited:.0f} s",
            )  # fmt: skip
        await asyncio.sleep(POLL)
