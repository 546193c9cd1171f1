"""Lease a job, have it run somewhere, report what happens: the loop every executor shares."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from somascope.core import Job
from somascope.jobs.leases import LEASE, Leases
from somascope.jobs.records import Lease

POLL = 0.25
"""Seconds between two looks at the queue."""

GRACE = 5.0
"""Seconds between the request to stop and the end by force."""


class Place(Protocol):
    """Where one job at a time runs: a child process, a Ray task."""

    def start(self, job: Job) -> None:
        """Begin; returns at once."""
        ...

    def poll(self, timeout: float) -> Sequence[Mapping[str, Any]]:
        """What it said meanwhile (the messages of `somascope.jobs.runner`); ``died`` if it did."""
        ...

    def lines(self) -> Sequence[str]:
        """What it wrote to its log since the last call."""
        ...

    def cancel(self) -> None:
        """Ask it to stop."""
        ...

    def kill(self) -> None:
        """End it now; the next `start` begins afresh."""
        ...

    def close(self) -> None:
        """End it for good."""
        ...


def drive(
    leases: Leases,
    place: Place,
    *,
    worker: str,
    stop: threading.Event,
    lease: float = LEASE,
    grace: float = GRACE,
) -> None:
    """Run leased jobs in ``place`` until ``stop`` is set; a job then running is given back."""
    try:
        while not stop.is_set():
            held = leases.lease(worker, seconds=lease)
            if held is None:
                stop.wait(POLL)
                continue
            run_leased(leases, place, held, stop=stop, lease=lease, grace=grace)
    finally:
        place.close()


def run_leased(
    leases: Leases,
    place: Place,
    held: Lease,
    *,
    stop: threading.Event,
    lease: float = LEASE,
    grace: float = GRACE,
) -> None:
    """See one leased job through to its end."""
    id_ = held.job.id
    place.start(held.job)
    renewed = time.monotonic()
    asked: float | None = None  # when it was told to stop
    while True:
        if stop.is_set():
            place.kill()
            leases.write_log(id_, place.lines())
            leases.release(held, "the worker was stopped", count=False)
            return
        messages = place.poll(0.1)
        leases.write_log(id_, place.lines())
        said: tuple[float, str] | None = None
        for message in messages:
            if "progress" in message:
                said = (float(message["progress"]), str(message.get("message", "")))
            elif _ended(leases, place, held, message, stopping=asked is not None):
                return
        moment = time.monotonic()
        if said is not None or moment - renewed > min(1.0, lease / 3):
            renewed = moment
            fraction, text = said if said is not None else (None, None)
            answer = leases.heartbeat(held, progress=fraction, message=text, seconds=lease)
            if answer == "lost":
                place.kill()
                return
            if answer == "cancel" and asked is None:
                asked = moment
                place.cancel()
        if asked is not None and moment - asked > grace:
            place.kill()
            leases.write_log(id_, [*place.lines(), f"ended by force {grace:g} s after the request"])
            leases.finish(held, "cancelled", message="cancelled")
            return


def _ended(
    leases: Leases, place: Place, held: Lease, message: Mapping[str, Any], *, stopping: bool
) -> bool:
    """Record the end that ``message`` tells of; False where it tells of none."""
    if "died" in message:
        time.sleep(0.1)  # its last words come by another pipe
    leases.write_log(held.job.id, [*place.lines(), *message.get("trace", ())])
    if "done" in message:
        leases.finish(held, "done", outputs=message["done"], message="done")
    elif "cancelled" in message or (stopping and ("failed" in message or "died" in message)):
        leases.finish(held, "cancelled", message="cancelled")
    elif "failed" in message and not message.get("again"):
        leases.finish(held, "failed", message=str(message["failed"]))
    elif "failed" in message or "died" in message:
        reason = str(message.get("failed") or message.get("died"))
        leases.release(held, reason, delay=float(2 ** (held.attempt - 1)))
    else:
        return False
    return True
