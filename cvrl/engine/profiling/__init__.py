"""Profile a training run and suggest settings."""
