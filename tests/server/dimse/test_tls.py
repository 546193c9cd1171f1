"""DIMSE over TLS: with our own client, with DCMTK, and against those who must not come in."""

from __future__ import annotations

import hashlib
import queue
import shutil
import ssl
import subprocess
import threading
import time
from pathlib import Path

import pytest

from somascope.archive import Archive
from somascope.core.errors import ParameterError
from somascope.server.dimse import scu
from somascope.server.dimse.ended import AssociationEnded, TransportClosed
from somascope.server.dimse.requestor import Remote
from somascope.server.dimse.serve import serve_dimse
from somascope.server.dimse.settings import Limits, Peer, Settings, load_peers
from somascope.server.dimse.tls import Tls
from tests.server.dimse.conftest import FILES, associate_rq, door

pytestmark = pytest.mark.skipif(
    shutil.which("openssl") is None, reason="certificates are made with the openssl command"
)


def openssl(*words: str, cwd: Path) -> None:
    subprocess.run(["openssl", *words], cwd=cwd, check=True, capture_output=True)


def authority(folder: Path, name: str) -> None:
    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
            "-keyout", f"{name}.key", "-out", f"{name}.pem", "-days", "2", "-subj", f"/CN={name}",
            cwd=folder)  # fmt: skip


def certificate(folder: Path, name: str, *, ca: str, days: int = 2) -> None:
    openssl("req", "-newkey", "rsa:2048", "-nodes", "-keyout", f"{name}.key", "-out",
            f"{name}.csr", "-subj", f"/CN={name}", cwd=folder)  # fmt: skip
    (folder / f"{name}.ext").write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\n")
    openssl("x509", "-req", "-in", f"{name}.csr", "-CA", f"{ca}.pem", "-CAkey", f"{ca}.key",
            "-CAcreateserial", "-out", f"{name}.pem", "-days", str(days), "-extfile",
            f"{name}.ext", cwd=folder)  # fmt: skip


@pytest.fixture(scope="session")
def pki(tmp_path_factory) -> Path:
    """Two authorities; a server and a client of the first, a client of the other."""
    folder = tmp_path_factory.mktemp("pki")
    authority(folder, "hospital")
    authority(folder, "strangers")
    for name, ca in (("server", "hospital"), ("scanner", "hospital"), ("stranger", "strangers")):
        certificate(folder, name, ca=ca)
    return folder


def tls(pki: Path, name: str = "server", *, mutual: bool = True) -> Tls:
    ca = str(pki / "hospital.pem")
    return Tls(
        tls_certificate=str(pki / f"{name}.pem"), tls_key=str(pki / f"{name}.key"),
        tls_client_ca=ca if mutual else "", tls_ca=ca,
    )  # fmt: skip


def remote(port: int, context: ssl.SSLContext | None, **more) -> Remote:
    return Remote(
        host="127.0.0.1", port=port, aet="SOMASCOPE", connect=5, network=5, tls=context, **more
    )


@pytest.fixture
def secured(recorder, pki, tmp_path):
    limits = Limits(artim=1.5, network=8.0, idle=20.0)
    with door(recorder, tmp_path, limits=limits, tls=tls(pki)) as running:
        yield running


def test_echo_and_store(secured, recorder, pki):
    there = remote(secured.port, tls(pki, "scanner").client())
    assert scu.echo(there) >= 0
    names = ["CT_small.dcm", "JPEG2000.dcm", "examples_ybr_color.dcm", "rtplan.dcm"]
    sent = scu.store(there, [FILES / n for n in names])
    assert [s.status for s in sent] == [0] * len(names)
    assert len(recorder.got) == len(names)


def test_large_data_both_ways(pki, tmp_path):
    import numpy as np

    from tests.server.objects import RAW, STUDY, raw_data

    samples = np.random.default_rng(1).bytes(24 << 20)
    data = raw_data(samples)
    with (
        Archive.open(tmp_path / "archive") as archive,
        door(archive, archive.root, tls=tls(pki)) as running,
    ):
        there = remote(running.port, tls(pki, "scanner").client())
        assert [s.status for s in scu.store(there, [data])] == [0]
        found = scu.find(there, {"StudyInstanceUID": STUDY, "PatientName": ""}, level="STUDY")
        assert len(list(found)) == 1
        got: list[str] = []

        def keep(one: scu.Arrived) -> int:
            got.append(hashlib.sha256(one.dataset).hexdigest())
            return 0

        report = scu.get(there, {"StudyInstanceUID": STUDY}, arrived=keep, sop_classes=[RAW])
        assert (report.completed, report.failed) == (1, 0)
        (kept,) = archive.locate(study=STUDY)
        assert got == [kept.sha256]


