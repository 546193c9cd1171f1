"""A small HTTP/1.1 client over one kept connection: cheap enough not to be what is measured."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True)
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes


class Connection:
    """One connection; a body that is not kept is read into one buffer again and again."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=120)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._port = port
        self._buffer = bytearray(1 << 20)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, method: str, path: str, headers: dict[str, str], body: bytes = b"") -> None:
        lines = [f"{method} {path} HTTP/1.1", f"Host: 127.0.0.1:{self._port}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        if body or method == "POST":
            lines.append(f"Content-Length: {len(body)}")
        self._socket.sendall(("\r\n".join(lines) + "\r\n\r\n").encode() + body)

    def receive(self, *, keep: bool = True) -> Reply:
        """Read one reply; with ``keep`` false its body is read and dropped."""
        got = b""
        while (stop := got.find(b"\r\n\r\n")) < 0:
            piece = self._socket.recv(65536)
            if not piece:
                raise ConnectionError("the server closed the connection")
            got += piece
        first, *rest = got[:stop].decode("latin-1").split("\r\n")
        headers = {k.strip().lower(): v.strip() for k, _, v in (r.partition(":") for r in rest)}
        status, tail = int(first.split(" ")[1]), got[stop + 4 :]
        if headers.get("transfer-encoding", "").lower() == "chunked":
            return Reply(status, headers, self._chunked(tail))
        if "content-length" not in headers and status not in (204, 304):
            return Reply(status, headers, self._to_the_end(tail, keep=keep))
        length = int(headers.get("content-length", "0"))
        if not keep:
            left = length - len(tail)
            while left > 0:
                left -= self._into(memoryview(self._buffer)[: min(left, len(self._buffer))])
            return Reply(status, headers, b"")
        body = bytearray(length)
        body[: len(tail)] = tail
        done, view = len(tail), memoryview(body)
        while done < length:
            done += self._into(view[done:])
        return Reply(status, headers, bytes(body))

    def _into(self, view: memoryview) -> int:
        n = self._socket.recv_into(view)
        if n == 0:
            raise ConnectionError("the server closed the connection")
        return n

    def _to_the_end(self, tail: bytes, *, keep: bool) -> bytes:
        """A body that ends with its connection (Orthanc's way to send a series)."""
        body = bytearray(tail)
        while n := self._socket.recv_into(self._buffer):
            if keep:
                body += memoryview(self._buffer)[:n]
        return bytes(body)

    def _chunked(self, tail: bytes) -> bytes:
        buffer, out = bytearray(tail), bytearray()
        while True:
            line = buffer.find(b"\r\n")
            if line >= 0:
                size = int(bytes(buffer[:line]).split(b";")[0], 16)
                while len(buffer) < line + 2 + size + 2:
                    buffer += self._more()
                out += buffer[line + 2 : line + 2 + size]
                del buffer[: line + 2 + size + 2]
                if size == 0:
                    return bytes(out)
            else:
                buffer += self._more()

    def _more(self) -> bytes:
        piece = self._socket.recv(1 << 20)
        if not piece:
            raise ConnectionError("the server closed the connection")
        return piece

    def get(self, path: str, accept: str, *, keep: bool = True) -> Reply:
        self.send("GET", path, {"Accept": accept})
        return self.receive(keep=keep)

    def post(self, path: str, content_type: str, accept: str, body: bytes) -> Reply:
        self.send("POST", path, {"Accept": accept, "Content-Type": content_type}, body)
        return self.receive()
