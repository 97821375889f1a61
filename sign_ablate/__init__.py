"""sign-ablate: rerunnable ablations of sign-based optimizers.

The optimizers are in `sign_ablate.optim` and need only torch. Everything else serves the pipeline.
"""

__version__ = "0.1.0"

#: Part of every run's identity. Bump it when a change alters the numbers of any run: every run then gets a
#: new path and trains again. tests/test_golden.py fails if this is forgotten.
NUMERICS_VERSION = 3
