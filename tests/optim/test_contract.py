"""Promises of torch.optim beyond PyTorch's own tests: devices, dtypes, scalers, compilers, divergence."""

import math
import pickle
import subprocess
import sys

import pytest
import torch
import torch._dynamo.testing
from torch._subclasses.fake_tensor import FakeTensorMode

from sign_ablate.optim import HybridSignSGD, SignSGD
from tests.optim.helpers import HYBRID_OPTIONS, SIGN_OPTIONS, equal, make_params, momenta, run

pytestmark = pytest.mark.slow

BOTH = [(SignSGD, o) for o in SIGN_OPTIONS] + [(HybridSignSGD, o) for o in HYBRID_OPTIONS]
ALL = pytest.mark.parametrize(
    ("cls", "options"), BOTH, ids=lambda x: str(x) if isinstance(x, dict) else x.__name__
)
SHAPES = ((), (0,), (4, 3, 3, 3))


def steps_without_numbers(cls, options, device):
    params = [torch.nn.Parameter(torch.empty(shape, device=device)) for shape in SHAPES]
    optimizer = cls(params, **options)
    for _ in range(4):  # the switch is at the third step
        for p in params:
            p.grad = torch.empty_like(p)
        optimizer.step()
    optimizer.diagnostics()
    return optimizer


@pytest.mark.parametrize("flag", [{"foreach": False}, {"foreach": True}, {"capturable": True}], ids=str)
@ALL
def test_a_step_needs_no_number_from_the_device(cls, options, flag):
    """On meta, .item(), float(t) and bool(t) raise, and so does a CPU tensor among the operands."""
    steps_without_numbers(cls, {**options, **flag}, "meta")


#: one for each path that asks for the kind of device
ON_A_GPU = [
    (SignSGD, {}),
    (SignSGD, {"dither": "pre", "alpha": 1.0, "scale": "global_rms"}),
    (SignSGD, {"dither": "post", "alpha": 0.1, "law": "uniform"}),
    (HybridSignSGD, {"switch_step": 3, "dither": "pre", "alpha": 0.1, "lambda_step": "applied"}),
    (HybridSignSGD, {"trigger": "stable", "tolerance": 0.5, "patience": 2, "sgd_momentum": "swats"}),
]


@pytest.mark.parametrize("capturable", [False, True])
@pytest.mark.parametrize(("cls", "options"), ON_A_GPU, ids=str)
def test_a_step_on_a_fake_gpu_needs_no_synchronisation(cls, options, capturable):
    with FakeTensorMode():
        optimizer = steps_without_numbers(cls, {**options, "capturable": capturable}, "cuda")
        for group in optimizer.param_groups:
            for value in group.values():
                assert not isinstance(value, torch.Tensor) or value.device.type == "cuda"


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("flag", [{}, {"foreach": False}, {"foreach": True}])
@pytest.mark.parametrize("options", SIGN_OPTIONS, ids=str)
def test_a_gradient_that_is_not_finite_makes_nan_where_it_is(options, flag, bad):
    p = torch.nn.Parameter(torch.ones(300))
    optimizer = SignSGD([p], **options, **flag)
    for i in range(2):
        p.grad = torch.ones(300)
        if i:
            p.grad[7] = bad
        optimizer.step()
    if options.get("scale", "absolute") == "absolute":
        assert p.isnan().nonzero().flatten().tolist() == [7]
    else:
        assert p[7].isnan()  # and all others, whose σ is not a number


def test_maximize_leaves_the_gradient_alone():
    p = torch.nn.Parameter(torch.zeros(300))
    p.grad = torch.ones(300)
    for flag in ({}, {"foreach": True}, {"foreach": False}):
        SignSGD([p], maximize=True, loss_scale=1.0, weight_decay=0.1, decoupled=False, **flag).step()
        assert torch.equal(p.grad, torch.ones(300))


def test_gradscaler_steps_with_unscaled_gradients_and_skips_infinite_ones():
    results = []
    for scale in (1.0, 1024.0):
        torch.manual_seed(0)
        p = torch.nn.Parameter(torch.randn(50))
        optimizer = HybridSignSGD([p], lr=0.01, switch_step=3, dither="pre", alpha=0.1)
        scaler = torch.amp.GradScaler("cpu", init_scale=scale, growth_interval=1000)
        for k in range(6):
            optimizer.zero_grad()
            x = torch.randn(50)
            x = x * math.inf if k == 2 else x
            scaler.scale((p * x).sum()).backward()
            scaler.step(optimizer)
            scaler.update()
        assert optimizer.param_groups[0]["step"] == 5
        results.append([p, optimizer.param_groups[0]["lambda_ema"]])
    torch.testing.assert_close(*results, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("StepLR", {"step_size": 3}),
        ("CosineAnnealingLR", {"T_max": 10}),
        ("OneCycleLR", {"max_lr": 0.1, "total_steps": 11, "cycle_momentum": False}),
        ("LambdaLR", {"lr_lambda": lambda k: 0.9**k}),
        ("CosineAnnealingWarmRestarts", {"T_0": 3}),
    ],
)
def test_schedulers_compose(name, options):
    p = torch.nn.Parameter(torch.ones(4))
    optimizer = HybridSignSGD([p], lr=0.1, switch_step=4)
    scheduler = getattr(torch.optim.lr_scheduler, name)(optimizer, **options)
    for _ in range(10):
        p.grad = p.detach().clone()
        optimizer.step()
        assert optimizer.param_groups[0]["lr"] == scheduler.get_last_lr()[0]
        scheduler.step()
    assert p.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("options", [o for o in SIGN_OPTIONS if "momentum_dtype" not in o], ids=str)
