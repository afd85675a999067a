"""Shared parts of the benchmarks: timing, peers, sample videos."""
