"""Processes that decode, upscale and encode, so that what a file does to a decoder costs one request."""
