"""Prepare data sets: archives, official split files, re-encoded stores, scans."""
