"""The hand-over: equivalences at its boundaries, triggers, λ, and a resume at every step around it."""

import copy
import io

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sign_ablate.optim import HybridSignSGD, SignSGD, projection
from tests.optim.helpers import HYBRID_OPTIONS, SIGN_OPTIONS, equal, make_params, momenta, run, set_grads

TRIGGERS = {
    "fixed": {"switch_step": 4, "eta": 0.9},
    "stable": {"trigger": "stable", "tolerance": 0.5, "patience": 2, "eta": 0.9},
    "swats": {"trigger": "swats", "tolerance": 0.02, "eta": 0.5},
    "plateau": {"trigger": "plateau", "tolerance": 0.1, "patience": 3, "eta": 0.5},
}


@pytest.mark.parametrize("options", [o for o in SIGN_OPTIONS if o.get("sign_of_zero") != "random"], ids=str)
def test_never_switching_is_signsgd_m_bit_for_bit(options):
    (p, one), (q, two) = run(SignSGD, options), run(HybridSignSGD, options)
    assert equal(p, q)
    assert equal(momenta(one), momenta(two))


@pytest.mark.parametrize("switch", [1, 3, 5])
def test_the_prefix_is_signsgd_m_bit_for_bit(switch):
    for steps in range(1, switch + 1):
        p, _ = run(SignSGD, {}, steps=steps)
        q, _ = run(HybridSignSGD, {"switch_step": switch}, steps=steps)
        assert equal(p, q)
    assert not equal(
        run(SignSGD, {}, steps=switch + 1)[0],
        run(HybridSignSGD, {"switch_step": switch}, steps=switch + 1)[0],
    )


@pytest.mark.parametrize("capturable", [False, True])
def test_sign_with_its_length_kept_is_signsgd_m_bit_for_bit(capturable):
    control = {"switch_step": 3, "after": "sign", "length": "kept"}
    for options in ({"weight_decay": 0.1}, {"weight_decay": 0.1, "decoupled": False}):
        p, one = run(SignSGD, {**options, "capturable": capturable})
        q, two = run(HybridSignSGD, {**options, **control, "capturable": capturable})
        assert equal(p, q)
        assert equal(momenta(one), momenta(two))


@pytest.mark.parametrize(("after", "length"), [("sign", "projected"), ("gradient", "kept")])
def test_a_mixed_step_is_as_long_over_all_groups_as_the_step_it_copies(after, length):
    """Groups of two learning rates; one rate is 0 and its parameters stay."""

    def last_step(**options):
        torch.manual_seed(0)
        params = make_params([(3,), (7, 5), (4,)])
        groups = [{"params": [p], "lr": lr} for p, lr in zip(params, (0.01, 0.05, 0.0), strict=True)]
        optimizer = HybridSignSGD(groups, beta=0.5, **options)
        for k in range(5):
            for i, p in enumerate(params):
                generator = torch.Generator().manual_seed(100 * k + i)
                p.grad = torch.randn(p.shape, generator=generator)
            before = [p.detach().clone() for p in params]
            optimizer.step()
        return [q - p.detach() for p, q in zip(params, before, strict=True)]

    found = last_step(switch_step=4, after=after, length=length)
    sign, sgd = last_step(switch_step=None), last_step(switch_step=4)
    along, long = (sign, sgd) if after == "sign" else (sgd, sign)
    norms = [torch.cat([x.flatten() for x in step]).norm() for step in (found, long, along)]
    torch.testing.assert_close(norms[0], norms[1], rtol=1e-5, atol=0)
    torch.testing.assert_close(found, [x * norms[0] / norms[2] for x in along], rtol=1e-4, atol=1e-7)


def test_the_length_is_that_of_the_gradient_with_coupled_decay():
    p = torch.nn.Parameter(torch.full((16,), 3.0))
    optimizer = HybridSignSGD([p], lr=0.1, switch_step=0, length="kept", weight_decay=0.5, decoupled=False)
    p.grad = torch.linspace(-2, 2, 16)
    optimizer.step()
    along = torch.linspace(-2, 2, 16) + 1.5
    torch.testing.assert_close(3.0 - p.detach(), along / along.norm() * 0.4, rtol=1e-5, atol=1e-6)  # δ√16


