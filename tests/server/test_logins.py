"""Guessing is slow; cookies are signed by a secret of the archive; both can be renewed."""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import os
import stat

import httpx
import pytest

from somascope.core.errors import Refused
from somascope.server import credentials
from somascope.server.attempts import MOST_ADDRESSES, WINDOW, Attempts, network
from somascope.server.credentials import FILE, Credentials, new_token, read
from somascope.server.security import COOKIE, Guard, check_bind
from somascope.server.settings import Settings

TOKEN = "a-token-of-good-length-0123456789"
LOCKED = Settings(token=TOKEN)
GOOD, BAD = {"authorization": f"Bearer {TOKEN}"}, {"authorization": "Bearer guess"}


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_an_address_waits_after_its_failures():
    clock = Clock()
    attempts = Attempts(each=3, total=1000, clock=clock)
    for _ in range(3):
        assert attempts.wait("10.0.0.1") == 0
        attempts.failed("10.0.0.1")
        clock.now += 1
    assert attempts.wait("10.0.0.1") == WINDOW - 3
    assert attempts.wait("10.0.0.2") == 0
    clock.now += WINDOW - 3
    assert attempts.wait("10.0.0.1") == 0
    attempts.failed("10.0.0.1")
    assert attempts.wait("10.0.0.1") == 1  # the window slides


def test_strangers_cannot_lock_out_who_works_here():
    clock = Clock()
    attempts = Attempts(each=3, total=20, clock=clock)
    attempts.succeeded("10.0.0.1")
    for n in range(20):
        attempts.failed(f"192.0.2.{n}")
    assert attempts.wait("198.51.100.7") > 0
    assert attempts.wait("10.0.0.1") == 0
    for _ in range(29):
        attempts.failed("10.0.0.1")
    assert attempts.wait("10.0.0.1") == 0
    attempts.failed("10.0.0.1")
    assert attempts.wait("10.0.0.1") > 0


def test_one_user_has_one_network():
    assert network("2001:db8:1:2::9") == network("2001:db8:1:2:ffff::1") == "2001:db8:1:2::/64"
    assert network("::ffff:10.1.2.3") == "10.1.2.3"
    assert network("fe80::1%eth0") == "fe80::/64"
    assert len(network("x" * 1000)) <= 64


def test_memory_of_failures_is_bounded():
    attempts = Attempts(each=3, total=5, clock=Clock())
    for n in range(MOST_ADDRESSES + 50):
        attempts.failed(f"{n}")
        attempts.succeeded(f"{n}")
    assert len(attempts._failures) == len(attempts._trusted) == MOST_ADDRESSES


def test_too_many_wrong_tokens_are_429(fresh_web, caplog):
    web = fresh_web(token=TOKEN, login_attempts=4)
    with web.client() as client, caplog.at_level(logging.WARNING, "somascope.server.security"):
        for _ in range(4):
            assert client.get("/dicom-web/studies", headers=BAD).status_code == 401
        refused = client.get("/dicom-web/studies", headers=BAD)
        assert refused.status_code == 429
        assert 0 < int(refused.headers["retry-after"]) <= WINDOW
        # Not even the right one is compared now, and the form says so, too.
        assert client.get("/dicom-web/studies", headers=GOOD).status_code == 429
        page = client.post("/login", data={"token": TOKEN})
        assert (page.status_code, COOKIE in page.headers.get("set-cookie", "")) == (429, False)
        assert "too many wrong tokens" in page.text
        assert "retry-after" in page.headers
        # Who sends none is no guesser.
        assert client.get("/dicom-web/studies").status_code == 401
    assert sum("a wrong token from 127.0.0.1" in m for m in caplog.messages) == 4
    assert sum("are refused" in m for m in caplog.messages) == 1
    assert TOKEN not in caplog.text
    assert "guess" not in caplog.text


def test_sessions_go_on_while_guessers_wait(fresh_web):
    web = fresh_web(token=TOKEN, login_attempts=2)
    with web.client() as reader, web.client() as guesser:
        assert reader.post("/login", data={"token": TOKEN}).status_code == 303
        for _ in range(40):
            guesser.post("/login", data={"token": "guess"})
        assert guesser.post("/login", data={"token": "guess"}).status_code == 429
        assert reader.get("/dicom-web/studies").status_code == 204


def test_the_digest_makes_no_cookie(tmp_path):
    guard = Guard(LOCKED, credentials=Credentials(tmp_path, LOCKED))
    digest = hashlib.sha256(TOKEN.encode()).hexdigest()
    expires = "99999999999"
    for key in (
        hashlib.sha256(b"somascope session " + digest.encode()).digest(),
        digest.encode(),
        bytes.fromhex(digest),
        TOKEN.encode(),
        b"",
    ):
        forged = hmac.new(key, expires.encode(), hashlib.sha256).hexdigest()
        assert not guard.session_valid(f"{expires}.{forged}")


