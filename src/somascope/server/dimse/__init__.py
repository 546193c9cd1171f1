"""The DIMSE door: C-ECHO, C-STORE, C-FIND, C-MOVE and C-GET, as provider and as user."""

from __future__ import annotations

from somascope.server.dimse.serve import serve_dimse
from somascope.server.dimse.settings import Limits, Peer, Settings, load_peers

__all__ = ["Limits", "Peer", "Settings", "load_peers", "serve_dimse"]