def test_a_mixed_step_without_gradients_or_learning_rate_is_none():
    for options, scale, lr in (({"length": "kept"}, 0.0, 0.1), ({"after": "sign"}, 1.0, 0.0)):
        p = torch.nn.Parameter(torch.ones(3))
        optimizer = HybridSignSGD([p], lr=0.1, switch_step=1, **options)
        p.grad = torch.ones(3)
        optimizer.step()
        before = p.detach().clone()
        optimizer.param_groups[0]["lr"] = lr
        p.grad = torch.ones(3) * scale
        optimizer.step()
        assert torch.equal(p, before)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"after": "sign", "lambda_scope": "tensor"}, "after 'sign' needs lambda_scope 'global'"),
        ({"after": "sign", "sgd_momentum": "swats"}, "sgd_momentum has no effect with after 'sign'"),
        ({"length": "kept", "sgd_momentum": "swats"}, "sgd_momentum 'swats' needs length 'projected'"),
        ({"length": "kept", "calibrate": False}, "length has no effect without calibrate"),
    ],
)
def test_combinations_without_meaning_are_refused(options, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        HybridSignSGD([torch.nn.Parameter(torch.ones(3))], switch_step=2, **options)


def test_switching_at_0_is_sgd_with_lr():
    p, _ = run(HybridSignSGD, {"switch_step": 0, "lr": 0.01, "weight_decay": 0.1, "decoupled": False})
    q, _ = run(torch.optim.SGD, {"lr": 0.01, "weight_decay": 0.1})
    torch.testing.assert_close(p, q, rtol=1e-6, atol=1e-7)


def test_swats_momentum_is_torch_sgd_with_dampened_lr():
    p, _ = run(HybridSignSGD, {"switch_step": 0, "lr": 0.1, "sgd_momentum": "swats"})
    q, _ = run(torch.optim.SGD, {"lr": 0.1 * (1 - 0.9), "momentum": 0.9})
    torch.testing.assert_close(p, q, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "more", [{}, {"foreach": True}, {"fused": False, "foreach": False}, {"capturable": True}], ids=str
)
def test_a_group_without_momentum_takes_plain_sgd_steps_beside_one_with_swats_momentum(more):
    values = []
    for momentum in ("none", "swats"):
        torch.manual_seed(0)
        p, q = make_params([(3,), (5, 2)])
        groups = [{"params": [p], "sgd_momentum": "swats"}, {"params": [q], "beta": 0.0}]
        groups[1]["sgd_momentum"] = momentum
        optimizer = HybridSignSGD(groups, lr=0.01, switch_step=2, **more)
        for k in range(5):
            set_grads([p, q], k)
            optimizer.step()
        values.append([p.detach(), q.detach()])
    assert equal(*values)


def test_alpha_0_is_clean():
    for site in ("pre", "post"):
        assert equal(run(SignSGD, {})[0], run(SignSGD, {"dither": site, "alpha": 0.0})[0])


def test_signsgd_m_is_lion_with_equal_betas():
    """Lion steps with sign(β₁m + (1−β₁)g), then m ← β₂m + (1−β₂)g."""
    p, _ = run(SignSGD, {"lr": 0.01, "weight_decay": 0.1, "foreach": False})
    torch.manual_seed(0)
    q = make_params()
    ms = [torch.zeros_like(x) for x in q]
    for k in range(6):
        set_grads(q, k)
        for x, m in zip(q, ms, strict=True):
            m.lerp_(x.grad, 1 - 0.9)
            x.data.mul_(1 - 0.01 * 0.1).sub_(m.sign(), alpha=0.01)
    assert equal(p, q)


def test_agrees_with_pytorch_optimizer_lion():
    peers = pytest.importorskip("pytorch_optimizer")
    p, _ = run(SignSGD, {"lr": 0.01})
    q, _ = run(peers.Lion, {"lr": 0.01, "betas": (0.9, 0.9)})
    same = [(x == y).float().mean() for x, y in zip(p, q, strict=True) if x.numel() > 100]
    torch.testing.assert_close(p[2], q[2], rtol=0, atol=0.021)  # its momentum rounds otherwise near 0
    assert min(same) > 0.99


@given(exponent=st.integers(-20, 20), switch=st.sampled_from([None, 2]))
@settings(max_examples=15, deadline=None)
def test_scaling_the_loss_by_a_power_of_two_changes_nothing(exponent, switch):
    """α = 0: the sign does not see it, and λ(c·g, c·m) = λ/c undoes it."""
    results = []
    for c in (1.0, 2.0**exponent):
        torch.manual_seed(0)
        p = torch.nn.Parameter(torch.randn(50))
        optimizer = HybridSignSGD([p], lr=0.01, switch_step=switch, eps=0.0)
        for _ in range(5):
            p.grad = torch.randn(50) * c
            optimizer.step()
        results.append([p])
    assert equal(*results)


@given(c=st.floats(0.1, 10.0), scope=st.sampled_from(["global", "group", "tensor"]))
@settings(max_examples=15, deadline=None)
def test_lambda_of_scaled_gradients_is_lambda_over_the_scale(c, scope):
    values = []
    for scale in (1.0, c):
        torch.manual_seed(0)
        p = torch.nn.Parameter(torch.randn(50))
        optimizer = HybridSignSGD([p], lr=0.01, lambda_scope=scope)
        for _ in range(3):
            p.grad = torch.randn(50) * scale
            optimizer.step()
        values.append(float(optimizer.diagnostics()["lambda_k"]))
    assert values[1] == pytest.approx(values[0] / c, rel=1e-4)


def test_the_sgd_step_is_the_projection_equation_11():
    """⟨δ·sign(m) − λg, g⟩ = 0; SWATS: ⟨λg − δ·sign(m), sign(m)⟩ = 0."""
    for rule in ("paper", "swats"):
        torch.manual_seed(0)
        p = torch.nn.Parameter(torch.zeros(500, dtype=torch.float64))
        g = torch.randn(500, dtype=torch.float64)
        optimizer = HybridSignSGD([p], lr=0.1, beta=0.0, lambda_rule=rule, eps=0.0)
        p.grad = g
        optimizer.step()
        lam = float(optimizer.diagnostics()["lambda_k"])
        step, onto = 0.1 * g.sign(), g if rule == "paper" else g.sign()
        assert float((step - lam * g) @ onto) == pytest.approx(0, abs=1e-4)


def test_lambda_follows_the_schedule_and_lr_is_left_alone():
    torch.manual_seed(0)
    p = torch.nn.Parameter(torch.randn(50))
    optimizer = HybridSignSGD([p], lr=0.1, switch_step=3)
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [2, 4], gamma=0.1)
    bars = []
    for _ in range(6):
        p.grad = torch.randn(50)
        optimizer.step()
        scheduler.step()
        bars.append(float(optimizer.diagnostics()["lambda_bar"]))
    assert bars[4] == pytest.approx(bars[3], rel=1e-6)
    assert bars[3] == pytest.approx(bars[2] * 0.1, rel=1e-5)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.001)


