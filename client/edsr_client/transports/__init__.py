"""The way to one server: one small asynchronous interface over tritonclient's HTTP and gRPC clients."""

from .base import Credentials, Transport
from .mock import MockTransport
from .triton import connect

__all__ = ["Credentials", "MockTransport", "Transport", "connect"]
