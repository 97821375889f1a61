"""Training step as a CUDA graph: on the CPU by a stand-in, on a GPU against the same step uncaptured."""

import io
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from sign_ablate.campaign.grid import expand
from sign_ablate.config import parse_campaign
from sign_ablate.config.campaign import RunConfig
from sign_ablate.data.prepare import prepare
from sign_ablate.data.prepared import PreparedData, read
from sign_ablate.jobs.run_lock import JobError
from sign_ablate.optim import noise
from sign_ablate.optim.sign_step import fused
from sign_ablate.train import graph
from sign_ablate.train.graph import GraphedStep
from sign_ablate.train.loop import Trainer
from tests.conftest import TINY

CPU = torch.device("cpu")


class StandIn(TorchDispatchMode):
    """A CUDA graph on the CPU: operations on fixed memory, recorded by a capture that changes no tensor.

    As on a GPU, numbers of the host are those of the capture, and values of tensors cannot be read in it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.warm_ups = self.captures = self.replays = 0
        self._operations: list[tuple[Any, Any, Any, list[Tensor], list[Tensor]]] = []
        self._before: dict[int, tuple[torch.UntypedStorage, torch.UntypedStorage]] = {}

    def warm_up(self, work: Callable[[], Tensor]) -> Tensor:
        self.warm_ups += 1
        return work()

    def capture(self, work: Callable[[], Tensor]) -> Tensor:
        self.captures += 1
        with self:
            result = work()
        for storage, value in self._before.values():
            storage.copy_(value)
        return result

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.ops.aten._local_scalar_dense.default:
            raise RuntimeError("CUDA error: operation not permitted when stream is capturing")
        taken = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        for storage in (tensor.untyped_storage() for tensor in taken):
            self._before.setdefault(storage.data_ptr(), (storage, storage.clone()))
        found = func(*args, **kwargs)
        self._operations.append((func, args, kwargs, taken, _tensors(found)))
        return found

    def replay(self) -> None:
        self.replays += 1
        for func, args, kwargs, taken, outputs in self._operations:
            places = {tensor.untyped_storage().data_ptr() for tensor in taken}
            with torch.no_grad():
                found = _tensors(func(*args, **kwargs))
            for output, new in zip(outputs, found, strict=True):
                if output.untyped_storage().data_ptr() not in places:  # no view, and not written in place
                    output.detach().copy_(new)


def _tensors(found: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(found) if isinstance(leaf, Tensor)]


METHODS: dict[str, dict[str, Any]] = {
    "sgd": {"optimizer": "sgd", "lr": 0.05, "momentum": 0.9},
    "signsgd-m": {"optimizer": "signsgd-m", "lr": 0.002, "weight_decay": 0.1},
    "signsgd": {"optimizer": "signsgd", "lr": 0.002},
    "pre-dither": {"optimizer": "dithered", "site": "pre", "alpha": 0.1, "lr": 0.002},
    "hybrid": {"optimizer": "hybrid", "lr": 0.002, "t_switch": 3},
    "stable": {"optimizer": "hybrid", "lr": 0.002, "trigger": "stable", "tolerance": 0.5, "patience": 2},
    "plateau": {"optimizer": "hybrid", "lr": 0.002, "trigger": "plateau", "tolerance": 0.5, "patience": 2},
    "kept": {"optimizer": "hybrid", "lr": 0.002, "t_switch": 3, "length": "kept"},
    "post-dither": {"optimizer": "dithered", "site": "post", "alpha": 0.1, "lr": 0.002},
    "lion": {"optimizer": "lion", "lr": 0.001},
    "qsgd": {"optimizer": "qsgd", "lr": 0.05},
}
#: those whose step is not in the graph
OUTSIDE = {"sgd", "lion", "qsgd"}
#: those that compute with σ_k or δ√d, which have float32's rounding on the device
ROUNDED = {"post-dither", "kept"}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    path = tmp_path_factory.mktemp("data") / "synthetic"
    prepare(expand(parse_campaign(TINY))[0].config.data, path)
    return read(path)


@pytest.fixture(autouse=True)
def paths_of_a_gpu(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a CPU, no step in C, which adds the sums of λ in another order than torch, and no shortcut."""
    if "gpu" in request.keywords:
        return
    monkeypatch.setattr(fused, "takes_step", lambda const: False)
    monkeypatch.setattr(noise, "is_functorch_wrapped_tensor", lambda x: True)