def test_16_bit_parameters_are_computed_in_float32_and_rounded_once(options, dtype):
    p, optimizer = run(SignSGD, {"lr": 0.01, **options}, dtype=dtype, steps=1)
    q, _ = run(SignSGD, {"lr": 0.01, **options}, steps=1)
    for x, y in zip(p, q, strict=True):
        assert x.dtype == dtype
        torch.testing.assert_close(x.float(), y, rtol=2**-7, atol=2e-2 if "dither" in options else 1e-2)
    assert {m.dtype for m in momenta(optimizer)} <= {dtype}


def test_bfloat16_loses_small_steps_unless_rounded_stochastically():
    """The documented answer: 1 − 1e-3 is 1 in bfloat16."""
    for options, moved in (({}, False), ({"stochastic_rounding": True}, True)):
        p = torch.nn.Parameter(torch.ones(1000, dtype=torch.bfloat16))
        optimizer = SignSGD([p], lr=1e-3, **options)
        for _ in range(10):
            p.grad = torch.ones_like(p)
            optimizer.step()
        assert bool((p != 1).any()) == moved
    assert float(p.detach().float().mean()) == pytest.approx(0.99, abs=1e-3)


def test_differentiable_lets_gradients_through_the_step():
    """dx'/dx = 1 − δ·weight_decay in the sign phase; dx'/dg = −λ̄ in the SGD phase."""
    x = torch.randn(5, dtype=torch.float64, requires_grad=True)
    y = x.clone()
    optimizer = SignSGD([y], lr=0.1, weight_decay=0.5, differentiable=True)
    y.grad = torch.ones(5, dtype=torch.float64)
    optimizer.step()
    (gradient,) = torch.autograd.grad(y.sum(), x)
    torch.testing.assert_close(gradient, torch.full_like(gradient, 0.95))

    g = torch.randn(5, dtype=torch.float64, requires_grad=True)

    def sgd_step(g):
        z = torch.zeros(5, dtype=torch.float64, requires_grad=True).clone()
        z.grad = g
        HybridSignSGD([z], lr=0.1, switch_step=0, differentiable=True).step()
        return z

    assert torch.autograd.gradcheck(sgd_step, (g,))


@pytest.mark.parametrize(("cls", "options"), BOTH[::4], ids=str)
def test_pickle_and_continue(cls, options):
    params, optimizer = run(cls, options, steps=2)
    other = pickle.loads(pickle.dumps(optimizer))
    for opt in (optimizer, other):
        for group in opt.param_groups:
            for i, p in enumerate(group["params"]):
                p.grad = torch.full_like(p, float(i) - 2)
        opt.step()
    assert equal(params, other.param_groups[0]["params"])


COMPILED = [
    {},
    {"dither": "pre", "alpha": 0.1},
    {"weight_decay": 0.1, "dither": "pre", "alpha": 0.1, "law": "uniform"},
]


@pytest.mark.parametrize("options", COMPILED, ids=str)
def test_torch_compile_gives_the_same_numbers(options):
    """The whole step traces; capturable keeps the step number out of the compiled code."""
    results, counter = [], torch._dynamo.testing.CompileCounter()
    for compiled in (False, True):
        torch._dynamo.reset()
        torch.manual_seed(0)
        params = make_params([(3,), (7, 5)])
        optimizer = SignSGD(params, lr=0.01, capturable=True, **options)
        step = torch.compile(optimizer.step, backend=counter) if compiled else optimizer.step
        for k in range(5):
            for i, p in enumerate(params):
                p.grad = torch.randn(p.shape, generator=torch.Generator().manual_seed(10 * k + i))
            step()
        results.append(params)
    assert equal(*results)
    assert 0 < counter.frame_count <= 3, "the step recompiles"


