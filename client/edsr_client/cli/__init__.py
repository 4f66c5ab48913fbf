"""The command `edsr`."""

from .main import main

__all__ = ["main"]