def test_who_may_not_come_in(secured, recorder, pki):
    hospital = str(pki / "hospital.pem")
    for context in (
        tls(pki, "stranger").client(),  # of another authority
        Tls(tls_ca=hospital).client(),  # without a certificate
        None,  # without TLS
    ):
        with pytest.raises(AssociationEnded):
            scu.echo(remote(secured.port, context))
    assert scu.echo(remote(secured.port, tls(pki, "scanner").client())) >= 0


def test_we_do_not_talk_to_who_is_not_who_he_says(secured, pki):
    with pytest.raises(TransportClosed, match="TLS"):
        scu.echo(remote(secured.port, Tls(tls_ca=str(pki / "strangers.pem")).client()))


@pytest.mark.parametrize(
    ("version", "ciphers"),
    [
        (ssl.TLSVersion.TLSv1, "ALL:@SECLEVEL=0"),
        (ssl.TLSVersion.TLSv1_1, "ALL:@SECLEVEL=0"),
        (ssl.TLSVersion.TLSv1_2, "AES128-GCM-SHA256:@SECLEVEL=0"),  # no forward secrecy
        (ssl.TLSVersion.TLSv1_2, "ECDHE-RSA-AES128-SHA:@SECLEVEL=0"),  # CBC
        (ssl.TLSVersion.TLSv1_2, "NULL:@SECLEVEL=0"),
        (ssl.TLSVersion.TLSv1_2, "aNULL:@SECLEVEL=0"),
    ],
)
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_what_is_too_weak_is_refused(recorder, pki, tmp_path, version, ciphers):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.minimum_version = context.maximum_version = version
    context.set_ciphers(ciphers)
    with door(recorder, tmp_path, tls=tls(pki, mutual=False)) as running:
        with running.connect() as plain, pytest.raises((ssl.SSLError, ConnectionError)):
            context.wrap_socket(plain)
        assert scu.echo(remote(running.port, tls(pki).client())) >= 0


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_both_good_versions(recorder, pki, tmp_path, version):
    context = tls(pki, "scanner").client()
    context.minimum_version = context.maximum_version = version
    with door(recorder, tmp_path, tls=tls(pki)) as running:
        assert scu.echo(remote(running.port, context)) >= 0


def test_idle_handshakes_lock_nobody_out(secured, pki):
    """R14 with TLS: who connects and says nothing, or half of a ClientHello, costs no thread."""
    idle = [secured.connect() for _ in range(40)]
    for n, sock in enumerate(idle):
        if n % 2:
            sock.sendall(b"\x16\x03\x01\x02\x00\x01")
    assert scu.echo(remote(secured.port, tls(pki, "scanner").client())) < 5
    until = time.monotonic() + 20
    for sock in idle:  # the ARTIM timer ends them
        sock.settimeout(max(until - time.monotonic(), 0.1))
        try:
            while sock.recv(64):
                pass
        except ConnectionError:
            pass
        sock.close()


def test_after_the_handshake_the_timer_still_runs(secured, pki):
    context = tls(pki, "scanner").client()
    with context.wrap_socket(secured.connect(), server_hostname="127.0.0.1") as sock:
        sock.settimeout(15)
        assert sock.recv(1) == b""
    rq = associate_rq()
    with context.wrap_socket(secured.connect(), server_hostname="127.0.0.1") as sock:
        for at in range(0, len(rq), 40):  # in pieces, as slow peers do
            sock.sendall(rq[at : at + 40])
        assert sock.recv(1) == b"\x02"  # A-ASSOCIATE-AC


def test_garbage_inside_and_outside_of_tls(secured, pki):
    context = tls(pki, "scanner").client()
    for data in (b"\0" * 64, b"\x01\0\xff\xff\xff\xff" + b"x" * 64, b"GET / HTTP/1.1\r\n\r\n"):
        with secured.connect() as sock:
            sock.sendall(data)
        with context.wrap_socket(secured.connect(), server_hostname="127.0.0.1") as sock:
            sock.sendall(data)
    assert scu.echo(remote(secured.port, context)) >= 0


