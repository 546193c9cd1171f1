"""Instances on disk: written, synced, given their place under a name made here, never from input.

::

    root/objects/ab/<40 hex digits>.dcm      256 folders; one file per instance, never changed
    root/quarantine/<40 hex digits>.dcm      conflicts, kept apart
    root/incoming/<session>/<name>           being written by a living process; what a dead one left
                                             is either adopted or removed by the next `open`

Every arrival has a name of its own, so that nobody ever shares, overwrites or removes the file of
another writer. A name's bytes: 4 of the SOP Instance UID's hash, 8 of the hash of the file's bytes,
8 at random; so a file can be checked against its own name, even when the index is lost.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import importlib.util
import os
import secrets
import shutil
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from somascope.archive.records import OutOfSpace

Buffer = bytes | memoryview
NAME_BYTES = 20


def new_name(sop_uid: str, prefix: Buffer, sha256: bytes) -> bytes:
    """A fresh name for an arrival; see the module's text.

    ``prefix`` is preamble and File Meta Information, ``sha256`` the digest of the data set.
    """
    owner = hashlib.sha256(sop_uid.encode()).digest()[:4]
    return owner + _content(prefix, sha256) + secrets.token_bytes(8)


def agrees(name: bytes, prefix: Buffer, sha256: bytes) -> bool:
    """Whether a file's bytes are what they were when it was named."""
    return _content(prefix, sha256) == name[4:12]


def _content(prefix: Buffer, sha256: bytes) -> bytes:
    return hashlib.sha256(bytes(prefix) + sha256).digest()[:8]