def test_torch_compile_of_the_hybrid_over_its_switch():
    results, counter = [], torch._dynamo.testing.CompileCounter()
    for compiled in (False, True):
        torch._dynamo.reset()
        torch.manual_seed(0)
        params = make_params([(3,), (7, 5)])
        optimizer = HybridSignSGD(params, lr=0.01, switch_step=4, capturable=True)
        step = torch.compile(optimizer.step, backend=counter) if compiled else optimizer.step
        for k in range(8):
            for i, p in enumerate(params):
                p.grad = torch.randn(p.shape, generator=torch.Generator().manual_seed(10 * k + i))
            step()
        results.append(params)
    torch.testing.assert_close(*results, rtol=1e-6, atol=1e-7)
    assert 0 < counter.frame_count <= 6


def test_no_temporary_is_as_large_as_the_model():
    """Fused: nothing. Plain: blocks. Measured by torch's own record of CPU allocations."""
    for flag, limit in (({}, 100_000), ({"foreach": False}, 3_000_000)):
        p = torch.nn.Parameter(torch.randn(3_000_000))
        p.grad = torch.randn_like(p)
        optimizer = SignSGD([p], dither="pre", alpha=0.1, **flag)
        optimizer.step()
        with torch.profiler.profile(profile_memory=True) as profile:
            optimizer.step()
        largest = max((event.cpu_memory_usage for event in profile.events()), default=0)
        assert largest < limit


def test_the_library_imports_torch_alone():
    code = """
import sys
before = set(sys.modules)
import torch
allowed = {name.split(".")[0] for name in sys.modules}
from sign_ablate.optim import *
from sign_ablate.optim import registry
found = {name.split(".")[0] for name in sys.modules} - allowed - set(sys.stdlib_module_names)
assert found == {"sign_ablate"}, found
"""
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": ":".join(sys.path)})


@pytest.mark.parametrize("gamma", [1, 2])
def test_gamma_may_be_an_integer_with_the_step_on_the_device(gamma):
    options = {"dither": "pre", "alpha": 0.1}
    (p, _), (q, _) = (
        run(SignSGD, {**options, "gamma": g, "capturable": True}, shapes=SHAPES)
        for g in (gamma, float(gamma))
    )
    assert equal(p, q)


@ALL
def test_a_state_of_another_device_is_moved_to_the_parameters(cls, options):
    """On meta, a CPU tensor among the operands raises."""
    _, saved = run(cls, {**options, "capturable": True}, shapes=SHAPES, steps=2)
    optimizer = cls([torch.nn.Parameter(torch.empty(s, device="meta")) for s in SHAPES], **options)
    optimizer.load_state_dict(saved.state_dict())
    for p in optimizer.param_groups[0]["params"]:
        p.grad = torch.empty_like(p)
    optimizer.step()
    assert optimizer.param_groups[0]["step"].device.type == "meta"


def test_groups_share_a_step_that_was_moved():
    def optimizer(device):
        params = [torch.nn.Parameter(torch.ones(2, device=device)) for _ in range(2)]
        for p in params:
            p.grad = torch.ones_like(p)
        return SignSGD([{"params": [p]} for p in params], capturable=True)

    (saved := optimizer("cpu")).step()
    (loaded := optimizer("meta")).load_state_dict(saved.state_dict())
    one, two = (group["step"] for group in loaded.param_groups)
    assert one is two
    assert one.device.type == "meta"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@ALL
def test_a_state_on_the_cpu_goes_on_on_a_gpu(cls, options):
    """As torch.load with map_location="cpu" leaves it; torch's test_cpu_load_state_dict."""
    start = torch.randn(1000, generator=torch.Generator().manual_seed(0))
    results, state = [], None
    for resumes in (False, True):
        p = torch.nn.Parameter(start.to("cuda", copy=True))
        optimizer = cls([p], **options, capturable=True)
        for k in range(5):
            if k == 2 and resumes:
                state = torch.utils._pytree.tree_map_only(
                    torch.Tensor, lambda t: t.cpu(), optimizer.state_dict()
                )
                optimizer = cls([p], **options, capturable=True)
                optimizer.load_state_dict(state)
            p.grad = torch.randn(1000, generator=torch.Generator().manual_seed(k)).to("cuda")
            optimizer.step()
        assert optimizer.param_groups[0]["step"].device.type == "cuda"
        results.append(p.detach())
    assert torch.equal(*results)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("options", SIGN_OPTIONS, ids=str)
def test_cuda_agrees_with_the_cpu(options):
    """Within the documented tolerance: one coordinate in 10⁵ may take the other sign."""
    torch.manual_seed(0)
    start = torch.randn(200_000)
    results = []
    for device in ("cpu", "cuda"):
        p = torch.nn.Parameter(start.to(device, copy=True))
        optimizer = SignSGD([p], lr=0.01, **options)
        for k in range(3):
            p.grad = torch.randn(200_000, generator=torch.Generator().manual_seed(k)).to(device)
            optimizer.step()
        results.append(p.detach().cpu())
    differs = (results[0] - results[1]).abs() > 1e-4
    assert differs.float().mean() < 1e-5
