"""Reports of runs and data sets: HTML pages, plots, contact sheets."""