def run_of(method: str, options: dict[str, Any] | None = None, **train: Any) -> RunConfig:
    """Two batches of 40 and one of 16 an epoch, with a rate that differs from step to step."""
    train = {"model": "small", "epochs": 5, "batch_size": 40, "schedule": "cosine", **train}
    methods = {"method": METHODS[method] if options is None else options}
    config = {**TINY, "seeds": [0], "methods": methods, "figures": {}, "train": train}
    return expand(parse_campaign(config))[0].config


def graphed(run: RunConfig, data: PreparedData) -> tuple[Trainer, list[StandIn]]:
    """Trainer whose step is captured, and its graphs."""
    trainer, graphs = Trainer(run, data, CPU), list[StandIn]()

    def new() -> StandIn:
        graphs.append(StandIn())
        return graphs[-1]

    trainer.graphed = GraphedStep(trainer._gradient_step, trainer.optimizer, run.train.batch_size, new)
    return trainer, graphs


def state(trainer: Trainer) -> list[Tensor]:
    """Weights, and statistics of batch norm."""
    return list(trainer.network.state_dict().values())


def same(one: Trainer, two: Trainer) -> bool:
    """Return True if state, metrics and probes are equal bit for bit."""
    results = [(t.result.metrics, t.result.probes) for t in (one, two)]
    return all(map(torch.equal, state(one), state(two))) and results[0] == results[1]


@pytest.mark.parametrize("method", METHODS)
def test_a_replayed_run_is_the_eager_one_bit_for_bit(method: str, data: PreparedData) -> None:
    """Warm-ups count once, smaller batches between replays, and the switch within them."""
    eager = Trainer(run_of(method), data, CPU)
    eager.fit()
    replayed, (stand_in,) = graphed(run_of(method), data)
    replayed.fit()
    assert (stand_in.warm_ups, stand_in.captures, stand_in.replays) == (3, 1, 7)
    assert replayed.graphed is not None
    assert replayed.graphed.whole == (method not in OUTSIDE)
    if method in ROUNDED:
        torch.testing.assert_close(state(eager), state(replayed), rtol=1e-5, atol=1e-6)
    else:
        assert same(eager, replayed)


def interrupted(trainer: Trainer, step: int) -> Any:
    """The trainer's checkpoint before this step."""
    file = io.BytesIO()

    def before_step() -> None:
        if trainer.step == step:
            torch.save(trainer.state_dict(), file)
            raise InterruptedError

    with pytest.raises(InterruptedError):
        trainer.fit(before_step=before_step)
    file.seek(0)
    return torch.load(file, weights_only=True)


@pytest.mark.parametrize(("one", "two"), [(False, True), (True, False), (True, True)])
def test_a_checkpoint_is_resumed_with_and_without_a_graph(one: bool, two: bool, data: PreparedData) -> None:
    """In the middle of an epoch, after replays, and before the switch."""
    run = run_of("hybrid")
    whole = Trainer(run, data, CPU)
    whole.fit()
    first, second = (graphed(run, data)[0] if flag else Trainer(run, data, CPU) for flag in (one, two))
    second.load_state_dict(interrupted(first, 7))
    second.fit()
    assert same(whole, second)


def test_a_loaded_state_is_not_the_recorded_one(data: PreparedData) -> None:
    """The optimizer has other tensors after `load_state_dict`, so the step is recorded again."""
    run = run_of("signsgd-m")
    whole = Trainer(run, data, CPU)
    whole.fit()
    trainer, graphs = graphed(run, data)
    trainer.load_state_dict(interrupted(trainer, 7))
    trainer.fit()
    assert [stand_in.captures for stand_in in graphs] == [1, 1]
    assert same(whole, trainer)