def trained(name, steps, start=None, capturable=False):
    torch.manual_seed(0)
    params = make_params([(3,), (7, 5)])
    optimizer = HybridSignSGD(
        params, lr=0.01, dither="pre", alpha=0.01, capturable=capturable, **TRIGGERS[name]
    )
    first = 0
    if start is not None:
        first, values, state = start
        optimizer.load_state_dict(state)
        for p, value in zip(params, values, strict=True):
            p.data.copy_(value)
    path = []
    for k in range(first, steps):
        for i, p in enumerate(params):
            p.grad = torch.randn(p.shape, generator=torch.Generator().manual_seed(100 * k + i)) * 10.0 ** (
                k % 3 - 2
            )
        optimizer.report_loss(torch.tensor(1.0 / min(k + 1, 3)))
        optimizer.step()
        path.append(([p.detach().clone() for p in params], optimizer.state_dict()))
        path[-1] = (path[-1][0], copy.deepcopy(path[-1][1]))
    return path


@pytest.mark.slow
@pytest.mark.parametrize("capturable", [False, True])
@pytest.mark.parametrize("name", TRIGGERS)
def test_a_resume_at_every_step_around_the_switch_is_exact(name, capturable):
    whole = trained(name, 12, capturable=capturable)
    phases = [state["param_groups"][0]["sgd_step"] for _, state in whole]
    if name != "fixed":
        assert 0 < sum(int(s) == 0 for s in phases) < 12, "the trigger never fired, or at once"
    for k in range(1, 12):
        values, state = whole[k - 1]
        file = io.BytesIO()
        torch.save(state, file)
        file.seek(0)
        rest = trained(
            name, 12, start=(k, values, torch.load(file, weights_only=True)), capturable=capturable
        )
        for (one, first), (two, second) in zip(whole[k:], rest, strict=True):
            assert equal(one, two)
            assert repr(first) == repr(second)


