"""Training jobs: devices and GPU locks, signals, checkpoints, ranks, and the warm start."""
