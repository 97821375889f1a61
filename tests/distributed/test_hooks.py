"""Hooks on gloo ranks: bitwise against one process, replicas, buckets, resume, counts, and faults."""

import io
import os
import pickle
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from sign_ablate.distributed import (
    HookState,
    MajorityVote,
    Mean,
    Rule,
    aggregate,
    agreement,
    bytes_per_step,
    hooks,
    register,
)
from sign_ablate.distributed.adversaries import corrupted
from sign_ablate.distributed.rule import Memory, Place
from tests.conftest import ROOT
from tests.distributed.test_rules import RULES

pytestmark = pytest.mark.slow

STEPS, SEED = 4, 3
#: in MiB: one parameter per bucket, and several
BUCKETS = {"small": 1e-5, "one": 25.0}
EXAMPLE = re.search(r"```python\n(.*?)```", (ROOT / "docs/distributed.md").read_text(), re.DOTALL)


class Net(nn.Module):
    """Odd sizes, a parameter without values, and one that is used on rank 0 in step 1 only."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3, bias=False))
        self.empty = nn.Parameter(torch.empty(0))
        self.rare = nn.Parameter(torch.ones(3))
        self.never = nn.Parameter(torch.ones(2))

    def forward(self, x: Tensor, rare: bool) -> Tensor:
        out: Tensor = self.body(x) + self.empty.sum()
        return out + self.rare if rare else out


def uses(rank: int, step: int) -> bool:
    return rank == 0 and step == 1


def batch(rank: int, step: int) -> Tensor:
    return torch.randn(6, 5, generator=torch.Generator().manual_seed(100 * step + rank))


def backward(net: nn.Module, rank: int, step: int, *, bad: bool = False) -> None:
    x = batch(rank, step).to(next(net.parameters()).device)
    if bad:
        x[0, 0] = torch.nan
    net(x, uses(rank, step)).square().mean().backward()


def train(net: nn.Module, rank: int, steps: range) -> list[Any]:
    """Gradients after each step's aggregation; SGD in between."""
    found = []
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for step in steps:
        optimizer.zero_grad()
        backward(net, rank, step)
        found.append([None if p.grad is None else p.grad.tolist() for p in net.parameters()])
        optimizer.step()
    return found


def ddp(buckets: str = "small", device: str = "cpu") -> DistributedDataParallel:
    net = Net().to(device)
    return DistributedDataParallel(net, bucket_cap_mb=BUCKETS[buckets], find_unused_parameters=True)


def resumed(rule: Rule, rank: int, device: str = "cpu") -> list[Any]:
    """Two steps, then a new model and hook that go on from the saved states, with other buckets."""
    net = ddp(device=device)
    state = register(net, rule, seed=SEED)
    found = train(net, rank, range(2))
    saved = io.BytesIO()
    torch.save({"net": net.state_dict(), "hook": state.state_dict()}, saved)
    saved.seek(0)
    stored = torch.load(saved, weights_only=True)
    net = ddp("one", device)
    state = register(net, rule, seed=SEED)
    net.load_state_dict(stored["net"])
    state.load_state_dict(stored["hook"])
    return found + train(net, rank, range(2, STEPS))


def worker(rank: int, workers: int, folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=workers)
    found: dict[Any, Any] = {}
    try:
        for name, rule in RULES.items():
            net = ddp()
            state = register(net, rule, seed=SEED)
            found[name, "whole"] = train(net, rank, range(STEPS))
            found[name, "bytes"] = state.bytes_sent
            found[name, "resumed"] = resumed(rule, rank)
        for name in ("vote", "mean"):
            net = ddp()
            register(net, RULES[name], seed=SEED, adversary="invert" if rank == workers - 1 else None)
            found[name, "inverted"] = train(net, rank, range(STEPS))
        for name in RULES:
            net = ddp()
            register(net, RULES[name])
            backward(net, rank, 0, bad=rank == workers - 1)
            found[name, "nan"] = [None if p.grad is None else p.grad.tolist() for p in net.parameters()]
        found["all-reduce"] = train(ddp(), rank, range(STEPS))
        if EXAMPLE is not None:
            names: dict[str, Any] = {"model": nn.Linear(5, 1), "batches": [batch(rank, k) for k in range(3)]}
            exec(EXAMPLE[1], names)
            found["example"] = [p.tolist() for p in names["model"].parameters()]
        found["halves"] = halves(rank, workers)
        found |= {("refused", what): refused(rank, what) for what in REFUSED}
        if rank == workers - 1:
            (folder / str(rank)).write_bytes(pickle.dumps(found))
        found["lost"] = lost(rank, workers)
        (folder / str(rank)).write_bytes(pickle.dumps(found))
    finally:
        dist.destroy_process_group()