def test_a_state_dict_of_bfloat16_parameters_keeps_lambda_phase_and_seed():
    options = {"switch_step": 3, "seed": 2**40 + 1, "dither": "pre", "alpha": 0.1}
    _, optimizer = run(HybridSignSGD, options, dtype=torch.bfloat16, steps=2)
    _, other = run(HybridSignSGD, {**options, "seed": 0}, dtype=torch.bfloat16, steps=0)
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    ours, theirs = optimizer.param_groups[0], other.param_groups[0]
    assert ours["lambda_ema"].dtype == theirs["lambda_ema"].dtype == torch.float32
    assert torch.equal(ours["lambda_ema"], theirs["lambda_ema"])
    assert ours["lambda_skipped"].dtype == theirs["lambda_skipped"].dtype == torch.int32
    assert (theirs["seed"], theirs["step"]) == (2**40 + 1, 2)


@pytest.mark.parametrize("key", [*projection.STATE, "step"])
def test_a_state_without_a_number_of_lambda_is_refused_on_load(key):
    params, optimizer = run(HybridSignSGD, {"switch_step": 1}, steps=2)
    state = optimizer.state_dict()
    del state["param_groups"][0][key]
    with pytest.raises(
        ValueError, match=f"^state of HybridSignSGD has 'lambda_.*' but no '{key}': the phase"
    ):
        optimizer.load_state_dict(state)
    for p in params:
        p.grad = torch.ones_like(p)
    optimizer.step()  # a refused state leaves the optimizer as it was
    assert optimizer.param_groups[0]["step"] == 3


def test_plateau_needs_the_loss():
    p = torch.nn.Parameter(torch.ones(3))
    optimizer = HybridSignSGD([p], trigger="plateau", tolerance=0.1, patience=2)
    p.grad = torch.ones(3)
    with pytest.raises(RuntimeError, match="needs the loss"):
        optimizer.step()
    optimizer.step(lambda: torch.tensor(1.0))


@pytest.mark.parametrize("options", HYBRID_OPTIONS, ids=str)
def test_diagnostics_are_numbers_of_the_last_step(options):
    _, optimizer = run(HybridSignSGD, options)
    found = optimizer.diagnostics()
    known = {"sigma", "momentum_rms", "flip_fraction", "lambda_k", "lambda_bar", "lambda_skipped", "phase"}
    assert set(found) <= known
    assert all(torch.as_tensor(value).dim() == 0 for value in found.values())
    assert torch.isfinite(torch.tensor([float(value) for value in found.values()])).all()
    if options.get("switch_step") == 3:
        assert found["phase"] == 1


