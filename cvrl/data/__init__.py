"""From files to batches: the clip list, decoding, clip arithmetic, datasets, samplers, loaders."""
