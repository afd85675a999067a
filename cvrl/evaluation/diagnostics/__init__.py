"""Diagnostics: collapse, clip perturbations, shortcut probes."""
