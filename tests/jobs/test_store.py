import pytest

from somascope.core.errors import NotFound, ParameterError

GAUSSIAN = "process.gaussian"


def test_a_submitted_job_has_all_its_parameters(jobs):
    job = jobs.submit(GAUSSIAN, ["1.2.3"], {"sigma": 2})
    assert job.state == "queued"
    assert job.params == {"sigma": 2.0, "dimensions": "volume"}
    assert job.inputs == ("1.2.3",)
    assert job.created.endswith("Z")
    assert jobs.get(job.id) == job


@pytest.mark.parametrize(
    ("operation", "inputs", "params", "error", "words"),
    [
        ("process.nothing", ["1.2.3"], {}, NotFound, "no operation"),
        (GAUSSIAN, ["9.9"], {}, NotFound, "9.9"),
        (GAUSSIAN, ["1.2.3"], {"sigma": -1}, ParameterError, "mm"),
        (GAUSSIAN, ["1.2.3"], {"sigmoid": 1}, ParameterError, "no parameter"),
        (GAUSSIAN, [], {}, ParameterError, "1 input"),
        (GAUSSIAN, ["1.2.3", "1.2.4"], {}, ParameterError, "1 input"),
        (GAUSSIAN, "1.2.3", {}, ParameterError, "list"),
        (GAUSSIAN, ["1.2.3#0"], {}, ParameterError, "#n"),
    ],
)
def test_nothing_wrong_is_queued(jobs, operation, inputs, params, error, words):
    with pytest.raises(error, match=words):
        jobs.submit(operation, inputs, params)
    assert jobs.list() == []
    assert jobs.last_event() == 0


def test_reuse_only_where_asked_and_only_of_the_same(jobs, leases):
    first = jobs.submit(GAUSSIAN, ["1.2.3"], {"sigma": 2})
    leases.finish(leases.lease("w"), "done", outputs=["1.9"])
    assert jobs.submit(GAUSSIAN, ["1.2.3"], {"sigma": 2}).id != first.id
    again = jobs.submit(GAUSSIAN, ["1.2.3"], {"sigma": 2.0, "dimensions": "volume"}, reuse=True)
    waiting = [j for j in jobs.list() if j.state == "queued"]
    assert again.id in {first.id, *(j.id for j in waiting)}
    other = jobs.submit(GAUSSIAN, ["1.2.3"], {"sigma": 3}, reuse=True)
    assert other.id not in {j.id for j in waiting} | {first.id}
    assert jobs.submit(GAUSSIAN, ["1.2.4"], {"sigma": 2}, reuse=True).id != again.id


def test_failed_and_cancelled_runs_are_not_reused(jobs, leases):
    for state in ("failed", "cancelled"):
        first = jobs.submit(GAUSSIAN, ["1.2.3"], {"sigma": 1}, reuse=True)
        leases.finish(leases.lease("w"), state)
        assert jobs.submit(GAUSSIAN, ["1.2.3"], {"sigma": 1}, reuse=True).id != first.id
        leases.finish(leases.lease("w"), state)


def test_the_list_is_newest_first_and_pages(jobs):
    ids = [jobs.submit(GAUSSIAN, ["1.2.3"], {"sigma": i}).id for i in range(5)]
    assert [j.id for j in jobs.list()] == ids[::-1]
    assert [j.id for j in jobs.list(limit=2, offset=1)] == [ids[3], ids[2]]
    jobs.cancel(ids[2])
    assert [j.id for j in jobs.list(state="cancelled")] == [ids[2]]
    assert jobs.counts() == {"queued": 4, "running": 0, "done": 0, "failed": 0, "cancelled": 1}


def test_every_change_is_an_event_in_order(jobs, leases):
    a = jobs.submit(GAUSSIAN, ["1.2.3"])
    b = jobs.submit(GAUSSIAN, ["1.2.4"])
    held = leases.lease("w")
    leases.heartbeat(held, progress=0.5, message="half")
    leases.heartbeat(held)  # nothing to tell
    leases.finish(held, "done", outputs=["1.9"])
    jobs.cancel(b.id)
    events = jobs.events()
    assert [(e.job, e.state) for e in events] == [
        (a.id, "queued"),
        (b.id, "queued"),
        (a.id, "running"),
        (a.id, "running"),
        (a.id, "done"),
        (b.id, "cancelled"),
    ]
    assert [e.seq for e in events] == list(range(1, 7))
    assert (events[3].progress, events[3].message) == (0.5, "half")
    assert [e.seq for e in jobs.events(3, limit=2)] == [4, 5]
    assert jobs.last_event() == 6


def test_what_is_not_there(jobs):
    for ask in (jobs.get, jobs.cancel, jobs.log):
        with pytest.raises(NotFound, match="no job 'x'"):
            ask("x")


def test_two_openings_share_the_table(jobs, shelf):
    from somascope.archive.database import Database
    from somascope.jobs import Jobs

    other = Database(shelf.url)
    job = Jobs(type(shelf)(shelf.root, shelf.url, other)).submit(GAUSSIAN, ["1.2.3"])
    assert jobs.get(job.id).operation == GAUSSIAN
    other.close()
