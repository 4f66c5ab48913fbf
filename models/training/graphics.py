def render(seed, size_px): raise ValueError