@pytest.mark.parametrize("length", ["projected", "kept"])
def test_rms_of_m_is_measured_while_m_is_updated(length):
    options = {"switch_step": 3, "length": length, "dither": "pre", "alpha": 0.1}
    params, optimizer = run(HybridSignSGD, {**options, "after": "sign"}, steps=5)
    m = torch.cat([optimizer.state[p]["momentum_buffer"].flatten() for p in params])
    found = optimizer.diagnostics()
    assert found["phase"] == 1
    assert float(found["momentum_rms"]) == pytest.approx(float(m.square().mean().sqrt()))
    assert not found.keys() & {"sigma", "flip_fraction"}  # dither ends at the switch
    _, optimizer = run(HybridSignSGD, {**options, "after": "gradient"}, steps=5)
    assert not optimizer.diagnostics().keys() & {"momentum_rms", "sigma", "flip_fraction"}


def test_flip_fraction_counts_the_signs_that_dither_changed():
    torch.manual_seed(0)
    p = torch.nn.Parameter(torch.zeros(100_000))
    optimizer = SignSGD([p], lr=1.0, beta=0.0, dither="pre", alpha=1.0)
    p.grad = torch.full_like(p, 0.5)
    optimizer.step()
    flipped = float((p.detach() > 0).float().mean())
    assert float(optimizer.diagnostics()["flip_fraction"]) == pytest.approx(flipped, abs=1e-6)
    assert flipped == pytest.approx(0.3085, abs=0.005)  # Φ(−½)


@pytest.mark.parametrize("more", [{}, {"capturable": True}])
@pytest.mark.parametrize(
    ("alphas", "sigma"), [((0.0, 0.25), 0.5), ((0.25, 0.0), 0.5), ((0.01, 0.25), 0.3), ((0.0, 0.0), 0.0)]
)
def test_sigma_is_the_mean_over_the_groups_that_dither(alphas, sigma, more):
    params = [torch.nn.Parameter(torch.ones(4)) for _ in alphas]
    groups = [{"params": [p], "alpha": alpha} for p, alpha in zip(params, alphas, strict=True)]
    optimizer = SignSGD(groups, dither="pre", alpha=1.0, **more)
    for p in params:
        p.grad = torch.ones(4)
    optimizer.step()
    assert float(optimizer.diagnostics()["sigma"]) == pytest.approx(sigma)


def test_a_group_added_later_joins_at_the_step():
    p, q = (torch.nn.Parameter(torch.ones(3)) for _ in range(2))
    optimizer = HybridSignSGD([p], switch_step=2)
    for k in range(4):
        if k == 1:
            optimizer.add_param_group({"params": [q]})
            q.grad = torch.ones(3)
        p.grad = torch.ones(3)
        optimizer.step()
    assert [group["step"] for group in optimizer.param_groups] == [4, 4]


@pytest.mark.parametrize("options", [{}, {"switch_step": None, "dither": "pre", "alpha": 0.1}])
def test_diagnostics_outlive_the_gradients(options):
    """They come of the momentum. Without one they are those of the gradients, and gone with them."""
    for beta in (0.9, 0.0):
        params, optimizer = run(HybridSignSGD, {**options, "beta": beta})
        before = optimizer.diagnostics()
        optimizer.zero_grad()
        found = optimizer.diagnostics()
        gone = set() if beta else {"momentum_rms", "sigma", "flip_fraction"}
        assert found == {k: v for k, v in before.items() if k not in gone}
        assert all(p.grad is None for p in params)


def test_state_of_sgd_loads_into_a_switch_without_calibration():
    params = [torch.nn.Parameter(torch.ones(2))]
    optimizer = HybridSignSGD(params, lr=0.1, switch_step=0, calibrate=False, sgd_lr=0.2)
    optimizer.load_state_dict(torch.optim.SGD(params, lr=0.1).state_dict())
    params[0].grad = torch.ones(2)
    optimizer.step()
    assert params[0].tolist() == pytest.approx([0.8, 0.8])
