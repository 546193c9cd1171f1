"""How often a token may be guessed: per address, and by all addresses together."""

from __future__ import annotations

import ipaddress
import logging
import math
import time
from collections import OrderedDict, deque
from collections.abc import Callable

WINDOW = 60.0
"""Seconds in which failures are counted."""
MOST_ADDRESSES = 10_000
TRUSTED = 10
"""How many times more an address may fail from which the right token has come before."""
TRUSTED_SECONDS = 3600.0
_LOG = logging.getLogger("somascope.server.security")


class Attempts:
    """Failures of the last minute.

    An address that failed ``each`` times within `WINDOW` waits. When all together failed ``total``
    times, those wait from which the right token has not come within `TRUSTED_SECONDS`: strangers
    cannot lock out those who work here. For one event loop; ``clock`` counts seconds.
    """

    def __init__(
        self, *, each: int, total: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._each, self._total, self._clock = each, total, clock
        self._failures: OrderedDict[str, deque[float]] = OrderedDict()
        self._all: deque[float] = deque(maxlen=total)
        self._trusted: OrderedDict[str, float] = OrderedDict()

    def wait(self, address: str) -> int:
        """Whole seconds until ``address`` may try again; 0 where it may now."""
        now, who = self._clock(), network(address)
        trusted = self._trusted.get(who, -math.inf) > now - TRUSTED_SECONDS
        mine = self._failures.get(who)
        until = 0.0
        if mine is not None:
            limit = self._each * (TRUSTED if trusted else 1)
            until = _free(mine, limit, now)
        if not trusted:
            until = max(until, _free(self._all, self._total, now))
        return math.ceil(until - now) if until > now else 0

    def failed(self, address: str) -> None:
        """A wrong token came from ``address``."""
        now, who = self._clock(), network(address)
        mine = self._failures.pop(who, None)
        if mine is None:
            mine = deque(maxlen=self._each * TRUSTED)
        mine.append(now)
        self._failures[who] = mine
        self._all.append(now)
        while len(self._failures) > MOST_ADDRESSES:
            self._failures.popitem(last=False)
        recent = sum(t > now - WINDOW for t in mine)
        _LOG.warning("a wrong token from %s (%d within a minute)", who, recent)
        if self.wait(address):
            _LOG.warning("logins from %s are refused for %d s", who, self.wait(address))

    def succeeded(self, address: str) -> None:
        """The right token came from ``address``."""
        who = network(address)
        self._trusted.pop(who, None)
        self._trusted[who] = self._clock()
        while len(self._trusted) > MOST_ADDRESSES:
            self._trusted.popitem(last=False)


def _free(times: deque[float], limit: int, now: float) -> float:
    """When fewer than ``limit`` of ``times`` will lie within `WINDOW`."""
    if len(times) < limit or times[-limit] <= now - WINDOW:
        return 0.0
    return times[-limit] + WINDOW


def network(address: str) -> str:
    """The address, or the network that one IPv6 user has to himself (/64)."""
    try:
        ip = ipaddress.ip_address(address.split("%", maxsplit=1)[0])
    except ValueError:
        return address[:64]
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            return str(ip.ipv4_mapped)
        return str(ipaddress.ip_network((ip, 64), strict=False))
    return str(ip)
