"""The routes of the application interface."""

from __future__ import annotations

import logging
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse, StreamingResponse

from somascope import __version__
from somascope.archive import Archive
from somascope.core import JobState
from somascope.core.registry import get_operation, operation_names
from somascope.jobs import Jobs
from somascope.server.api.errors import Route
from somascope.server.api.events import POLL, Feed, Position
from somascope.server.api.places import permitted
from somascope.server.api.upload import Limits, Uploads
from somascope.server.api.views import NOTICE, JobRequest, job_view

_LOG = logging.getLogger("somascope.server.api")


def create_router(
    archive: Archive,
    jobs: Jobs,
    *,
    limits: Limits | None = None,
    poll: float = POLL,
) -> APIRouter:
    """The interface to ``archive`` and its ``jobs``; mount it at ``/api``.

    ``limits`` bounds uploads; ``poll`` is the number of seconds between two looks for events
    while somebody listens.
    """
    router = APIRouter(route_class=Route)
    feed = Feed(archive, jobs, poll=poll)
    uploads = Uploads(archive, limits or Limits())

    @router.get("/system", tags=["system"])
    def system() -> dict[str, Any]:
        """What this server is and holds."""
        stats = archive.stats()
        return {
            "name": "Somascope",
            "version": __version__,
            "notice": NOTICE,
            "clinical_use": False,
            "archive": {
                "patients": stats.patients,
                "studies": stats.studies,
                "series": stats.series,
                "instances": stats.instances,
                "bytes": stats.bytes,
                "quarantined": stats.quarantined,
            },
            "jobs": jobs.counts(),
            "operations": len(operation_names()),
        }

    @router.get("/operations", tags=["operations"])
    def operations() -> list[dict[str, Any]]:
        """All installed operations with the JSON schema of their parameters."""
        found: list[dict[str, Any]] = []
        for name in operation_names():
            try:
                found.append(get_operation(name).schema())
            except Exception:  # one broken plug-in must not hide the others
                _LOG.exception("operation %s cannot be loaded", name)
        return found

    @router.get("/operations/{name}", tags=["operations"])
    def operation(name: str) -> dict[str, Any]:
        """One operation."""
        return get_operation(name).schema()

    @router.post("/jobs", tags=["jobs"], status_code=201)
    def submit(body: JobRequest, response: Response) -> dict[str, Any]:
        """Queue a run; what it opens on this machine is given by a name that is known here."""
        permitted(body.operation, body.params)
        job = jobs.submit(body.operation, body.inputs, body.params, reuse=body.reuse)
        response.headers["location"] = f"/api/jobs/{job.id}"
        return job_view(job)

    @router.get("/jobs", tags=["jobs"])
    def list_jobs(
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
        offset: Annotated[int, Query(ge=0)] = 0,
        state: JobState | None = None,
    ) -> dict[str, Any]:
        """Runs, the newest first, and how many are in each state."""
        found = jobs.list(limit=limit, offset=offset, state=state)
        return {"jobs": [job_view(j) for j in found], "counts": jobs.counts()}

    @router.get("/jobs/{id}", tags=["jobs"])
    def get_job(id: str) -> dict[str, Any]:  # noqa: A002
        """One run, with its log."""
        return job_view(jobs.get(id), log=jobs.log(id))

    @router.post("/jobs/{id}/cancel", tags=["jobs"])
    def cancel(id: str) -> dict[str, Any]:  # noqa: A002
        """Ask a run to stop."""
        return job_view(jobs.cancel(id))

    @router.delete("/jobs/{id}", tags=["jobs"])
    def delete(id: str) -> dict[str, Any]:  # noqa: A002
        """The same as cancel; the record of the run stays."""
        return job_view(jobs.cancel(id))

    @router.get("/jobs/{id}/log", tags=["jobs"])
    def log(id: str) -> PlainTextResponse:  # noqa: A002
        """What was written while it ran."""
        return PlainTextResponse(jobs.log(id))

    @router.get("/provenance/{uid}", tags=["provenance"])
    def provenance(uid: str) -> JSONResponse:
        """Where a series or instance came from, and each step since, oldest first."""
        import json

        from somascope.jobs.replay import provenance_of

        record = json.loads(provenance_of(archive, uid).to_json())
        return JSONResponse({"uid": uid, **record, "notice": NOTICE})

    @router.get("/events", tags=["events"], response_class=StreamingResponse)
    async def events(
        last_event_id: Annotated[str | None, Header()] = None,
        after: Annotated[str | None, Query(description="As Last-Event-ID")] = None,
    ) -> StreamingResponse:
        """Server-Sent Events: ``archive`` (stored, quarantined), ``job``, ``resync``."""
        told = last_event_id or after
        start = Position.parse(told) if told else None
        return StreamingResponse(
            feed.follow(start),
            media_type="text/event-stream",
            headers={"cache-control": "no-cache", "x-accel-buffering": "no"},
        )

    @router.post(
        "/upload",
        tags=["archive"],
        openapi_extra={
            "requestBody": {
                "required": True,
                "content": {
                    "multipart/form-data": {
                        "schema": {
                            "type": "object",
                            "properties": {
                                "files": {
                                    "type": "array",
                                    "items": {"type": "string", "format": "binary"},
                                }
                            },
                        }
                    }
                },
            }
        },
    )
    async def upload(request: Request) -> JSONResponse:
        """Take in DICOM, ZIP, NIfTI, NRRD, MetaImage, PNG, JPEG or TIFF files.

        What is no DICOM is converted. One outcome per file: ``stored``, ``duplicate``,
        ``conflict`` or ``rejected`` with its reason; 422 where nothing was taken.
        """
        outcomes = await uploads.receive(request)
        taken = any(o["outcome"] in ("stored", "duplicate") for o in outcomes)
        body: dict[str, Any] = {"files": outcomes}
        if not taken:
            reasons = "; ".join(f"{o['name']}: {o['reason']}" for o in outcomes[:3])
            body |= {"error": "ReadError", "message": reasons}
        return JSONResponse(body, 200 if taken else 422)

    return router
