"""Read what a user has (folders, text lists, CSV files) into tables of paths, labels and groups."""
