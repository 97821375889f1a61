"""The numbers of the paper's Table I (arXiv 2604.25550): last-epoch test accuracy in percent, one seed."""

from sign_ablate.config.campaign import RunConfig

#: (source, optimizer, site, α) → test accuracy in percent
TABLE_I: dict[tuple[str, str, str | None, float | None], float] = {
    ("cifar10", "sgd", None, None): 91.38,
    ("cifar10", "signsgd-m", None, None): 90.82,
    ("cifar10", "hybrid", None, None): 92.18,
    ("cifar100", "sgd", None, None): 77,
    ("cifar100", "adam", None, None): 67,
    ("cifar100", "signsgd-m", None, None): 65,
    ("cifar100", "dithered", "post", 0.1): 66,
    ("cifar100", "dithered", "pre", 0.5): 73,
    ("cifar100", "dithered", "pre", 0.1): 76,
    ("cifar100", "hybrid", None, None): 72,
}

#: T_switch of the hybrid's rows, from the captions of figures 2 and 3
T_SWITCH = {"cifar10": 25, "cifar100": 60}
#: options without which a method is another one than the paper's
METHOD = {"gamma": 0.55, "lambda_rule": "paper", "after": "gradient", "length": "projected"}

NOTES = (
    "The paper reports one run per number and does not say whether of the last or the best epoch.",
    "Its CIFAR-100 numbers of sign-based methods are read from its figure 1, rounded.",
    "For SignSGD-M on CIFAR-100, its figure 3 shows about 69, its table 65.",
)


def paper_accuracy(config: RunConfig) -> float | None:
    """Test accuracy in percent that the paper reports for a configuration, or None if it reports none.

    The paper reports ResNet-18 on all of CIFAR-10 and CIFAR-100, with γ = 0.55, its own rule of λ, and one
    T_switch per data set. The paper does not state learning rates and schedules: they are not compared.
    """
    data, method = config.data, config.method
    if config.train.model != "resnet18" or data.subset is not None or data.test_subset is not None:
        return None
    if any(getattr(method, key, value) != value for key, value in METHOD.items()):
        return None
    if method.optimizer == "adam" and getattr(method, "decoupled", False):  # AdamW
        return None
    if getattr(method, "t_switch", None) not in (None, T_SWITCH.get(data.source)):
        return None
    key = (data.source, method.optimizer, getattr(method, "site", None), getattr(method, "alpha", None))
    return TABLE_I.get(key)