@pytest.mark.dcmtk
def test_dcmtk(dcmtk, pki, tmp_path):
    """Debian's echoscu, storescu, findscu, getscu with certificates on both sides."""
    mine = ["+tls", str(pki / "scanner.key"), str(pki / "scanner.pem"), "+cf",
            str(pki / "hospital.pem")]  # fmt: skip
    with (
        Archive.open(tmp_path / "archive") as archive,
        door(archive, archive.root, tls=tls(pki)) as running,
    ):
        there = ["-aec", "SOMASCOPE", "127.0.0.1", str(running.port)]

        def run(program: str, *words: str, ok: bool = True, how: list[str] = mine) -> None:
            done = subprocess.run(
                [program, *how, *words], capture_output=True, text=True, timeout=60, cwd=tmp_path
            )
            assert (done.returncode == 0) is ok, (program, done.stdout, done.stderr)

        run("echoscu", *there)
        run("storescu", *there, str(FILES / "CT_small.dcm"), str(FILES / "MR_small.dcm"))
        assert archive.stats().instances == 2
        run("findscu", "-S", "-k", "QueryRetrieveLevel=STUDY", "-k", "StudyInstanceUID", *there)
        run("echoscu", *there, ok=False, how=[])
        run("echoscu", *there, ok=False,
            how=["+tls", str(pki / "stranger.key"), str(pki / "stranger.pem"), "-ic"])  # fmt: skip


def test_c_move_to_a_peer_with_tls(pki, recorder, tmp_path):
    with (
        Archive.open(tmp_path / "archive") as archive,
        door(recorder, tmp_path / "other", aet="OTHER", tls=tls(pki)) as other,
    ):
        stored = archive.store((FILES / "CT_small.dcm").read_bytes())
        peers = (
            Peer(name="o", host="127.0.0.1", port=other.port, aet="OTHER", tls=True),
            Peer(name="p", host="127.0.0.1", port=other.port, aet="PLAIN"),
        )
        with door(archive, archive.root, peers=peers, tls=tls(pki)) as running:
            there = remote(running.port, tls(pki, "scanner").client())
            keys = {"StudyInstanceUID": stored.study}
            report = scu.move(there, keys, destination="OTHER")
            assert (report.completed, report.failed) == (1, 0)
            assert scu.move(there, keys, destination="PLAIN").completed == 0
        assert list(recorder.got) == [stored.sop_uid]


def test_settings(pki, tmp_path, monkeypatch):
    assert not Tls.load(tmp_path)
    (tmp_path / "somascope.toml").write_text(
        f'[dicom]\ntls_certificate = "{pki}/server.pem"\ntls_key = "{pki}/server.key"\n'
    )
    found = Tls.load(tmp_path)
    assert found
    monkeypatch.setenv("SOMASCOPE_DICOM_TLS_CLIENT_CA", str(pki / "hospital.pem"))
    found = Tls.load(tmp_path)
    settings = Settings(root=str(tmp_path), tls=found)
    assert Settings.from_json(settings.to_json()) == settings
    assert found.server().verify_mode == ssl.CERT_REQUIRED
    for bad in (
        {"tls_certificate": "a"},
        {"tls_client_ca": "a"},
    ):
        with pytest.raises(ParameterError):
            Tls(**bad)
    (tmp_path / "somascope.toml").write_text('[dicom]\ntls_cert = "x"\n')
    with pytest.raises(ParameterError, match="may hold tls_certificate"):
        Tls.load(tmp_path)
    missing = Tls(tls_certificate="/no/such.pem", tls_key="/no/such.key")
    with pytest.raises(ParameterError, match="cannot be used"):
        serve_dimse(tmp_path, port=0, tls=missing)
    (tmp_path / "peers.toml").write_text(
        '[[peer]]\nname = "a"\nhost = "h"\nport = 1\naet = "A"\ntls = true\n'
    )
    assert load_peers(tmp_path / "peers.toml")[0].tls


def test_the_whole_server_speaks_tls(pki, tmp_path):
    stop, told = threading.Event(), queue.Queue()
    server = threading.Thread(
        target=serve_dimse,
        args=(tmp_path / "archive",),
        kwargs={"port": 0, "processes": 1, "ready": told.put, "stop": stop, "tls": tls(pki)},
    )
    server.start()
    try:
        port = told.get(timeout=60)
        context = tls(pki, "scanner").client()
        assert scu.echo(remote(port, context)) >= 0
        sent = scu.store(remote(port, context), [FILES / "CT_small.dcm"])
        assert [s.status for s in sent] == [0]
        with pytest.raises(AssociationEnded):
            scu.echo(remote(port, None))
    finally:
        stop.set()
        server.join(20)
