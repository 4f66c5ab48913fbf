"""Folders of pictures: runs that can be interrupted, resumed and trusted."""

from .manifest import NAME as MANIFEST
from .options import BatchOptions, Estimate, Outcome, Summary
from .run import estimate, run_batch

__all__ = ["MANIFEST", "BatchOptions", "Estimate", "Outcome", "Summary", "estimate", "run_batch"]
