"""What a GPU reaches: its peak, our engines on it where TensorRT runs, and the same network through PyTorch."""

__all__: list[str] = []
