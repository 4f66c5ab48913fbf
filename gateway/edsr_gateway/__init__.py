"""The door in front of Triton. `routes` speaks HTTP, a module per family of paths."""

from __future__ import annotations

__version__ = "0.1.0"
