"""How fast the network can be at all, on this processor and on the cards of gpus.toml, and what was claimed of them."""

__all__: list[str] = []
