"""Pictures bigger than comfort: read, sent and written in bands, so that memory does not grow with the picture."""

from .plan import BANDED_PIXELS, When, wanted
from .run import upscale_in_bands
from .source import Header, header_of

__all__ = ["BANDED_PIXELS", "Header", "When", "header_of", "upscale_in_bands", "wanted"]
