"""What a process that reads untrusted bytes may still do: compute, read files, write its pipe.

Limits of memory and time by ``setrlimit`` where the system has it. On Linux (x86-64), a filter of
system calls besides (seccomp): no network, no other program, no signal to others, nothing written
or removed on disk. A codec that is taken over by its input is then a process that can only lie.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
import sys

_DENIED = """
41 42 43 44 46 49 50 57 58 59 62 86 88 101 133 165 200 248 250 259 265 266 272 288 298 308 310 311
321 322 323 425 434 438
"""
"""x86-64 numbers of: sockets, fork, vfork, exec, kill, link, symlink, ptrace, mknod, mount, tkill,
keys, their newer forms, unshare, perf, setns, process_vm, bpf, userfaultfd, io_uring, pidfd."""
_CHANGES = "76 77 82 83 84 85 87 90 91 92 93 94 258 260 263 264 268 280 316"
"""Of: truncate, rename, mkdir, rmdir, creat, unlink, chmod, chown, utimensat, newer forms."""
_OPEN, _OPENAT, _CLONE, _CLONE3, _OPENAT2, _SECCOMP = 2, 257, 56, 435, 437, 317
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_CLONE_THREAD = 0x10000
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000


def confine(*, memory: int, writes: bool = False) -> bool:
    """Give up for ever what decoding does not need; true where system calls are filtered, too.

    ``memory`` is how many bytes more than now the process may take; ``writes``: it may still write
    files. Call it when all is imported.
    """
    try:
        import resource
    except ImportError:  # Windows: time and crashes are the parent's to see
        return False
    _lower(resource.RLIMIT_AS, _size() + memory)
    _lower(resource.RLIMIT_CORE, 0)
    if not writes:
        _lower(resource.RLIMIT_FSIZE, 0)
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return False
    return _filter(writes=writes)


def spend(seconds: float) -> None:
    """From now on the process may use ``seconds`` of CPU time; then it is killed (SIGXCPU)."""
    try:
        import resource
    except ImportError:
        return
    used = resource.getrusage(resource.RUSAGE_SELF)
    soft = int(used.ru_utime + used.ru_stime + seconds) + 1
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    if hard != resource.RLIM_INFINITY:
        soft = min(soft, hard)
    resource.setrlimit(resource.RLIMIT_CPU, (soft, hard))


def resident() -> int:
    """Bytes of memory that this process holds; 0 where the system does not say."""
    return _statm(1)


def _size() -> int:
    return _statm(0)


def _statm(field: int) -> int:
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[field]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return 0


def _lower(which: int, value: int) -> None:
    import resource

    _, hard = resource.getrlimit(which)
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    resource.setrlimit(which, (value, value))


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("code", ctypes.c_void_p))


def _filter(*, writes: bool) -> bool:
    """Install the filter in all threads; false where the kernel has none."""
    code = _compiled(writes=writes)
    buffer = ctypes.create_string_buffer(code, len(code))
    program = _Program(len(code) // 8, ctypes.addressof(buffer))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(38, 1, 0, 0, 0) != 0:  # PR_SET_NO_NEW_PRIVS
        return False
    mode_filter, in_all_threads = 1, 1
    return libc.syscall(_SECCOMP, mode_filter, in_all_threads, ctypes.byref(program)) == 0


def _compiled(*, writes: bool = False) -> bytes:
    """The filter as BPF: 8 bytes an instruction (code, jump if true, jump if false, operand)."""
    lines: list[bytes] = []

    def put(code: int, operand: int, *, yes: int = 0, no: int = 0) -> None:
        lines.append(struct.pack("=HBBI", code, yes, no, operand))

    def refuse(reason: int) -> None:
        put(_RETURN, _ERRNO | reason)

    put(_LOAD, 4)  # architecture
    put(_EQUAL, 0xC000003E, yes=1)
    refuse(errno.EPERM)
    put(_LOAD, 0)  # number
    put(_AT_LEAST, 0x40000000, no=1)  # the x32 interface
    refuse(errno.EPERM)
    denied = _DENIED if writes else f"{_DENIED} {_CHANGES}"
    for number in map(int, denied.split()):
        put(_EQUAL, number, no=1)
        refuse(errno.EPERM)
    for number in (_CLONE3, _OPENAT2):  # the C library goes back to the older call
        put(_EQUAL, number, no=1)
        refuse(errno.ENOSYS)
    for number, argument, bits in ((_OPEN, 1, _WRITES), (_OPENAT, 2, _WRITES)):
        if writes:
            break
        put(_EQUAL, number, no=4)
        put(_LOAD, 16 + 8 * argument)
        put(_ANY_BIT, bits, no=1)
        refuse(errno.EPERM)
        put(_RETURN, _ALLOW)
    put(_EQUAL, _CLONE, no=4)
    put(_LOAD, 16)
    put(_ANY_BIT, _CLONE_THREAD, yes=1)
    refuse(errno.EPERM)
    put(_RETURN, _ALLOW)
    put(_RETURN, _ALLOW)
    return b"".join(lines)
