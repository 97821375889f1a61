"""Random tensors and states for the fused step: `python -m tests.optim.fuzz_step CASES SEED`.

Each case steps twice, by the fused step where it applies, and by the plain one on copies. Either both
refuse with a RuntimeError before anything has moved, or all bits agree, around the tensors too. A storage
that ends too early must not be taken. Prints a line of counts.
tests/optim/test_memory.py runs it under an address sanitizer (SANITIZE=1 compiles step.c with it).
"""

import os
import random
import sys
from collections import Counter
from typing import Any

import torch

from sign_ablate.optim import HybridSignSGD, SignSGD
from sign_ablate.optim.sign_step import fused, native

RULES = [
    (SignSGD, {}),
    (SignSGD, {"beta": 0.0}),
    (SignSGD, {"weight_decay": 0.1, "decoupled": False}),
    (SignSGD, {"momentum_dtype": "bfloat16"}),
    (SignSGD, {"dither": "pre", "alpha": 0.1}),
    (SignSGD, {"dither": "pre", "alpha": 1e-6, "law": "uniform", "momentum_dtype": "bfloat16"}),
    (HybridSignSGD, {"switch_step": 1, "dither": "pre", "alpha": 0.01}),
]


def storage_view(rng: random.Random, shape: list[int], dtype: torch.dtype, layout: str) -> torch.Tensor:
    """A tensor of `shape` somewhere in a storage with slack on either side."""
    slack, order = rng.choice([0, 1, 3, 16]), list(range(len(shape)))
    if layout == "permuted":
        rng.shuffle(order)
    strides, size = [0] * len(shape), 2 if layout == "gaps" else 1
    for d in reversed(order):
        strides[d] = size
        size *= shape[d]
    if layout == "expanded" and shape:
        strides[rng.randrange(len(shape))] = 0
    base = torch.randn(max(size, 1) + 2 * slack, dtype=torch.float32).to(dtype)
    return base.as_strided(shape, strides, slack)


def case(rng: random.Random) -> tuple[type, dict, list[torch.Tensor], dict]:
    """Parameters with gradients, and momenta to load."""
    kind, options = rng.choice(RULES)
    params, momenta = [], {}
    for i in range(rng.randint(1, 3)):
        shape = [rng.choice([0, 1, 1, 2, 3, 5, 7]) for _ in range(rng.randint(0, 4))]
        if shape and rng.random() < 0.3:
            shape[rng.randrange(len(shape))] = rng.choice([63, 64, 65, 130])
        layouts = ["dense", "dense", "permuted", "gaps"]
        p = torch.nn.Parameter(storage_view(rng, shape, torch.float32, rng.choice(layouts)))
        p.grad = storage_view(rng, shape, torch.float32, rng.choice([*layouts, "expanded"]))
        params.append(p)
        fault = rng.choice(["none"] * 8 + ["state", "state", "transposed", "grown", "alias"])
        other = list(shape)
        if fault == "state":
            other = [rng.choice([1, 2, 4, 9, 130]) for _ in range(rng.randint(0, 4))]
        elif fault == "transposed":
            other.reverse()
        elif fault == "grown":
            p.data = torch.randn([n + rng.randint(0, 2) for n in shape])
        elif fault == "alias" and p.is_contiguous():
            p.grad = p.data.view(p.shape)
        if fault != "none" or rng.random() < 0.3:
            dtype = rng.choice([torch.float32, torch.float32, torch.bfloat16, torch.float64])
            momenta[i] = storage_view(rng, other, dtype, rng.choice(layouts))
    return kind, options, params, momenta


def too_short(rng: random.Random, params: list[torch.Tensor]) -> bool:
    """True if a tensor whose storage is cut to less than it needs is refused. The plain step would use it."""
    p = rng.choice(params)
    if not p.numel() or p.grad.shape != p.shape:
        return True
    p, g = torch.nn.Parameter(cloned(p.data)), cloned(p.grad)
    x = rng.choice([p.data, g, m := torch.zeros_like(p.data)])
    last = x.storage_offset() + sum((n - 1) * s for n, s in zip(x.shape, x.stride(), strict=True))
    x.untyped_storage().resize_(rng.choice([0, 4 * rng.randint(0, last)]))
    try:
        return not fused.takes_tensors(p, g, m)
    except RuntimeError:
        return True


def cloned(x: torch.Tensor) -> torch.Tensor:
    """A tensor of the same layout in a storage of its own, slack included."""
    storage = x.untyped_storage().clone()
    return torch.empty(0, dtype=x.dtype).set_(storage, x.storage_offset(), x.shape, x.stride())


def twin(params: list[torch.Tensor], momenta: dict) -> tuple[list[torch.Tensor], dict]:
    """Copies for the other implementation; a gradient that is its parameter stays so."""
    out = []
    for p in params:
        q = torch.nn.Parameter(cloned(p.data))
        alias = p.grad.untyped_storage().data_ptr() == p.untyped_storage().data_ptr() != 0
        # a gradient of another shape than its parameter cannot be assigned: its data are
        q.grad = torch.zeros_like(q)
        q.grad.data = q.data.view(p.grad.shape) if alias else cloned(p.grad)
        out.append(q)
    return out, {i: cloned(m) for i, m in momenta.items()}


def stepped(kind: type, options: dict, params: list, momenta: dict, **how: bool) -> str:
    """Two steps; "moved", or the refusal."""
    optimizer = kind(params, lr=0.01, seed=3, **options, **how)
    for i, m in momenta.items():
        if options.get("beta") != 0.0:
            optimizer.state[params[i]]["momentum_buffer"] = m
    try:
        for _ in range(2):
            optimizer.step()
    except RuntimeError as error:
        return f"refused: {str(error)[:40]}"
    return "moved"


def stored(tensors: list[torch.Tensor]) -> torch.Tensor:
    """All bytes of their storages, slack included."""
    return torch.cat([torch.empty(0, dtype=torch.uint8).set_(t.untyped_storage()) for t in tensors])


def agree(ours: list, others: list, *, exact: bool) -> bool:
    """True if two lists of parameters agree, with all of their storages; λ̄ only to the order of its sums."""
    if exact:
        return torch.equal(stored(ours), stored(others))
    return torch.allclose(stored(ours).view(torch.float32), stored(others).view(torch.float32), rtol=1e-5)


def main() -> None:
    cases, seed = int(sys.argv[1]), int(sys.argv[2])
    if os.environ.get("SANITIZE"):
        native._FLAGS = (*native._FLAGS, "-fsanitize=address", "-g", "-O1")
    assert native.library() is not None
    torch.set_num_threads(1)
    counts: Counter[str] = Counter()
    step = fused.step

    def counted(work: Any, const: Any) -> Any:
        counts["parameters stepped in C"] += len(work)
        return step(work, const)

    fused.step = counted
    for n in range(cases):
        rng = random.Random(seed * 1_000_003 + n)
        torch.manual_seed(n)
        kind, options, params, momenta = case(rng)
        assert too_short(rng, params), n
        other, other_momenta = twin(params, momenta)
        before = stored(params)
        result = stepped(kind, options, params, momenta)
        expected = stepped(kind, options, other, other_momenta, fused=False, foreach=False)
        counts[result.split(":")[0]] += 1
        assert result.split(":")[0] == expected.split(":")[0], (n, result, expected)
        if result == "moved":
            assert agree(params, other, exact=kind is SignSGD), (n, kind, options)
        else:
            assert torch.equal(stored(params), before), (n, "moved before it refused", result)
    print(f"{cases} cases: " + ", ".join(f"{count} {name}" for name, count in sorted(counts.items())))


if __name__ == "__main__":
    main()
