"""What the service being replaced (Flask, OpenCV DNN) says of itself, on its own page, to be shown beside our plans."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Claim:
    """A square picture on a card: gigabytes of memory (None: out of memory) and milliseconds (None: not stated)."""

    side: int
    vram_gb: float | None
    latency_ms: float | None = None
    out_of_memory: bool = False


# By prefix of the card's key.
CLAIMS: dict[str, tuple[Claim, ...]] = {
    "t4": (Claim(512, 1.8, 120), Claim(1024, 5.2, 480), Claim(2048, None, out_of_memory=True)),
    "a10g": (Claim(512, None, 95), Claim(1024, 5.3, 390), Claim(2048, 12.6)),
    "a100-40gb": (Claim(512, None, 60), Claim(1024, None, 220), Claim(2048, 12.7), Claim(4096, 38.1)),
}
NEAR_THE_LIMIT = 0.9


def claims_for(card_key: str) -> tuple[Claim, ...]:
    """The claims about a card, none for a MIG slice of it or for a card it does not name."""
    return CLAIMS.get(card_key, ())


def words(claim: Claim, vram_mib: int) -> str:
    """A claim in short: "5.2 GB, 480 ms", "out of memory", "38.1 GB (near the limit)"."""
    if claim.out_of_memory:
        return "out of memory"
    parts = []
    if claim.vram_gb is not None:
        near = (
            claim.vram_gb * 1e9 >= NEAR_THE_LIMIT * vram_mib * 2**20
            or claim.vram_gb >= NEAR_THE_LIMIT * vram_mib / 1024
        )
        parts.append(f"{claim.vram_gb:g} GB" + (" (near the limit)" if near else ""))
    if claim.latency_ms is not None:
        parts.append(f"{claim.latency_ms:g} ms")
    return ", ".join(parts)
