"""What the gateway says of itself: its OpenAPI document, and a page made of it."""
