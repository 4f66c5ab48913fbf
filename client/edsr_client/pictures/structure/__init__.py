"""What a file says of its size before any decoder sees it: decoders allocate by what a file claims, or grow later."""

from .check import check_opened, check_structure

__all__ = ["check_opened", "check_structure"]
