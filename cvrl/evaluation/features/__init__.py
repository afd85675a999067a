"""Feature extraction, and files of features."""
