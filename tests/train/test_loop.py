"""Training loop: determinism, pairing, divergence, schedules, and no host synchronisation in an epoch."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.launches import Launches
from sign_ablate import models
from sign_ablate.campaign.grid import Run, expand
from sign_ablate.config import parse_campaign
from sign_ablate.config.train import Train
from sign_ablate.data.prepare import prepare
from sign_ablate.data.prepared import PreparedData, read
from sign_ablate.jobs.run_lock import JobError
from sign_ablate.store.run_files import METRICS_SCHEMA, write_table
from sign_ablate.train.loop import Trainer
from sign_ablate.train.schedule import lr_factor
from tests.conftest import EVERY_METHOD, TINY

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    path = tmp_path_factory.mktemp("data") / "synthetic"
    prepare(expand(parse_campaign(TINY))[0].config.data, path)
    return read(path)


def cells(config: dict[str, Any]) -> dict[str, Run]:
    return {run.cell.label: run for run in expand(parse_campaign(config)) if run.config.seed == 0}


LABELS = [
    "sgd",
    "adam",
    "signsgd",
    "signsgd-m",
    "pre-dither alpha=0.1",
    "post-dither",
    "hybrid",
    "dithered-hybrid",
    "naive-switch",
]


@pytest.mark.parametrize("label", LABELS)
def test_same_run_twice_is_bitwise_equal(label: str, tiny: dict[str, Any], data: PreparedData) -> None:
    run = cells(tiny)[label].config
    first, second = (Trainer(run, data, CPU).fit().metrics for _ in range(2))
    assert first == second
    assert len(first) == 3


@pytest.mark.slow
def test_every_method_learns(tiny: dict[str, Any], data: PreparedData) -> None:
    tiny["train"]["epochs"] = 20
    for label, run in cells(tiny).items():
        metrics = Trainer(run.config, data, CPU).fit().metrics
        assert metrics[-1]["train_loss"] < 0.85 * metrics[0]["train_loss"], label


def test_methods_of_one_seed_start_equal_and_see_equal_batches(
    tiny: dict[str, Any], data: PreparedData
) -> None:
    trainers = [Trainer(run.config, data, CPU) for run in cells(tiny).values()]
    for other in trainers[1:]:
        for a, b in zip(trainers[0].network.parameters(), other.network.parameters(), strict=True):
            assert torch.equal(a, b)
        for (x, _), (z, _) in zip(trainers[0].loader.epoch(0, 1), other.loader.epoch(0, 1), strict=True):
            assert torch.equal(x, z)


def test_seeds_differ(tiny: dict[str, Any], data: PreparedData) -> None:
    runs = [run for run in expand(parse_campaign(tiny)) if run.cell.label == "sgd"]
    first, second = (Trainer(run.config, data, CPU).fit().metrics[-1]["train_loss"] for run in runs)
    assert first != second


def test_columns_follow_the_method(tiny: dict[str, Any], data: PreparedData) -> None:
    rows = {label: Trainer(run.config, data, CPU).fit().metrics for label, run in cells(tiny).items()}
    assert "sigma" not in rows["sgd"][0]
    assert rows["pre-dither alpha=0.1"][0]["sigma"] == pytest.approx(math.sqrt(0.1 * 3**-0.55))
    assert 0 < rows["pre-dither alpha=0.1"][0]["flip_fraction"] < 1
    assert [row["phase"] for row in rows["hybrid"]] == ["sign", "sgd", "sgd"]
    assert rows["hybrid"][0]["lambda_k"] > 0
    # λ̄ is frozen after the switch
    assert rows["hybrid"][0]["lambda_bar"] == rows["hybrid"][2]["lambda_bar"] > 0
    assert "lambda_bar" not in rows["naive-switch"][0]


@pytest.mark.parametrize("method", ["hybrid", "swats"])
def test_lambda_bar_is_of_the_same_step_as_lr(method: str, tiny: dict[str, Any], data: PreparedData) -> None:
    """After the switch λ̄ is r̄ times the rate of the step, so the two fall together."""
    tiny["train"]["schedule"] = "cosine"
    options = (
        {"optimizer": "swats", "lr": 0.003, "tol": 1.0e3} if method == "swats" else tiny["methods"]["hybrid"]
    )
    tiny["methods"], tiny["figures"] = {method: options}, {}
    rows = Trainer(cells(tiny)[method].config, data, CPU).fit().metrics
    ratios = [row["lambda_bar"] / row["lr"] for row in rows if row["phase"] == "sgd"]
    assert len(ratios) > 1
    assert ratios == pytest.approx([ratios[0]] * len(ratios), rel=1e-6)
    assert ratios[0] > 0


CALIBRATED = {"hybrid", "dithered-hybrid", "hybrid-auto", "hybrid-plateau", "hybrid-sign", "hybrid-kept"}
DITHERED = {"pre-dither", "post-dither", "pre-dither-rms", "dithered-hybrid"}
#: column → methods that have a value in it
COLUMNS = {
    "lambda_k": CALIBRATED,
    "lambda_skipped": CALIBRATED,
    "lambda_bar": {*CALIBRATED, "swats"},
    "gamma_k": {"swats"},
    "phase": {*CALIBRATED, "naive-switch", "swats", "onebit-adam"},
    "flip_fraction": DITHERED,
    "sigma": {*DITHERED, "twin", "twin-noise", "sgd-noise"},  # σ_k of eq. (9) in all of them
}


@pytest.mark.slow
def test_a_column_means_one_thing(tiny: dict[str, Any], data: PreparedData) -> None:
    """Checked for every registered optimizer. SWATS's γ_k is not the paper's λ_k."""
    tiny["methods"] = EVERY_METHOD
    found: dict[str, set[str]] = {name: set() for name in COLUMNS}
    for run in cells(tiny).values():
        for row in Trainer(run.config, data, CPU).fit().metrics:
            for name in COLUMNS:
                if row.get(name) is not None:
                    found[name].add(run.cell.method)
    assert found == COLUMNS


def test_a_diagnostic_without_a_column_stops_the_run_at_its_first_epoch(
    tiny: dict[str, Any], data: PreparedData
) -> None:
    trainer = Trainer(cells(tiny)["sgd"].config, data, CPU)
    trainer.optimizer.diagnostics = lambda: {"sharpness": 1.0}  # type: ignore[attr-defined]
    with pytest.raises(JobError) as caught:
        trainer.fit()
    assert str(caught.value) == (
        "diagnostics of SGD: metrics.parquet has no column for sharpness; "
        "add it to METRICS_SCHEMA (sign_ablate/store/run_files.py)"
    )
    assert trainer.step == 3


def test_a_table_refuses_a_value_without_a_column(tmp_path: Path) -> None:
    path = tmp_path / "metrics.parquet"
    with pytest.raises(ValueError, match=r"^no column for a, b: add it to the table's schema$"):
        write_table(path, [{"epoch": 1}, {"epoch": 2, "b": 1, "a": 2}], METRICS_SCHEMA)
    assert not path.exists()


def test_steps_end_a_run_inside_an_epoch(tiny: dict[str, Any], data: PreparedData) -> None:
    tiny["train"] = {"model": "small", "steps": 7, "batch_size": 32}  # 3 steps an epoch
    tiny["methods"] = {"sgd": {"optimizer": "sgd", "lr": 0.05}}
    tiny["figures"] = {}
    metrics = Trainer(cells(tiny)["sgd"].config, data, CPU).fit().metrics
    assert [row["step"] for row in metrics] == [3, 6, 7]


def test_divergence_is_a_result_with_its_step(tiny: dict[str, Any], data: PreparedData) -> None:
    tiny["methods"] = {"sgd": {"optimizer": "sgd", "lr": 1.0e30}}
    tiny["figures"] = {}
    result = Trainer(cells(tiny)["sgd"].config, data, CPU).fit()
    assert result.status == "diverged"
    assert result.diverged_at_step in {1, 2, 3}
    assert all(math.isfinite(row["train_loss"]) for row in result.metrics)


def test_gradient_that_is_not_finite_is_found_where_the_loss_is(
    tiny: dict[str, Any], data: PreparedData
) -> None:
    """`torch.sign(nan)` is 0, so a sign method would hide the divergence."""
    trainer = Trainer(cells(tiny)["signsgd-m"].config, data, CPU)
    parameter = next(trainer.network.parameters())
    calls = iter(range(100))
    parameter.register_hook(lambda grad: grad * math.nan if next(calls) == 4 else grad)
    result = trainer.fit()
    assert (result.status, result.diverged_at_step) == ("diverged", 4)
    assert len(result.metrics) == 1  # the epoch before


def test_precision_changes_the_numbers(tiny: dict[str, Any], data: PreparedData) -> None:
    exact = Trainer(cells(tiny)["sgd"].config, data, CPU).fit().metrics[-1]["train_loss"]
    tiny["train"]["precision"] = "bfloat16"
    rounded = Trainer(cells(tiny)["sgd"].config, data, CPU).fit().metrics[-1]["train_loss"]
    assert rounded != exact
    assert rounded == pytest.approx(exact, rel=0.1)


def on_meta(label: str, tiny: dict[str, Any], data: PreparedData) -> Trainer:
    tiny["train"] |= {"crop_padding": 1, "flip": True}
    tiny["methods"] = EVERY_METHOD
    return Trainer(cells(tiny)[label].config, data, torch.device("meta"))


EVERY_LABEL = [
    run.cell.label for run in expand(parse_campaign({**TINY, "seeds": [0], "methods": EVERY_METHOD}))
]


@pytest.mark.slow
@pytest.mark.parametrize("label", EVERY_LABEL)
def test_epoch_runs_on_the_meta_device(label: str, tiny: dict[str, Any], data: PreparedData) -> None:
    """`.item()` and stray CPU tensors raise on the meta device, so an epoch needs no host synchronisation."""
    trainer = on_meta(label, tiny, data)
    trainer.train_epoch()
    trainer.train_epoch()  # after the switch
    assert trainer.images == 2 * 96
    assert [s.shape for s in trainer.sums] == [(4,)] * 6


@pytest.mark.parametrize(
    "planted",
    [
        lambda p: p.grad.norm().item(),
        lambda p: float(p.grad.sum()),
        lambda p: bool((p.grad == 0).any()),
        lambda p: p.grad[p.grad > 0],
        lambda p: p.grad.cpu().numpy(),
        lambda p: p.grad + torch.ones(len(p)).view(-1, *[1] * (p.dim() - 1)),
    ],
    ids=["item", "float", "bool", "mask", "numpy", "stray CPU tensor"],
)
def test_meta_device_finds_a_planted_synchronisation(
    planted: Any, tiny: dict[str, Any], data: PreparedData
) -> None:
    trainer = on_meta("signsgd-m", tiny, data)
    parameter = next(trainer.network.parameters())
    trainer.optimizer.register_step_pre_hook(lambda *_: planted(parameter) and None)
    with pytest.raises((RuntimeError, NotImplementedError), match=r"meta|Meta"):
        trainer.train_epoch()


def test_launches_of_a_step_beside_network_and_optimizer(
    tiny: dict[str, Any], data: PreparedData, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Batch, norms, sums, schedule and zeroing: 13, and not one for each of the 11 parameters.

    tests/optim/test_launches.py counts the optimizers'.
    """
    tiny["train"]["model"] = "small"
    trainer = on_meta("hybrid-plateau", tiny, data)
    launches = Launches()
    backward, loss = trainer._backward, trainer.loss
    monkeypatch.setattr(trainer.optimizer, "diagnostics", dict)  # once an epoch
    begin: list[int] = []

    def marked(*args: Any) -> Any:
        begin.append(len(launches.names))
        return loss(*args)

    def uncounted(*args: Any) -> Any:
        out = backward(*args)
        del launches.names[begin[-1] :]
        return out

    monkeypatch.setattr(trainer, "loss", marked)
    monkeypatch.setattr(trainer, "_backward", uncounted)
    trainer.optimizer.register_step_pre_hook(lambda *_: begin.append(len(launches.names)))
    trainer.optimizer.register_step_post_hook(lambda *_: launches.names.__delitem__(slice(begin[-1], None)))
    found = []

    def each_step() -> None:
        found.append(launches.names[:])
        launches.names.clear()

    with launches:
        trainer.train_epoch(each_step)
    each_step()
    assert len(found) == 4
    assert "aten::_foreach_norm" in found[-1]
    assert max(map(len, found)) <= 20, found


