"""Write, compose and serve model inference services."""

from motet._version import __version__

__all__ = ["__version__"]
