"""The exception tree. Every message names the thing, shows the value and says the remedy.

::

    SomascopeError
    ├── ReadError            bytes that are not what they claim
    │   ├── CorruptFile      damaged, truncated, lying about its length
    │   └── UnsupportedFormat
    ├── WriteError           a result that cannot be expressed in the target format
    ├── GeometryError        shapes, affines and frames that do not fit together
    ├── UnitError
    ├── ParameterError       an argument outside its declared type or range
    ├── NotFound             a UID, file, operation or job that is not there
    ├── Conflict             same identifier, different content
    ├── Refused              a Model or server declines this input
    ├── MissingExtra         an optional dependency is not installed
    └── Cancelled            the user stopped it
"""

from __future__ import annotations


class SomascopeError(Exception):
    """Root of all errors raised on purpose by Somascope."""


class ReadError(SomascopeError):
    """The bytes could not be turned into a noun."""


class CorruptFile(ReadError):
    """Damaged, truncated, or declaring a length it does not have."""


class UnsupportedFormat(ReadError):
    """A valid file of a kind that is not read here."""


class WriteError(SomascopeError):
    """The value cannot be expressed in the target format without loss."""


class GeometryError(SomascopeError):
    """Shapes, affines or frames of reference that do not fit together."""


class UnitError(SomascopeError):
    """A value in the wrong unit, or without one where it needs one."""


class ParameterError(SomascopeError, ValueError):
    """An argument outside its declared type or range."""


class NotFound(SomascopeError, LookupError):
    """No such UID, file, operation or job."""


class Conflict(SomascopeError):
    """The identifier exists already with different content."""


class Refused(SomascopeError):
    """Declined by a model card or by the server's policy."""


class MissingExtra(SomascopeError, ImportError):
    """An optional dependency is needed and not installed."""


class Cancelled(SomascopeError):
    """Stopped on request."""
