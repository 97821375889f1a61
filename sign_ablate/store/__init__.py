"""The files of runs: their names and schemas, how they are written, read and checked."""