class Files:
    """The folder tree of one archive, and this process's session in it."""

    def __init__(self, root: Path, *, reserve: int) -> None:
        self.root, self._reserve = root, reserve
        self._session: Path | None = None
        self._lock: IO[Any] | None = None
        self._opening = threading.Lock()
        for folder in ("objects", "quarantine", "incoming"):
            (root / folder).mkdir(parents=True, exist_ok=True)
        last = root / "objects" / "ff"
        if not last.is_dir():
            for i in range(256):
                (root / "objects" / f"{i:02x}").mkdir(exist_ok=True)
            sync_folder(root / "objects")
            sync_folder(root)

    def path(self, name: bytes) -> Path:
        """Where an instance is."""
        digits = name.hex()
        return self.root / "objects" / digits[:2] / f"{digits}.dcm"

    def quarantined(self, name: bytes) -> Path:
        """Where a conflicting object is."""
        return self.root / "quarantine" / f"{name.hex()}.dcm"

    def place(self, name: bytes, pieces: Sequence[Buffer] | Iterator[Buffer], size: int) -> None:
        """Write the file, link it to its place, sync the file, sync the folder.

        The link comes before the sync so that one flush of the file system's journal makes both
        durable. What a power cut leaves under the final name may be damaged then; it has no row,
        and is taken up only where its bytes agree with its name.
        """
        free = os.statvfs(self.root) if hasattr(os, "statvfs") else None
        if free is not None and free.f_bavail * free.f_frsize < size + self._reserve:
            raise OutOfSpace(
                f"{self.root} has {free.f_bavail * free.f_frsize >> 20} MiB free, {size >> 20} MiB "
                f"and a reserve of {self._reserve >> 20} MiB are needed; free some and send again"
            )
        temporary, final = self._temporary(name), self.path(name)
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640)
            try:
                _write(descriptor, pieces)
                _link(temporary, final)
                _sync(descriptor)
            finally:
                os.close(descriptor)
            sync_folder(final.parent)
        except OSError as error:
            self.drop(name)
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise OutOfSpace(
                    f"{self.root}: {error.strerror}; free some space and send again"
                ) from error
            raise

    def settle(self, name: bytes) -> None:
        """The index knows the file: its temporary name is no longer needed."""
        if self._session is not None:
            with contextlib.suppress(OSError):
                (self._session / name.hex()).unlink()

    def drop(self, name: bytes) -> None:
        """Remove an arrival that did not come into the index."""
        with contextlib.suppress(OSError):
            self.path(name).unlink()
        self.settle(name)

    def isolate(self, name: bytes) -> None:
        """Give an arrival a place in quarantine, durably; `drop` then removes the other one."""
        target = self.quarantined(name)
        with contextlib.suppress(FileExistsError):
            _link(self.path(name), target, keep=True)
        sync_folder(target.parent)

    def _temporary(self, name: bytes) -> Path:
        with self._opening:
            if self._session is None or not self._session.is_dir():
                token = f"{os.getpid()}-{secrets.token_hex(6)}"
                unlocked = self.root / "incoming" / f".{token}"
                unlocked.mkdir()
                self._lock = _flock(unlocked / "lock")
                self._session = unlocked.rename(self.root / "incoming" / token)
            return self._session / name.hex()

    def abandoned(self) -> Iterator[tuple[Path, list[bytes]]]:
        """Sessions of dead processes, with the names of the files they left in their places.

        Files that never got there are removed; the caller removes the session (`forget`) when it
        has dealt with the names.
        """
        for session in sorted((self.root / "incoming").iterdir()):
            if session == self._session or not session.is_dir():
                continue
            if session.name.startswith("."):  # not locked yet; its owner has an hour for that
                if time.time() - session.stat().st_mtime > 3600:
                    self.forget(session)
                continue
            lock = _flock(session / "lock", block=False)
            if lock is None:
                continue
            names: list[bytes] = []
            for temporary in session.iterdir():
                with contextlib.suppress(ValueError):
                    name = bytes.fromhex(temporary.name)
                    if len(name) == NAME_BYTES and self.path(name).exists():
                        names.append(name)
            yield session, names
            lock.close()

    def pending(self) -> set[bytes]:
        """Names of arrivals that are being written, or wait for their row."""
        found: set[bytes] = set()
        for temporary in (self.root / "incoming").glob("*/*"):
            with contextlib.suppress(ValueError):
                found.add(bytes.fromhex(temporary.name))
        return found

    def forget(self, session: Path) -> None:
        """Remove a dead session."""
        shutil.rmtree(session, ignore_errors=True)

    def names(self) -> Iterator[tuple[bytes, os.stat_result]]:
        """Every file under ``objects``."""
        for shard in sorted((self.root / "objects").iterdir()):
            with os.scandir(shard) as entries:
                for entry in entries:
                    stem = entry.name.removesuffix(".dcm")
                    if stem != entry.name and len(stem) == 2 * NAME_BYTES:
                        yield bytes.fromhex(stem), entry.stat()

    def close(self) -> None:
        """End the session."""
        if self._session is not None:
            self.forget(self._session)
            self._session = None
        if self._lock is not None:
            self._lock.close()
            self._lock = None


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    if os.name == "nt":  # NTFS journals names; folders cannot be opened there
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync(descriptor: int) -> None:
    if hasattr(os, "fdatasync"):
        os.fdatasync(descriptor)
        return
    try:
        import fcntl

        full = fcntl.F_FULLFSYNC  # type: ignore[attr-defined]  # fsync stops at the drive's cache
        fcntl.fcntl(descriptor, full)
    except (ImportError, AttributeError, OSError):
        os.fsync(descriptor)


def _write(descriptor: int, pieces: Sequence[Buffer] | Iterator[Buffer]) -> None:
    if isinstance(pieces, Sequence) and hasattr(os, "writev"):
        left = [memoryview(p) for p in pieces if len(p)]
        while left:
            done = os.writev(descriptor, left)
            while left and done >= len(left[0]):
                done -= len(left.pop(0))
            if done:
                left[0] = left[0][done:]
        return
    for piece in pieces:
        rest = memoryview(piece)
        while rest:
            rest = rest[os.write(descriptor, rest) :]


def _link(source: Path, target: Path, *, keep: bool = False) -> None:
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS):
            raise
        if keep:  # a file system without links
            shutil.copyfile(source, target)
        else:
            source.rename(target)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[bool]:
    """Hold a lock file within the block; false where another holds it (if that can be told)."""
    if importlib.util.find_spec("fcntl") is None:
        yield True
        return
    lock = _flock(path, block=False)
    try:
        yield lock is not None
    finally:
        if lock is not None:
            lock.close()


def _flock(path: Path, *, block: bool = True) -> IO[Any] | None:
    """An open, locked file; ``None`` where somebody else holds it (or nobody can tell)."""
    try:
        import fcntl
    except ImportError:
        return path.open("a") if block else None
    try:
        file = path.open("a")
    except OSError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if block else fcntl.LOCK_NB))
    except OSError:
        file.close()
        return None
    return file
