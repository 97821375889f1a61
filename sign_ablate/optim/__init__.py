"""Sign-based optimizers. Needs only torch."""

from sign_ablate.optim.groups import decay_groups
from sign_ablate.optim.hybrid import HybridSignSGD
from sign_ablate.optim.signsgd import SignSGD

__all__ = ["HybridSignSGD", "SignSGD", "decay_groups"]