#: what differs on rank 1 → the error on every rank
REFUSED = {
    "rule": r"^rank 1 has rule {'name': 'vote', 'momentum': 0\.5.*, rank 0 has {'name': 'mean'}; all ranks",
    "seed": r"^rank 1 has seed 1, rank 0 has 0; all ranks need the same$",
    "model": r"^rank 1 has model 6 parameters \(\w{8}\), rank 0 has 6 parameters \(\w{8}\); all ranks need",
    "code": r"^rank 1 has code edited, rank 0 has \w{12}; all ranks need the same$",
}


def refused(rank: int, what: str) -> str | None:
    """Error of `register` with something else on rank 1, or None."""
    net, own = ddp(), what if rank == 1 else None
    if own == "model":
        net.module.never.data = net.module.never.data.double()
    with pytest.MonkeyPatch.context() as patched:
        if own == "code":
            patched.setattr(hooks, "_code", lambda: "edited")
        try:
            rule = MajorityVote(momentum=0.5) if own == "rule" else Mean()
            register(net, rule, seed=int(own == "seed"))
        except ValueError as error:
            return str(error)
    return None


def halves(rank: int, workers: int) -> list[Any]:
    """Gradients of a step of two DDP models, of the first two ranks and of the others."""
    groups = [dist.new_group(list(ranks)) for ranks in (range(2), range(2, workers))]
    net = DistributedDataParallel(Net().body, process_group=groups[rank >= 2])
    register(net, Mean())
    net(batch(rank, 0)).square().mean().backward()
    return [p.grad.tolist() for p in net.parameters() if p.grad is not None]


def lost(rank: int, workers: int) -> float | None:
    """Seconds until a step fails in which the last rank ends; None if it does not fail."""
    net = ddp()
    register(net, RULES["vote"])
    start = time.monotonic()
    try:
        for step in range(2):
            if rank == workers - 1 and step == 1:
                os._exit(0)
            backward(net, rank, step)
    except RuntimeError:
        return time.monotonic() - start
    return None


