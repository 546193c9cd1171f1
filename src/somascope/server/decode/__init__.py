"""Decoding what others sent, in processes that may crash: limited, without network, replaceable."""

from __future__ import annotations

from somascope.server.decode.pool import Decoders

__all__ = ["Decoders"]