def test_the_secret_is_the_archives_own(tmp_path):
    first, second = tmp_path / "a", tmp_path / "b"
    for folder in (first, second):
        folder.mkdir()
    one = Guard(LOCKED, credentials=Credentials(first, LOCKED))
    cookie = one.new_session()
    assert one.session_valid(cookie)
    assert Guard(LOCKED, credentials=Credentials(first, LOCKED)).session_valid(cookie)
    assert not Guard(LOCKED, credentials=Credentials(second, LOCKED)).session_valid(cookie)
    other = Settings(token=TOKEN + "!")
    assert not Guard(other, credentials=Credentials(first, other)).session_valid(cookie)
    found = json.loads((first / FILE).read_text())
    assert len(bytes.fromhex(found["session"])) == 32
    assert TOKEN not in (first / FILE).read_text()


@pytest.mark.skipif(os.name == "nt", reason="files have no modes there")
def test_only_the_owner_can_read_it(tmp_path):
    old = os.umask(0)
    try:
        Credentials(tmp_path, LOCKED)
    finally:
        os.umask(old)
    path = tmp_path / FILE
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o640)
    with pytest.raises(Refused, match="read by others"):
        check_bind(tmp_path, "127.0.0.1")
    with pytest.raises(Refused, match="read by others"):
        Credentials(tmp_path, LOCKED)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"session": "ab"}', '{"session": 5}', "\xff"])
def test_a_damaged_file_is_refused(tmp_path, text):
    (tmp_path / FILE).write_text(text)
    (tmp_path / FILE).chmod(0o600)
    with pytest.raises(Refused, match="damaged"):
        read(tmp_path)


def test_nothing_is_written_where_nothing_is_locked(tmp_path):
    assert Credentials(tmp_path, Settings()).digest == ""
    assert list(tmp_path.iterdir()) == []


def test_a_new_token_ends_what_was_valid(tmp_path, monkeypatch):
    monkeypatch.setattr(credentials, "CHECKED", 0.0)
    monkeypatch.delenv("SOMASCOPE_TOKEN", raising=False)
    token = new_token(tmp_path)
    check_bind(tmp_path, "0.0.0.0")
    guard = Guard(Settings(), credentials=Credentials(tmp_path, Settings()))
    assert guard.locked
    assert guard.token_matches(token)
    cookie = guard.new_session()
    assert guard.session_valid(cookie)
    second = new_token(tmp_path)
    assert second != token
    assert not guard.session_valid(cookie)
    assert not guard.token_matches(token)
    assert guard.token_matches(second)
    (tmp_path / FILE).unlink()  # that must not open the door
    assert guard.locked
    assert guard.token_matches(second)
    (tmp_path / FILE).write_text("{")
    (tmp_path / FILE).chmod(0o600)
    assert guard.token_matches(second)


def test_a_token_of_the_settings_wins(tmp_path, monkeypatch):
    monkeypatch.setenv("SOMASCOPE_TOKEN", TOKEN)
    with pytest.raises(Refused, match="already"):
        new_token(tmp_path)


def test_a_running_server_takes_the_new_token(fresh_web, monkeypatch):
    monkeypatch.setattr(credentials, "CHECKED", 0.0)
    web = fresh_web()
    with web.client() as client:
        assert client.get("/dicom-web/studies").status_code == 204
        token = new_token(web.root)
        assert client.get("/dicom-web/studies").status_code == 401
        good = httpx.Headers({"authorization": f"Bearer {token}"})
        assert client.get("/dicom-web/studies", headers=good).status_code == 204


def test_behind_a_proxy_each_client_has_his_own_budget(fresh_web):
    web = fresh_web(token=TOKEN, login_attempts=2, trusted_proxies=("127.0.0.1",))
    with web.client() as client:

        def guess(address: str) -> int:
            headers = {**BAD, "x-forwarded-for": address}
            return client.get("/dicom-web/studies", headers=headers).status_code

        assert [guess("10.9.9.1") for _ in range(3)] == [401, 401, 429]
        assert guess("10.9.9.2") == 401
        page = client.post(
            "/login", data={"token": TOKEN},
            headers={"x-forwarded-proto": "https", "x-forwarded-for": "10.9.9.3"},
        )  # fmt: skip
        assert "; Secure" in page.headers["set-cookie"]


def test_who_is_no_proxy_is_not_believed(fresh_web):
    web = fresh_web(token=TOKEN, login_attempts=2)
    with web.client() as client:
        answers = [
            client.get(
                "/dicom-web/studies", headers={**BAD, "x-forwarded-for": f"10.9.9.{n}"}
            ).status_code
            for n in range(3)
        ]
    assert answers == [401, 401, 429]
