"""What the gateway answers, a module per family of paths."""
