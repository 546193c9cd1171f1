from __future__ import annotations


def check(part10: bytes) -> list[str]:
    return []
