"""Small pieces every other room may use: errors, seeds, files, ranks, logs."""
