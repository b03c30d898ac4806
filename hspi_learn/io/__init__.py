"""Files of runs: folders, checkpoints, weights, scans, images, and what training prints."""
