"""EDSR frozen graphs to ONNX and engines: read, de-quantise, convert, wrap in the serving contract, prove parity, plan.

Command line: ``python -m edsr_conversion --help``.
"""

from .catalogue import Model, load_models
from .convert import Conversion, convert
from .errors import (
    CannotBuildHereError,
    CardError,
    CatalogueError,
    ChecksumError,
    ConversionError,
    DownloadError,
    EngineError,
    GraphNotFoundError,
    InvalidGraphError,
    ParityError,
    PlanError,
    UnsupportedGraphError,
)
from .fetch import fetch
from .graph_reader import FrozenGraph, read_graph
from .graph_writer import graph_def
from .network import Block, Conv, Edsr
from .opencv_model import convert_for_opencv
from .synthetic import random_network

__all__ = [
    "Block",
    "CannotBuildHereError",
    "CardError",
    "CatalogueError",
    "ChecksumError",
    "Conv",
    "Conversion",
    "ConversionError",
    "DownloadError",
    "Edsr",
    "EngineError",
    "FrozenGraph",
    "GraphNotFoundError",
    "InvalidGraphError",
    "Model",
    "ParityError",
    "PlanError",
    "UnsupportedGraphError",
    "convert",
    "convert_for_opencv",
    "fetch",
    "graph_def",
    "load_models",
    "random_network",
    "read_graph",
]
