"""Who may ask: the bind rule, and every route behind the token."""

from __future__ import annotations

import base64
import hashlib

import pytest
from starlette.routing import Mount, Route

from somascope.core.errors import ParameterError, Refused
from somascope.server.app import create_app, serve_http
from somascope.server.security import COOKIE, Guard, check_bind, is_loopback
from somascope.server.settings import Settings

TOKEN = "a-token-of-good-length-0123456789"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.8.9.1", "[::1]"])
def test_loopback(host):
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.4", "scanner.hospital", "8.8.8.8"])
def test_a_reachable_address_needs_a_token(tmp_path, host):
    assert not is_loopback(host)
    with pytest.raises(Refused, match="no token"):
        check_bind(tmp_path, host)
    with pytest.raises(Refused, match="no token"):
        serve_http(tmp_path, host=host, port=0)
    with pytest.raises(Refused, match="characters"):
        check_bind(tmp_path, host, settings=Settings(token="short"))
    check_bind(tmp_path, host, settings=Settings(token=TOKEN))


def test_the_token_is_found_in_the_archive_folder(tmp_path, monkeypatch):
    monkeypatch.delenv("SOMASCOPE_TOKEN", raising=False)
    (tmp_path / "somascope.toml").write_text(f'[http]\ntoken = "{TOKEN}"\n')
    check_bind(tmp_path, "0.0.0.0")


def test_host_names():
    guard = Guard(Settings(allowed_hosts=("viewer.example",)))
    for good in ("127.0.0.1:8742", "localhost", "[::1]:1", "LOCALHOST.:9", "viewer.example:443"):
        assert guard.host_allowed(good), good
    for bad in (
        "",
        "evil.example",
        "127.0.0.1.evil.example",
        "a@127.0.0.1",
        "10.0.0.1",
        "[::1",
        "/",
    ):
        assert not guard.host_allowed(bad), bad
    anywhere = Guard(Settings(token=TOKEN), host="0.0.0.0")
    assert anywhere.host_allowed("10.0.0.1:8742")
    assert not anywhere.host_allowed("evil.example")


def test_token_forms():
    basic = base64.b64encode(f"anyone:{TOKEN}".encode()).decode()
    wrong = base64.b64encode(b"anyone:wrong").decode()
    for settings in (
        Settings(token=TOKEN),
        Settings(token_sha256=hashlib.sha256(TOKEN.encode()).hexdigest()),
    ):
        guard = Guard(settings)
        assert guard.authenticated({"authorization": f"Bearer {TOKEN}"})
        assert guard.authenticated({"authorization": f"basic {basic}"})
        for bad in ("", f"Bearer {TOKEN}x", "Bearer ", f"Basic {wrong}", "Basic %%%", TOKEN):
            assert not guard.authenticated({"authorization": bad}), bad


def test_session_cookies():
    guard = Guard(Settings(token=TOKEN, session_hours=1))
    cookie = guard.new_session(now=1000)
    assert guard.session_valid(cookie, now=1000 + 3599)
    assert not guard.session_valid(cookie, now=1000 + 3601)
    expires, _, signature = cookie.partition(".")
    assert not guard.session_valid(f"{int(expires) + 9}.{signature}", now=1000)
    assert not Guard(Settings(token=TOKEN + "x")).session_valid(cookie, now=1000)
    for bad in ("", ".", "9.", f"{'9' * 30}.{signature}", "x.y", "\u0661.a"):
        assert not guard.session_valid(bad, now=0)
    assert TOKEN not in cookie


@pytest.mark.parametrize(
    ("headers", "cross"),
    [
        ({}, False),
        ({"sec-fetch-site": "same-origin"}, False),
        ({"sec-fetch-site": "none"}, False),
        ({"sec-fetch-site": "cross-site"}, True),
        ({"sec-fetch-site": "same-site"}, True),
        ({"origin": "http://127.0.0.1:1"}, False),
        ({"origin": "http://127.0.0.1:2"}, True),
        ({"origin": "https://127.0.0.1:1"}, True),
        ({"origin": "null"}, True),
    ],
)
def test_cross_site(headers, cross):
    guard = Guard(Settings())
    assert guard.cross_site({"host": "127.0.0.1:1", **headers}, scheme="http") is cross


def every_route(routes, prefix=""):
    """Path and methods of all routes, in mounted applications too."""
    for route in routes:
        if isinstance(route, Mount):
            yield from every_route(route.routes, prefix + route.path)
        elif isinstance(route, Route):
            yield prefix + route.path, sorted(route.methods or {"GET"})


def filled(path):
    """A path with all its parameters given."""
    import re

    return re.sub(r"\{[^}]*\}", "1", path)


def test_every_route_needs_the_token(fresh_web):
    from somascope.archive import Archive

    web = fresh_web(token=TOKEN)
    with Archive.open(web.root) as archive:
        app = create_app(archive, settings=Settings(token=TOKEN))
        routes = list(every_route(app.routes))
    with web.client(authorization=f"Bearer {TOKEN}") as client:
        described = client.get("/openapi.json").json()["paths"]  # what routers of routers hold
    routes += [(path, [m.upper() for m in entry]) for path, entry in described.items()]
    paths = [path for path, _ in routes]
    assert "/dicom-web/studies" in paths
    assert "/wado" in paths
    assert "/api/jobs" in paths
    assert len(paths) > 40
    with web.client() as client:
        for path, methods in routes:
            for method in {*methods, "GET", "POST", "DELETE", "PUT", "PATCH", "OPTIONS"}:
                answer = client.request(method, filled(path))
                assert answer.status_code == 401, (method, path)
                assert b"vr" not in answer.content
                assert "www-authenticate" in answer.headers
        for path in ("/", "/docs", "/openapi.json", "/nothing", "/assets/../x"):
            assert client.get(path).status_code == 401, path
    with web.client(authorization=f"Bearer {TOKEN}") as client:
        assert client.get("/dicom-web/studies").status_code == 204
        assert client.get("/docs").status_code == 200


