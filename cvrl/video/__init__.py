"""Read video files: decoding, packet index, frame folders, limits, orientation, frame cache."""
