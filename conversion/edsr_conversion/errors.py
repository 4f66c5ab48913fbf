"""Everything that can go wrong in a conversion and that a user can act upon.

ConversionError
+-- CatalogueError        models.toml is wrong, or names no such model
+-- GraphNotFoundError    no graph file where one was expected
+-- InvalidGraphError     the file is not a frozen graph, is truncated, or holds unusable weights
+-- UnsupportedGraphError a graph, but not an EDSR of the published form
+-- ChecksumError         not the bytes that were promised
+-- DownloadError         the network did not deliver
+-- ParityError           the converted model does not compute what it was made from computes
+-- CardError             gpus.toml is wrong, or names no such card; or the card in this machine is another
+-- PlanError             nothing fits the card's memory
+-- CannotBuildHereError  the engine can be built, but not on this machine
+-- EngineError           the engine was not built, or is not the one it should be
"""

from __future__ import annotations


class ConversionError(Exception):
    """Base of all errors of this package. The message says what happened, to what, and what to do next."""

    exit_code = 1


class CatalogueError(ConversionError):
    """models.toml cannot be used as written, or does not name the model asked for."""

    exit_code = 3


class GraphNotFoundError(ConversionError):
    """There is no file where the graph was expected."""

    exit_code = 4


class InvalidGraphError(ConversionError):
    """The file is not a frozen TensorFlow graph, is truncated, or its weights are unusable."""

    exit_code = 5


class UnsupportedGraphError(ConversionError):
    """A frozen graph of another architecture."""

    exit_code = 6


class ChecksumError(ConversionError):
    """The file's bytes are not the ones that were promised."""

    exit_code = 7


class DownloadError(ConversionError):
    """The graph could not be downloaded."""

    exit_code = 8


class ParityError(ConversionError):
    """The converted model differs from the one it was made from by more than is allowed; nothing was written."""

    exit_code = 9


class CardError(ConversionError):
    """gpus.toml cannot be used as written or names no such card, or this machine has another card, or none."""

    exit_code = 10


class PlanError(ConversionError):
    """No plan fits the card."""

    exit_code = 11


class CannotBuildHereError(ConversionError):
    """This machine lacks what the engine needs; the message has the command for the machine that has it.

    `short` is what it lacks, in a few words.
    """

    exit_code = 12

    def __init__(self, message: str, short: str = "this machine lacks something") -> None:
        super().__init__(message)
        self.short = short


class EngineError(ConversionError):
    """The engine could not be built, or the one that is there is damaged, stale or of another version."""

    exit_code = 13
