"""Predictions of classifiers on many views of each video."""
