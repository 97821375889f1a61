"""The machinery of jobs: devices and GPU locks, signals, checkpoints, the warm start, one training job."""
