"""Forms of an encoder for inference: folded, 8-bit, overlapping clips."""
