"""Fixtures of this room; the small sources themselves are in `small_sources`."""

from small_sources import environment, read

__all__ = ["environment", "read"]
