"""Files of runs: their names, their schemas, writing, reading and checking."""