@pytest.mark.parametrize("model", ["resnet18", "resnet18-imagenet"])
def test_resnet_trains_a_step(model: str, tiny: dict[str, Any], data: PreparedData) -> None:
    tiny["train"] = {"model": model, "steps": 1, "batch_size": 8}
    tiny["methods"] = {"sgd": {"optimizer": "sgd", "lr": 0.05}}
    tiny["figures"] = {}
    trainer = Trainer(cells(tiny)["sgd"].config, data, CPU)
    if model == "resnet18":
        total = sum(p.numel() for p in trainer.network.parameters())
        assert total == 11_173_962 - 6 * 513  # 4 classes here, not 10
    assert math.isfinite(trainer.fit().metrics[0]["train_loss"])


def test_gradients_of_the_small_network_stay_in_channels_last() -> None:
    """In another layout, the next ReLU's gradient takes ten times as long."""
    network = models.build("small", 3, 10, seed=0).to(memory_format=torch.channels_last)
    layouts: list[bool] = []

    def look(_: object, __: object, output: torch.Tensor) -> None:
        if output.dim() == 4:
            output.register_hook(lambda g: layouts.append(g.is_contiguous(memory_format=torch.channels_last)))

    for module in network:  # type: ignore[attr-defined]
        if not isinstance(module, torch.nn.BatchNorm2d):  # the ReLU behind it works in place
            module.register_forward_hook(look)
    network(torch.randn(4, 3, 32, 32).to(memory_format=torch.channels_last)).sum().backward()
    assert layouts == [True] * 7


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("label", LABELS)
def test_epoch_runs_on_a_gpu(label: str, tiny: dict[str, Any], data: PreparedData) -> None:
    run = cells(tiny)[label].config
    here = Trainer(run, data, CPU).fit().metrics[0]["train_loss"]
    there = Trainer(run, data, torch.device("cuda")).fit().metrics[0]["train_loss"]
    assert there == pytest.approx(here, rel=0.05)


