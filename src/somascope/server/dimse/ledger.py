"""`Ledger`: who is connected to which acceptor process, in a page of shared memory.

Each process writes its own region only, so no lock is shared between processes. It serves two
questions: how many associations an address holds altogether, and whether another acceptor has
less to do.
"""

from __future__ import annotations

import ipaddress
import mmap
import os
import struct
import tempfile
import threading

_SLOT = 32
_HEAD = 32


def _key(address: str) -> bytes:
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return b"\x01" + bytes(16)
    packed = ip.packed if ip.version == 6 else b"\0" * 10 + b"\xff\xff" + ip.packed
    return b"\x01" + packed


class Ledger:
    """Shared between the processes by the file descriptor `fd`.

    Parameters
    ----------
    processes, slots
        How many regions there are, and established associations each can hold.
    index
        The region this process writes.
    fd
        From another process's `Ledger.fd`; None makes a new, empty ledger.
    """

    def __init__(
        self, processes: int, slots: int, *, index: int = 0, fd: int | None = None
    ) -> None:
        self._processes = processes
        self._slots = slots
        self._region = _HEAD + slots * _SLOT
        size = processes * self._region
        if fd is None:
            with tempfile.TemporaryFile() as file:
                file.truncate(size)
                self.fd = os.dup(file.fileno())
        else:
            self.fd = fd
        self._map = mmap.mmap(self.fd, size)
        self._at = index * self._region
        self._index = index
        self._lock = threading.Lock()
        self._free = list(range(slots))
        self._established = self._half_open = 0

    def _write_head(self) -> None:
        struct.pack_into("<II", self._map, self._at, self._established, self._half_open)

    def half_open(self, count: int) -> None:
        """Say how many connections of this process have no association yet."""
        with self._lock:
            self._half_open = count
            self._write_head()

    def enter(self, address: str, *, per_address: int) -> int | None:
        """Take a slot for an association from ``address``; None when a budget is used up."""
        key = _key(address)
        with self._lock:
            if not self._free:
                return None
            if bytes(self._map).count(key) >= per_address:
                return None
            slot = self._free.pop()
            at = self._at + _HEAD + slot * _SLOT
            self._map[at : at + len(key)] = key
            self._established += 1
            self._write_head()
            return slot

    def leave(self, slot: int) -> None:
        """Give a slot of `enter` back."""
        with self._lock:
            at = self._at + _HEAD + slot * _SLOT
            self._map[at : at + _SLOT] = bytes(_SLOT)
            self._free.append(slot)
            self._established -= 1
            self._write_head()

    def busier(self) -> bool:
        """Whether another process has fewer connections than this one."""
        mine = self._established + self._half_open
        for other in range(self._processes):
            if other != self._index:
                a, b = struct.unpack_from("<II", self._map, other * self._region)
                if a + b < mine:
                    return True
        return False

    def wipe(self, index: int) -> None:
        """The process of region ``index`` is gone: nobody is connected to it, nobody can be."""
        at = index * self._region
        self._map[at : at + self._region] = bytes(self._region)
        struct.pack_into("<I", self._map, at, 0xFFFFFFFF)

    def begin(self) -> None:
        """Serve from now on."""
        with self._lock:
            self._write_head()

    def close(self) -> None:
        """Unmap, and close the descriptor."""
        self._map.close()
        os.close(self.fd)
