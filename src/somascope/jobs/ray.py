"""`RayExecutor`: the same jobs on a Ray cluster (extra ``ray``).

Ray is muscle without memory: the job table stays in the archive's database, and a lost actor or
cluster costs one lease. Ray's ports run code for whoever reaches them, so a cluster that is
started here listens on the loopback only, without dashboard, and asks for a random token; a
running one is joined with the token in ``RAY_AUTH_TOKEN``.
"""

from __future__ import annotations

import contextlib
import os
import queue
import secrets
import threading
from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Self

from somascope.core import Job, Progress
from somascope.core.errors import MissingExtra, Refused
from somascope.jobs.drive import GRACE, Place
from somascope.jobs.leases import LEASE
from somascope.jobs.local import LocalExecutor
from somascope.jobs.runner import outcome

_CLOSED = {"RAY_AUTH_MODE": "token", "RAY_USAGE_STATS_ENABLED": "0"}

_LOOPBACK = {
    # ray.init takes 127.0.0.1 for "find out the outer address" and then listens on every
    # interface, unless it believes that the platform has no clusters.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_enable_metrics_collection": "0",
}


def _ray(*, own: bool = True) -> Any:
    """The library; what it reads at import is set before. ``own``: for a cluster of our own."""
    os.environ.update(_CLOSED)
    if own:
        os.environ.update(_LOOPBACK)
    try:
        import ray
    except ImportError as error:
        raise MissingExtra(
            "the Ray executor needs Ray; install it with: pip install 'somascope[ray]', or set "
            "executor = local"
        ) from error
    return ray


class Runner:
    """The actor: runs one operation at a time while it answers questions about it."""

    def __init__(self, root: str, url: str | None) -> None:
        from somascope.archive import Archive

        self._archive = Archive.open(root, url=url)
        self._stop = threading.Event()
        self._said: queue.SimpleQueue[Mapping[str, Any]] = queue.SimpleQueue()

    def run(self, job: Mapping[str, Any]) -> Mapping[str, Any]:
        """Run it; the last message of `somascope.jobs.runner`."""
        self._stop.clear()
        progress = Progress(
            lambda f, m: self._said.put({"progress": f, "message": m}), self._stop.is_set
        )
        return outcome(self._archive, job, progress=progress)

    def said(self) -> list[Mapping[str, Any]]:
        """The newest progress since the last call."""
        last: list[Mapping[str, Any]] = []
        with contextlib.suppress(queue.Empty):
            while True:
                last = [self._said.get_nowait()]
        return last

    def cancel(self) -> None:
        """Stop at the next progress report."""
        self._stop.set()


class Actor:
    """A place on the cluster: one `Runner`, made anew after it died."""

    def __init__(self, ray: Any, root: Path, *, url: str | None) -> None:
        self._ray = ray
        self._where = (str(root.absolute()), url)
        # Two questions can be answered beside the run.
        self._make = ray.remote(num_cpus=1, max_concurrency=3, max_restarts=0)(Runner)
        self._actor: Any = None
        self._done: Any = None
        self._asked: Any = None

    def start(self, job: Job) -> None:
        """Send the job to the actor."""
        if self._actor is None:
            self._actor = self._make.remote(*self._where)
        record = {
            "operation": job.operation,
            "inputs": list(job.inputs),
            "params": dict(job.params),
        }
        self._done = self._actor.run.remote(record)
        self._asked = None

    def poll(self, timeout: float) -> Sequence[Mapping[str, Any]]:
        """Progress, or how it ended."""
        ready, _ = self._ray.wait([self._done], timeout=timeout)
        try:
            if ready:
                return [self._ray.get(self._done)]
            if self._asked is None:
                self._asked = self._actor.said.remote()
            if self._ray.wait([self._asked], timeout=0)[0]:
                found, self._asked = self._ray.get(self._asked), None
                return found
        except self._ray.exceptions.RayActorError as error:
            self._actor = None
            return [{"died": f"the Ray actor ended ({type(error).__name__})"}]
        except self._ray.exceptions.RayError as error:
            return [{"failed": f"Ray: {error}", "again": True}]
        return []

    def lines(self) -> Sequence[str]:
        """Nothing: Ray keeps the output of its workers in its own log files."""
        return ()

    def cancel(self) -> None:
        """Ask the operation to stop at its next progress report."""
        self._actor.cancel.remote()

    def kill(self) -> None:
        """End the actor's process."""
        if self._actor is not None:
            self._ray.kill(self._actor)
            self._actor = None

    def close(self) -> None:
        """The same."""
        self.kill()


class RayExecutor(LocalExecutor):
    """Runs an archive's jobs as Ray actors while the context is open.

    Parameters
    ----------
    root, workers, url, lease, grace
        As in `LocalExecutor`. Every node must see the archive's folder and its database.
    address
        Of a running cluster (``ray://...``, ``host:port`` or ``auto``), joined with the token in
        ``RAY_AUTH_TOKEN``; default: a cluster of ``workers`` processes on the loopback.

    Raises
    ------
    MissingExtra
        Ray is not installed.
    Refused
        A cluster is named and there is no token to join it with.
    """

    def __init__(
        self,
        root: Path | str,
        *,
        workers: int = 2,
        url: str | None = None,
        address: str | None = None,
        lease: float = LEASE,
        grace: float = GRACE,
    ) -> None:
        super().__init__(root, workers=workers, url=url, lease=lease, grace=grace)
        self._address = address
        self._ray: Any = None

    def start(self) -> Self:
        """Start or join the cluster and begin to take jobs."""
        token = os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_TOKEN_PATH")
        if self._address is not None and not token:
            raise Refused(
                f"joining the Ray cluster at {self._address} needs its token in RAY_AUTH_TOKEN; a "
                "cluster without one runs code for whoever reaches its ports"
            )
        if not token:
            os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
        self._ray = _ray(own=self._address is None)
        if self._address is None:
            self._ray.init(
                num_cpus=self.workers,
                _node_ip_address="127.0.0.1",
                include_dashboard=False,
                log_to_driver=False,
                configure_logging=False,
            )
            self._only_loopback()
        else:
            self._ray.init(address=self._address, log_to_driver=False, configure_logging=False)
        return super().start()

    def _only_loopback(self) -> None:
        found = {str(n["NodeManagerAddress"]) for n in self._ray.nodes()}
        if not all(ip_address(a).is_loopback for a in found):
            self._ray.shutdown()
            raise Refused(
                f"Ray would listen on {', '.join(sorted(found))} and not on the loopback alone: it "
                "was imported before with other settings; start it in a process of its own"
            )

    def stop(self) -> None:
        """End; running jobs go back to the queue, a cluster that was started here goes down."""
        super().stop()
        if self._ray is not None:
            self._ray.shutdown()
            self._ray = None

    def place(self) -> Place:
        """An actor."""
        return Actor(self._ray, self.root, url=self._url)
