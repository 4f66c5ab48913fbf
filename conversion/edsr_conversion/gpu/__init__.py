"""Engines and configurations for GPUs: which cards there are, what fits them, and how an engine is built for one.

cards, nvml     the catalogue gpus.toml; the card of this machine
planner         from card, network and precision to profiles, instances, memory and time; pure
report, sizing  the plan in words, all cards side by side
flavours        TensorRT or TensorRT for RTX: what can be built here, and the command for elsewhere
builder         the TensorRT API, the same for both
engine          one engine with its sidecar: identity, atomic writing
verify          a card's measurements beside the plan
"""
