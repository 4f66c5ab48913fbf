"""Measurements: of tiling, and what of them stands in the documents."""

__all__: list[str] = []
