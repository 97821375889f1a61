"""Small runs that the optimizer tests share."""

from typing import Any

import torch
from torch import Tensor, nn

SHAPES = ((3,), (7, 5), (300, 301), (), (0,), (4, 3, 3, 3))

#: options of SignSGD with every branch of the update
SIGN_OPTIONS: list[dict[str, Any]] = [
    {},
    {"beta": 0.0},
    {"weight_decay": 0.1},
    {"weight_decay": 0.1, "decoupled": False},
    {"weight_decay": 0.1, "decoupled": False, "loss_scale": 8.0},
    {"maximize": True},
    {"momentum_dtype": "bfloat16"},
    {"sign_of_zero": "plus"},
    {"sign_of_zero": "random", "seed": 3},
    {"dither": "pre", "alpha": 0.1},
    {"dither": "pre", "alpha": 1e-6},
    {"dither": "pre", "alpha": 0.1, "momentum_dtype": "bfloat16"},
    {"dither": "pre", "alpha": 0.1, "gamma": 2.0, "k_unit": "epoch", "steps_per_epoch": 2},
    {"dither": "pre", "alpha": 0.1, "momentum_form": "heavy_ball"},
    {"dither": "pre", "alpha": 0.1, "law": "uniform"},
    {"dither": "pre", "alpha": 0.1, "law": "subtractive"},
    {"dither": "pre", "alpha": 1.0, "scale": "global_rms"},
    {"dither": "pre", "alpha": 1.0, "scale": "tensor_rms", "law": "uniform"},
    {"dither": "post", "alpha": 0.1},
    {"dither": "post", "alpha": 0.1, "law": "uniform"},
]
#: options of HybridSignSGD with every branch of λ and the switch
HYBRID_OPTIONS: list[dict[str, Any]] = [
    {"switch_step": 0},
    {"switch_step": 3},
    {"switch_step": None},
    {"switch_step": 3, "weight_decay": 0.1},
    {"switch_step": 3, "lambda_rule": "swats"},
    {"switch_step": 3, "lambda_scope": "group"},
    {"switch_step": 3, "lambda_scope": "tensor"},
    {"switch_step": 3, "lambda_schedule": "frozen"},
    {"switch_step": 3, "lambda_momentum": "previous"},
    {"switch_step": 3, "bias_correction": False},
    {"switch_step": 3, "dither": "pre", "alpha": 0.1},
    {"switch_step": 3, "dither": "pre", "alpha": 0.1, "lambda_step": "applied"},
    {"switch_step": 3, "dither": "post", "alpha": 0.1, "lambda_step": "applied"},
    {"switch_step": 3, "sgd_momentum": "swats"},
    {"switch_step": 3, "calibrate": False},
    {"switch_step": 3, "calibrate": False, "sgd_lr": 0.1},
    {"switch_step": 3, "after": "sign", "dither": "pre", "alpha": 0.1, "weight_decay": 0.1},
    {"switch_step": 3, "length": "kept"},
    {"trigger": "stable", "tolerance": 0.5, "patience": 2, "eta": 0.9},
    {"trigger": "stable", "tolerance": 0.5, "patience": 2, "eta": 0.9, "after": "sign"},
    {"trigger": "stable", "tolerance": 0.5, "patience": 2, "eta": 0.9, "sgd_momentum": "swats"},
    {"trigger": "swats", "tolerance": 0.02, "eta": 0.5},
]


def make_params(
    shapes: Any = SHAPES, *, dtype: torch.dtype = torch.float32, device: str = "cpu"
) -> list[nn.Parameter]:
    """Parameters of these shapes; those with four dimensions are channels_last."""
    params = []
    for shape in shapes:
        values = torch.randn(shape, dtype=torch.float32, device=device).to(dtype)
        if values.dim() == 4:
            values = values.to(memory_format=torch.channels_last)
        params.append(nn.Parameter(values))
    return params


def set_grads(params: list[nn.Parameter], step: int) -> None:
    """Gradients that depend on the step and the parameter only, of very different sizes."""
    for i, p in enumerate(params):
        generator = torch.Generator().manual_seed(1000 * step + i)
        g = torch.randn(p.shape, generator=generator) * 10.0 ** ((step + i) % 4 - 2)
        p.grad = torch.empty_like(p).copy_(g)


def run(
    cls: Any,
    options: dict[str, Any],
    *,
    steps: int = 6,
    shapes: Any = SHAPES,
    dtype: torch.dtype = torch.float32,
) -> tuple[list[nn.Parameter], Any]:
    """Parameters and optimizer after some steps."""
    torch.manual_seed(0)
    params = make_params(shapes, dtype=dtype)
    optimizer = cls(params, **options)
    for k in range(steps):
        set_grads(params, k)
        optimizer.step()
    return params, optimizer


def momenta(optimizer: Any) -> list[Tensor]:
    """The momentum buffers, in the order of the parameters."""
    return [state["momentum_buffer"] for state in optimizer.state.values() if "momentum_buffer" in state]


def equal(a: list[Any], b: list[Any]) -> bool:
    """True if two lists of tensors are bitwise equal."""
    return len(a) == len(b) and all(
        x.dtype == y.dtype and torch.equal(x, y) for x, y in zip(a, b, strict=True)
    )
