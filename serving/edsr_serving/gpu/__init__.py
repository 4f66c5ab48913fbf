"""Running an engine on a GPU: profiles and buffers (pure), CUDA, the engine itself."""
