"""Parts of ``benchmark.py gpu``: checks, training steps, augmentation, whole runs, extraction."""
