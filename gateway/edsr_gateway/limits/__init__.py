"""What a request may bring and take."""
