"""The one training loop and what it needs: building from a config, optimisers, checkpoints."""
