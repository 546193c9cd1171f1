"""Fresh archives on both databases."""

from tests.archives import archive, make

__all__ = ["archive", "make"]
