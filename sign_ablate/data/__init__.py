"""Data sets: sources of images, the prepared data file, and batches on a device."""
