"""What the gateway counts, for Prometheus."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Gauge, Histogram, generate_latest

PREFIX = "edsr_gateway_"
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
MEGAPIXELS = (0.1, 0.3, 1, 4, 16, 64)
GONE = 499


class Metrics:
    """The figures of one gateway, in a registry of their own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Histogram(
            f"{PREFIX}request_seconds",
            "Time from the header of a request to the last byte of its answer. format: of the result; megapixels: of "
            "the picture that came, at most.",
            ("route", "format", "outcome", "megapixels"),
            buckets=SECONDS,
            registry=self._registry,
        )

    def gauge(self, name: str, says: str, of: Callable[[], float]) -> None:
        """A figure that is asked for whenever somebody looks."""
        Gauge(PREFIX + name, says, registry=self._registry).set_function(of)

    def observe(self, route: str, status: int, seconds: float, format_: str, pixels: int | None) -> None:
        """Count a request."""
        self._requests.labels(route, format_, outcome(status), megapixels(pixels)).observe(seconds)

    def text(self) -> bytes:
        """As Prometheus reads it, version 0.0.4."""
        return generate_latest(self._registry)


def outcome(status: int) -> str:
    """ok, unchanged, refused (the sender's mistake), busy, failed (ours or the server's), gone (the sender left)."""
    special = {304: "unchanged", 429: "busy", GONE: "gone"}
    return special.get(status) or ("failed" if status >= 500 else "refused" if status >= 400 else "ok")


def megapixels(pixels: int | None) -> str:
    """The class of a picture: the bound that it keeps, in megapixels."""
    if pixels is None:
        return ""
    return next((f"{bound:g}" for bound in MEGAPIXELS if pixels <= bound * 1e6), "more")
