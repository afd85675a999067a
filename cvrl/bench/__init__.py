"""How fast, beside what a user would pick instead: one file a subject of tools/benchmark.py."""
