"""Score finished runs."""
