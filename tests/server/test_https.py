"""HTTPS with a certificate of the settings: modern versions and ciphers, nothing else."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
from urllib.parse import urlsplit

import httpx
import pytest

pytestmark = pytest.mark.skipif(
    shutil.which("openssl") is None, reason="certificates are made with the openssl command"
)


@pytest.fixture
def secured(tmp_path, fresh_web):
    """Address of a server with a certificate, and a context that trusts it."""
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out",
         certificate, "-days", "2", "-subj", "/CN=x", "-addext", "subjectAltName=IP:127.0.0.1"],
        check=True, capture_output=True,
    )  # fmt: skip
    web = fresh_web(tls_certificate=str(certificate), tls_key=str(key))
    context = ssl.create_default_context(cafile=str(certificate))
    return urlsplit(web.url).port, context


def test_requests_and_addresses(secured, make_slice):
    port, context = secured
    with httpx.Client(base_url=f"https://127.0.0.1:{port}", verify=context) as client:
        assert client.get("/dicom-web/studies").status_code == 204
        answer = client.post(
            "/dicom-web/studies",
            content=make_slice(1),
            headers={"content-type": "application/dicom"},
        )
        assert answer.status_code == 200
        assert answer.json()["00081190"]["Value"][0].startswith(f"https://127.0.0.1:{port}/")


@pytest.mark.parametrize(
    ("version", "ciphers", "good"),
    [
        (ssl.TLSVersion.TLSv1_3, None, True),
        (ssl.TLSVersion.TLSv1_2, "ECDHE-RSA-AES256-GCM-SHA384", True),
        (ssl.TLSVersion.TLSv1_2, "ECDHE-RSA-AES256-SHA:@SECLEVEL=0", False),
        (ssl.TLSVersion.TLSv1_2, "AES256-GCM-SHA384:@SECLEVEL=0", False),
        (ssl.TLSVersion.TLSv1_1, "ALL:@SECLEVEL=0", False),
    ],
)
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_versions_and_ciphers(secured, version, ciphers, good):
    port, context = secured
    context.minimum_version = context.maximum_version = version
    if ciphers:
        context.set_ciphers(ciphers)
    with socket.create_connection(("127.0.0.1", port), timeout=10) as plain:
        if good:
            with context.wrap_socket(plain, server_hostname="127.0.0.1") as sock:
                assert sock.version() is not None
        else:
            with pytest.raises((ssl.SSLError, ConnectionError)):
                context.wrap_socket(plain, server_hostname="127.0.0.1")