def test_probes_and_diagnostics_see_the_gradient_of_a_replay(data: PreparedData) -> None:
    """Epochs end in a smaller batch, which leaves its gradient elsewhere. With β = 0 both read gradients."""
    run = run_of("signsgd", probe=[4, 5])
    eager = Trainer(run, data, CPU)
    eager.fit()
    replayed, (stand_in,) = graphed(run, data)
    replayed.fit()
    assert stand_in.replays == 7
    assert same(eager, replayed)


def test_a_batch_that_is_never_full_is_never_captured(data: PreparedData) -> None:
    run = run_of("signsgd-m", batch_size=100, epochs=4)
    eager = Trainer(run, data, CPU)
    eager.fit()
    replayed, (stand_in,) = graphed(run, data)
    replayed.fit()
    assert (stand_in.warm_ups, stand_in.captures) == (0, 0)
    assert same(eager, replayed)


def test_a_step_that_waits_for_the_device_is_refused_in_one_line(data: PreparedData) -> None:
    trainer, _ = graphed(run_of("signsgd-m"), data)
    trainer.optimizer.register_step_pre_hook(
        lambda optimizer, *_: float(optimizer.param_groups[0]["params"][0].grad.sum()) and None
    )
    with pytest.raises(JobError) as caught:
        trainer.fit()
    assert str(caught.value) == (
        "execution.compile = 'reduce-overhead': the step of SignSGD cannot be captured in a CUDA graph "
        "(CUDA error: operation not permitted when stream is capturing); set default"
    )


def test_a_capture_without_memory_is_an_out_of_memory_error(data: PreparedData) -> None:
    """The end of a broken capture raises an error of its own."""

    class Full(StandIn):
        def capture(self, work: Callable[[], Tensor]) -> Tensor:
            try:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.")
            finally:
                raise RuntimeError("capture was invalidated")

    trainer = Trainer(run_of("signsgd-m"), data, CPU)
    trainer.graphed = GraphedStep(trainer._gradient_step, trainer.optimizer, 40, Full)
    with pytest.raises(torch.OutOfMemoryError, match="Tried to allocate"):
        trainer.fit()


ON_GPU = {
    **METHODS,
    "adam": {"optimizer": "adam", "lr": 0.003, "weight_decay": 0.01, "decoupled": True},
    "naive": {"optimizer": "naive-switch", "lr": 0.002, "t_switch": 3},
    "each tensor": {"optimizer": "hybrid", "lr": 0.002, "t_switch": 3, "lambda_scope": "tensor"},
    "rms": {**METHODS["pre-dither"], "scale": "tensor_rms", "k_unit": "epoch"},
    "two groups": {**METHODS["signsgd-m"], "exclude_norm_bias": True},
}
GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.mark.gpu
@GPU
@pytest.mark.parametrize("method", ON_GPU)
def test_a_captured_run_is_the_uncaptured_one_bit_for_bit(
    method: str, data: PreparedData, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run all of whose steps are warm-ups makes the same launches one by one."""
    runs = []
    for warm_ups in (graph.WARM_UPS, 1000):
        monkeypatch.setattr(graph, "WARM_UPS", warm_ups)
        trainer = Trainer(run_of(method, options=ON_GPU[method]), data, torch.device("cuda"))
        trainer.graphed = GraphedStep(trainer._gradient_step, trainer.optimizer, 40)
        with torch.backends.cudnn.flags(benchmark=False, deterministic=True):
            trainer.fit()
        runs.append(trainer)
    assert same(*runs)


@pytest.mark.gpu
@GPU
@pytest.mark.parametrize("method", ["sgd", "hybrid", "adam"])
def test_a_compiled_run_is_captured_and_differs_by_rounding(method: str, data: PreparedData) -> None:
    run, where = run_of(method, options=ON_GPU[method], precision="bfloat16"), torch.device("cuda")
    eager, compiled = Trainer(run, data, where), Trainer(run, data, where, "reduce-overhead")
    assert compiled.graphed is not None
    losses = [[row["train_loss"] for row in trainer.fit().metrics] for trainer in (eager, compiled)]
    assert losses[1] == pytest.approx(losses[0], rel=0.1)