def test_login_in_the_browser(fresh_web):
    web = fresh_web(token=TOKEN)
    with web.client() as client:
        asked = client.get("/", headers={"sec-fetch-mode": "navigate"})
        assert (asked.status_code, asked.headers["location"]) == (303, "/login")
        assert "Token" in client.get("/login").text
        assert client.post("/login", data={"token": "wrong"}).status_code == 401
        assert client.get("/dicom-web/studies").status_code == 401
        cross = client.post(
            "/login", data={"token": TOKEN}, headers={"origin": "http://evil.example"}
        )
        assert cross.status_code == 403
        done = client.post("/login", data={"token": TOKEN})
        assert done.status_code == 303
        cookie = done.headers["set-cookie"]
        assert COOKIE in cookie
        assert "HttpOnly" in cookie
        assert "SameSite=Strict" in cookie
        assert client.get("/dicom-web/studies").status_code == 204
        client.get("/logout")
        assert client.get("/dicom-web/studies").status_code == 401


def test_cross_site_requests_change_nothing(web, make_slice):
    with web.client() as client:
        for headers in (
            {"origin": "http://evil.example"},
            {"sec-fetch-site": "cross-site"},
            {"origin": "null"},
        ):
            for method in ("POST", "PUT", "DELETE", "PATCH"):
                answer = client.request(
                    method,
                    "/dicom-web/studies",
                    headers={**headers, "content-type": "application/dicom"},
                    content=make_slice(90),
                )
                assert answer.status_code == 403, (method, headers)
        answer = client.get("/dicom-web/studies", headers={"origin": "http://evil.example"})
        assert "access-control-allow-origin" not in answer.headers


def test_cors_only_for_named_origins(fresh_web):
    web = fresh_web(cors_origins=("https://viewer.example",))
    with web.client() as client:
        good = client.get("/dicom-web/studies", headers={"origin": "https://viewer.example"})
        assert good.headers["access-control-allow-origin"] == "https://viewer.example"
        asked = client.options(
            "/dicom-web/studies",
            headers={"origin": "https://viewer.example", "access-control-request-method": "GET"},
        )
        assert asked.status_code == 204
        bad = client.get("/dicom-web/studies", headers={"origin": "https://other.example"})
        assert "access-control-allow-origin" not in bad.headers


def test_rebinding_is_refused(web):
    with web.client() as client:
        answer = client.get("/dicom-web/studies", headers={"host": "evil.example:80"})
        assert answer.status_code == 400
        assert "allowed_hosts" in answer.json()["detail"]


def test_security_headers_are_everywhere(web):
    with web.client() as client:
        for path in (
            "/",
            "/docs",
            "/dicom-web/studies",
            "/dicom-web/studies/9/metadata",
            "/nothing.js",
        ):
            headers = client.get(path).headers
            assert "default-src 'self'" in headers["content-security-policy"], path
            assert "unsafe-eval" not in headers["content-security-policy"].replace(
                "wasm-unsafe-eval", ""
            )
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["x-frame-options"] == "DENY"
            assert "cache-control" in headers
            assert "server" not in headers


def test_only_loopback_listens_by_default(web):
    import socket
    from urllib.parse import urlsplit

    port = urlsplit(web.url).port
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing; tells this machine's own address
        except OSError:
            pytest.skip("this machine has no address but loopback")
        address = probe.getsockname()[0]
    if address.startswith("127."):
        pytest.skip("this machine has no address but loopback")
    with pytest.raises(OSError), socket.create_connection((address, port), timeout=2):
        pass


def test_settings_from_file_and_environment(tmp_path):
    (tmp_path / "somascope.toml").write_text(
        '[http]\npage = 7\nallowed_hosts = ["a.example"]\n[dicom]\nanything = 1\n'
    )
    settings = Settings.load(
        tmp_path, environ={"SOMASCOPE_PAGE": "9", "SOMASCOPE_CORS_ORIGINS": "https://x, https://y"}
    )
    assert settings.page == 9
    assert settings.allowed_hosts == ("a.example",)
    assert settings.cors_origins == ("https://x", "https://y")
    assert Settings.load(tmp_path / "nowhere", environ={}) == Settings()
    assert TOKEN not in repr(Settings(token=TOKEN))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[http]\npages = 7\n", "no setting 'pages'"),
        ("[http]\npage = 'x'\n", "page 'x' must be a whole number"),
        ("[http]\npage = -1\n", "above 0"),
        ("[http]\ntoken = 5\n", "token must be a text"),
        ("http = 5\n", "not a table"),
        ("[http\n", "not valid TOML"),
        ("[http]\ntls_key = 'k.pem'\n", "go together"),
        ("[http]\ntoken_sha256 = 'abc'\n", "64 hexadecimal"),
        ("[http]\npage = true\n", "whole number"),
    ],
)
def test_wrong_settings_are_named(tmp_path, text, message):
    (tmp_path / "somascope.toml").write_text(text)
    with pytest.raises(ParameterError, match=message):
        Settings.load(tmp_path, environ={})