def factors(**train: Any) -> list[float]:
    factor = lr_factor(Train.model_validate({"epochs": 4, **train}), steps_per_epoch=2, total_steps=8)
    return [round(factor(step), 6) for step in range(8)]


def test_schedules_by_hand() -> None:
    assert factors() == [1.0] * 8
    assert factors(schedule="multistep", milestones=[1, 3], lr_decay=0.5) == [
        1,
        1,
        0.5,
        0.5,
        0.5,
        0.5,
        0.25,
        0.25,
    ]
    assert factors(warmup_epochs=2) == [0.25, 0.5, 0.75, 1, 1, 1, 1, 1]
    assert factors(schedule="cosine") == [round(0.5 * (1 + math.cos(math.pi * k / 8)), 6) for k in range(8)]
    assert factors(schedule="cosine", warmup_epochs=1)[:3] == [0.5, 1, 1]


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_milestones_multiply_every_schedule(schedule: str) -> None:
    base = factors(schedule=schedule, warmup_epochs=1)
    dropped = factors(schedule=schedule, warmup_epochs=1, milestones=[2, 3], lr_decay=0.5)
    drops = [1, 1, 1, 1, 0.5, 0.5, 0.25, 0.25]
    assert dropped == pytest.approx([a * b for a, b in zip(base, drops, strict=True)], abs=1e-6)


def test_constant_with_milestones_is_multistep() -> None:
    drops = {"milestones": [1, 3], "lr_decay": 0.3}
    assert factors(schedule="constant", **drops) == factors(schedule="multistep", **drops)
