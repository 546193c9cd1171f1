"""Bytes that are no instance, or lie about themselves: what no door may take, nor swell over."""

from __future__ import annotations

import random
import struct
import zlib

from somascope.io.dicom.header_meta import wrap
from somascope.testing.archive import dataset, part10


def hostile() -> dict[str, bytes]:
    """Name and content of each file."""
    good = part10(side=16)
    at = good.index(struct.pack("<HH2s", 0x7FE0, 0x10, b"OW"))
    name = good.index(struct.pack("<HH2s", 0x10, 0x10, b"PN"))
    plain = dataset(side=16)
    pixel = plain.index(struct.pack("<HH2s", 0x7FE0, 0x10, b"OW"))
    claim = struct.pack("<I", 0xE0000000)
    squeeze = zlib.compressobj(9, wbits=-15)
    bomb = squeeze.compress(plain[: pixel + 8] + claim)
    zeros = bytes(1 << 20)
    bomb += b"".join(squeeze.compress(zeros) for _ in range(400)) + squeeze.flush()
    meta = wrap(
        sop_class="1.2.840.10008.5.1.4.1.1.2", sop_uid="1.2.3.1.1",
        transfer_syntax="1.2.840.10008.1.2.1.99",
    )  # fmt: skip
    deep = (
        struct.pack("<HH2sHI", 0x40, 0xA730, b"SQ", 0, 0xFFFFFFFF) + b"\xfe\xff\0\xe0" + b"\xff" * 4
    )
    return {
        "empty": b"",
        "text": b"this is no image\n" * 100,
        "noise": random.Random(5).randbytes(5000),
        "four_gigabytes": good[: at + 8] + struct.pack("<I", 0xFFFFFFF0) + good[at + 12 :],
        "long_name": good[: name + 6] + b"\xff\xff" + good[name + 8 :],
        "short_pixels": good[: at + 8] + struct.pack("<I", 8) + good[at + 12 : at + 20],
        "deflate_bomb": meta + bomb,
        "deep": good[:at] + deep * 50_000,
        "meta_only": good[:300],
    }