def spawn(target: Callable[[int, int, Path], None], workers: int, folder: Path) -> list[Any]:
    """Content of the files of all ranks, by rank."""
    os.environ["OMP_NUM_THREADS"] = "1"
    context = mp.get_context("spawn")
    processes = [context.Process(target=target, args=(rank, workers, folder)) for rank in range(workers)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(300)
    assert [process.exitcode for process in processes] == [0] * workers
    return [pickle.loads((folder / str(rank)).read_bytes()) for rank in range(workers)]


@pytest.fixture(scope="module", params=[3, 4])
def ranks(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[dict[Any, Any]]:
    """Findings of all ranks, by rank."""
    return spawn(worker, request.param, tmp_path_factory.mktemp("ranks"))


def single(rule: Rule, workers: int, *, inverted: bool = False, device: str = "cpu") -> list[Any]:
    """The same training in one process."""
    nets = [Net().to(device) for _ in range(workers)]
    parameters = list(zip(*(net.parameters() for net in nets), strict=True))
    memories: list[list[Memory]] = [[{} for _ in nets] for _ in parameters]
    servers: list[Memory] = [{} for _ in parameters]
    found = []
    for step in range(STEPS):
        for rank, net in enumerate(nets):
            net.zero_grad()
            backward(net, rank, step)
        row: list[Any] = []
        for number, copies in enumerate(parameters):
            gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in copies]
            if inverted:
                gradients[-1] = corrupted(gradients[-1], "invert", Place(workers - 1, workers, number, step))
            g = aggregate(
                rule, gradients, memories[number], servers[number], number=number, step=step, seed=SEED
            )
            used = any(p.grad is not None for p in copies)
            row.append(g.tolist() if used else None)
            if used:
                for p in copies:
                    p.data.sub_(g, alpha=0.1)
        found.append(row)
    return found


@pytest.mark.parametrize("name", RULES)
def test_ranks_give_the_bits_of_one_process(ranks: list[dict[Any, Any]], name: str) -> None:
    """On every rank, whatever the buckets, and after a resume."""
    expected = single(RULES[name], len(ranks))
    for found in ranks:
        for kind in ("whole", "resumed"):
            assert found[name, kind] == expected, kind


@pytest.mark.parametrize("name", ["vote", "mean"])
def test_inverted_worker(ranks: list[dict[Any, Any]], name: str) -> None:
    expected = single(RULES[name], len(ranks), inverted=True)
    assert expected != single(RULES[name], len(ranks))
    assert all(found[name, "inverted"] == expected for found in ranks)


@pytest.mark.parametrize("name", RULES)
def test_nan_on_one_rank_is_seen_on_all(ranks: list[dict[Any, Any]], name: str) -> None:
    for found in ranks:
        weight = torch.tensor(found[name, "nan"][-1])  # the second layer's
        assert not weight.isfinite().all()


@pytest.mark.parametrize("name", RULES)
def test_bytes_are_those_of_the_formula(ranks: list[dict[Any, Any]], name: str) -> None:
    shapes = [tuple(p.shape) for p in Net().parameters()]
    expected = STEPS * bytes_per_step(RULES[name], shapes, len(ranks))
    assert {found[name, "bytes"] for found in ranks} == {expected}


def test_mean_is_ddps_up_to_rounding(ranks: list[dict[Any, Any]]) -> None:
    for own, reference in zip(ranks[0]["mean", "whole"], ranks[0]["all-reduce"], strict=True):
        for a, b in zip(own, reference, strict=True):
            assert (a is None) == (b is None)
            if a is not None:
                torch.testing.assert_close(torch.tensor(a), torch.tensor(b))


def test_group_of_the_model_is_that_of_the_hook(ranks: list[dict[Any, Any]]) -> None:
    for group in (range(2), range(2, len(ranks))):
        gradients = []
        for rank in group:
            net = Net().body
            net(batch(rank, 0)).square().mean().backward()
            gradients.append([p.grad for p in net.parameters()])
        for mean, *of_ranks in zip(
            [torch.stack(each).mean(0) for each in zip(*gradients, strict=True)],
            *(ranks[rank]["halves"] for rank in group),
            strict=True,
        ):
            for g in of_ranks:
                torch.testing.assert_close(torch.tensor(g), mean)


def test_example_of_the_docs(ranks: list[dict[Any, Any]]) -> None:
    assert EXAMPLE is not None
    assert len(EXAMPLE[1].strip().splitlines()) <= 15
    assert all(found["example"] == ranks[0]["example"] for found in ranks)


@pytest.mark.parametrize("what", REFUSED)
def test_rank_with_another_rule_seed_model_or_code_is_refused_on_all(
    ranks: list[dict[Any, Any]], what: str
) -> None:
    for found in ranks:
        assert found["refused", what] is not None
        assert re.match(REFUSED[what], found["refused", what])


def test_step_in_which_a_rank_ends_fails_on_the_others_at_once(ranks: list[dict[Any, Any]]) -> None:
    for found in ranks[:-1]:
        assert found["lost"] is not None
        assert found["lost"] < 60


@pytest.fixture
def alone(tmp_path: Any) -> Iterator[None]:
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.usefixtures("alone")
def test_state_of_another_rank_rule_seed_or_model_is_refused() -> None:
    state = HookState(nn.Linear(2, 1), MajorityVote())
    saved = state.state_dict()
    with pytest.raises(ValueError, match=r"^the state has rank 1, this hook has 0; load"):
        state.load_state_dict({**saved, "rank": 1})
    with pytest.raises(ValueError, match=r"^the state has workers 2, this hook has 1; load"):
        state.load_state_dict({**saved, "workers": 2})
    with pytest.raises(
        ValueError, match=r"^the state has rule {'name': 'vote', .*, this hook has {'name': 'm"
    ):
        HookState(nn.Linear(2, 1), Mean()).load_state_dict(saved)
    with pytest.raises(ValueError, match=r"^the state is of a model with other parameters: bias$"):
        HookState(nn.Linear(2, 1, bias=False), MajorityVote()).load_state_dict(saved)
    with pytest.raises(ValueError, match=r"^the state has seed 0, this hook has 1; load"):
        HookState(nn.Linear(2, 1), MajorityVote(), seed=1).load_state_dict(saved)
    with pytest.raises(ValueError, match=r"^the state has weight of shape \(1, 2\), this model of"):
        HookState(nn.Linear(3, 1), MajorityVote()).load_state_dict(saved)
    with pytest.raises(ValueError, match=r"^seed must be in \[0, 2\*\*32\), got -1$"):
        HookState(nn.Linear(2, 1), MajorityVote(), seed=-1)
    with pytest.raises(
        ValueError, match=r"^adversary must be None or one of 'invert', 'random', got 'invrt'$"
    ):
        HookState(nn.Linear(2, 1), MajorityVote(), adversary="invrt")  # type: ignore[arg-type]


@pytest.mark.usefixtures("alone")
def test_state_of_a_rule_with_numpy_numbers_is_of_plain_values(tmp_path: Path) -> None:
    rule = MajorityVote(momentum=np.float64(0.5))
    assert str(rule.as_dict()) == str(MajorityVote(momentum=0.5).as_dict())
    torch.save(HookState(nn.Linear(2, 1), rule).state_dict(), tmp_path / "state.pt")
    assert torch.load(tmp_path / "state.pt", weights_only=True)["rule"] == rule.as_dict()


def test_long_values_are_shown_from_their_first_difference_on() -> None:
    same = "a" * 200
    assert agreement._shown(same + "b", same + "c") == "…" + "a" * 30 + "b"
    assert agreement._shown(same + "c" * 200, same + "b") == "…" + "a" * 30 + "c" * 90 + "…"
    assert agreement._shown("short", same) == "short"
    assert agreement._shown(None, same) == "none"


class Complex(nn.Module):
    """A complex parameter beside a real one."""

    def __init__(self) -> None:
        super().__init__()
        self.real, self.phase = (
            nn.Parameter(torch.ones(2)),
            nn.Parameter(torch.ones(2, dtype=torch.complex64)),
        )


@pytest.mark.usefixtures("alone")
def test_what_a_hook_cannot_aggregate_is_refused() -> None:
    """Complex gradients would stay those of each rank, and the replicas would part without an error."""
    for rule in (Mean(), MajorityVote()):
        with pytest.raises(
            ValueError, match=r"^parameter phase is complex; rules support real parameters only$"
        ):
            register(DistributedDataParallel(Complex()), rule)
    sparse = DistributedDataParallel(nn.Embedding(3, 2, sparse=True))
    register(sparse, MajorityVote())
    with pytest.raises(RuntimeError, match=r"MajorityVote does not support sparse gradients"):
        sparse(torch.tensor([1])).sum().backward()


@pytest.mark.usefixtures("alone")
def test_register_names_an_argument_of_another_type() -> None:
    with pytest.raises(TypeError, match=r"^model must be a DistributedDataParallel, got Linear$"):
        register(nn.Linear(2, 1), Mean())  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"^rule must be a rule of sign_ablate.distributed, such as Mean\(\)"):
        register(DistributedDataParallel(nn.Linear(2, 1)), Mean)  # type: ignore[arg-type]
