"""The whole door as it runs: several processes on one port, restarted, stopped, one archive."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from somascope.archive import Archive
from somascope.core.errors import ParameterError, Refused
from somascope.server.dimse import Peer, load_peers, scu, serve_dimse
from somascope.server.dimse.ledger import Ledger
from somascope.server.dimse.requestor import Remote
from somascope.server.dimse.serve import listen
from somascope.server.dimse.settings import Settings

START = (
    "import sys; from somascope.server.dimse import serve_dimse\n"
    "serve_dimse(sys.argv[1], port=0, ready=lambda port: print(port, flush=True))"
)


def _children(pid: int) -> list[int]:
    return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc")
def test_processes_share_the_port_are_restarted_and_stop_on_sigterm(tmp_path, wire):
    process = subprocess.Popen(
        [sys.executable, "-c", START, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        remote = Remote(host="127.0.0.1", port=port, aet="SOMASCOPE")
        children = _children(process.pid)
        assert len(children) == 2
        ct, mr = wire.FILES / "CT_small.dcm", wire.FILES / "MR_small.dcm"
        assert [s.status for s in scu.store(remote, [ct, ct, mr])] == [0, 0, 0]
        os.kill(children[0], signal.SIGKILL)
        scu.echo(remote)  # the other one serves
        deadline = time.monotonic() + 30
        while True:
            now = _children(process.pid)
            if len(now) == 2 and children[0] not in now:
                break
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert scu.store(remote, [ct])[0].status == 0
        process.send_signal(signal.SIGTERM)
        assert process.wait(15) == 0
        assert not any(Path(f"/proc/{pid}").exists() for pid in now)
    finally:
        process.kill()
        process.communicate()
    with Archive.open(tmp_path) as archive:
        assert archive.stats().instances == 2
        assert archive.verify().ok


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc")
def test_acceptors_end_when_the_supervisor_is_killed(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", START, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    process.stdout.readline()
    children = _children(process.pid)
    process.kill()
    process.communicate()
    deadline = time.monotonic() + 15
    while any(_alive(pid) for pid in children):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def _alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def test_a_thread_may_serve_and_be_stopped(tmp_path):
    stop, ports = threading.Event(), []
    ready = threading.Event()

    def tell(port: int) -> None:
        ports.append(port)
        ready.set()

    thread = threading.Thread(
        target=serve_dimse,
        args=(tmp_path,),
        kwargs={"port": 0, "processes": 1, "ready": tell, "stop": stop},
    )
    thread.start()
    assert ready.wait(60)
    assert scu.echo(Remote(host="127.0.0.1", port=ports[0], aet="SOMASCOPE")) > 0
    stop.set()
    thread.join(15)
    assert not thread.is_alive()


def test_a_taken_port_is_refused_with_its_number(tmp_path):
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(Refused, match=str(port)):
            serve_dimse(tmp_path, port=port, stop=threading.Event())


def test_settings_travel_as_json():
    settings = Settings(
        root="/x",
        host="192.0.2.1",
        peers=(Peer(name="a", host="h", port=104, aet="A", destination=False),),
    )
    assert Settings.from_json(settings.to_json()) == settings
    assert settings.strict
    assert not Settings(root="/x").strict
    assert not Settings(root="/x", host="::1").strict
    assert Settings(root="/x", known_peers_only=True).strict


def test_peers_are_read_from_toml(tmp_path):
    file = tmp_path / "dicom-peers.toml"
    file.write_text('[[peer]]\nname = "ws"\nhost = "10.0.0.7"\nport = 104\naet = "WS"\n')
    assert load_peers(file) == (Peer(name="ws", host="10.0.0.7", port=104, aet="WS"),)
    for bad in (
        "[[peer]]\nname = 'x'\n",
        "[[peer]]\nname='x'\nhost='h'\nport=1\naet='WAY_TOO_LONG_A_TITLE'\n",
        "[[peer]]\nname='x'\nhost='h'\nport=0\naet='A'\n",
        "[[peer]]\nname='x'\nhost='h'\nport=1\naet='A'\nextra=1\n",
        "[[peer]]\nname='x'\nhost='h'\nport=1\naet='A'\n" * 2,
        "peer = 3",
        "][",
    ):
        file.write_text(bad)
        with pytest.raises(ParameterError):
            load_peers(file)


def test_the_ledger_counts_an_address_over_all_processes():
    first = Ledger(2, 4)
    second = Ledger(2, 4, index=1, fd=os.dup(first.fd))
    first.begin()
    second.begin()
    try:
        a = first.enter("10.0.0.1", per_address=2)
        b = second.enter("10.0.0.1", per_address=2)
        assert a is not None
        assert b is not None
        assert first.enter("10.0.0.1", per_address=2) is None
        assert first.enter("::ffff:10.0.0.1", per_address=2) is None
        assert second.enter("10.0.0.2", per_address=2) is not None
        assert second.busier()
        assert not first.busier()
        second.leave(b)
        assert first.enter("10.0.0.1", per_address=2) is not None
        first.wipe(1)
        assert not first.busier()
        slots = [first.enter(f"10.1.0.{i}", per_address=9) for i in range(3)]
        assert slots[-1] is None  # four slots
    finally:
        second.close()
        first.close()
