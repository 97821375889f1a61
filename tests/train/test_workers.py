"""Virtual workers: equality with real ranks, resume, adversaries, unequal shares, checks of the keys."""

import io
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch.nn.functional import cross_entropy
from torch.nn.parallel import DistributedDataParallel

from sign_ablate import models
from sign_ablate.campaign.grid import expand
from sign_ablate.campaign.preflight import size_problems
from sign_ablate.config import ConfigError, parse_campaign
from sign_ablate.config.campaign import RunConfig
from sign_ablate.data.batches import Loader
from sign_ablate.data.prepare import prepare
from sign_ablate.data.prepared import PreparedData, read
from sign_ablate.distributed import register
from sign_ablate.train.loop import Trainer
from sign_ablate.train.workers import rule_of, shard
from tests.conftest import TINY
from tests.distributed.test_hooks import spawn

CPU = torch.device("cpu")
#: keys of `train` beside the number of workers
RULES: dict[str, dict[str, Any]] = {
    "mean": {},
    "vote": {"aggregation": "vote", "worker_momentum": 0.9},
    "dithered": {"aggregation": "vote", "worker_alpha": 1.0, "worker_scale": "rms", "worker_gamma": 0.0},
    "two-phase": {"aggregation": "two-phase-vote"},
    "ef": {"aggregation": "ef"},
    "two-sided": {"aggregation": "two-sided-ef"},
    "qsgd": {"aggregation": "qsgd"},
    "terngrad": {"aggregation": "terngrad"},
    "topk": {"aggregation": "topk"},
    "inverted": {"aggregation": "vote", "adversaries": 0.5},
    "random": {"adversaries": 0.25, "adversary": "random", "workers": 4},
}


def config(**train: Any) -> dict[str, Any]:
    """One run of 2 epochs on 90 images, in batches of 32, 32 and 26."""
    return {
        "campaign": "workers",
        "seeds": [3],
        "datasets": {"synthetic": {"source": "synthetic", "train_images": 90, "test_images": 32}},
        "train": {"model": "small", "epochs": 2, "batch_size": 32, **train},
        "methods": {"sgd": {"optimizer": "sgd", "lr": 0.01, "momentum": 0.0}},
    }


def run_of(**train: Any) -> RunConfig:
    (run,) = expand(parse_campaign(config(**train)))
    return run.config


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "synthetic"
    prepare(run_of().data, path)
    return path


@pytest.fixture(scope="module")
def data(file: Path) -> PreparedData:
    return read(file)


def rank(number: int, workers: int, folder: Path) -> None:
    """Train on this rank's shares of the batches, with DDP and the hook."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=number, world_size=workers)
    data, found, result = read(Path(os.environ["WORKERS_DATA"])), io.BytesIO(), {}
    for name, keys in RULES.items():
        run = run_of(**{"workers": workers, **keys})
        rule = rule_of(run.train)
        if rule is None or run.train.workers != workers:
            continue
        network = models.build("small", data.channels, len(data.classes), seed=run.seed)
        ddp = DistributedDataParallel(network.to(memory_format=torch.channels_last), bucket_cap_mb=0.01)
        bad = run.train.adversary if number >= workers - run.train.adversary_count else None
        register(ddp, rule, seed=run.seed, adversary=bad)
        optimizer = torch.optim.SGD(ddp.parameters(), lr=0.01)
        loader = Loader(data.train_images, data.train_labels, data.mean, data.std, batch_size=32, device=CPU)
        for epoch in (1, 2):
            for batch in loader.epoch(run.seed, epoch):
                x, y = (shard(part, number, workers) for part in batch)
                optimizer.zero_grad()
                cross_entropy(ddp(x), y).backward()
                optimizer.step()
        result[name] = network.state_dict()
    torch.save(result, found)
    (folder / str(number)).write_bytes(pickle.dumps(found.getvalue()))
    dist.destroy_process_group()


@pytest.mark.slow
def test_virtual_workers_give_the_bits_of_real_ranks(
    file: Path, data: PreparedData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parameters on all ranks, and the running statistics of rank 0."""
    workers = 4
    monkeypatch.setenv("WORKERS_DATA", str(file))
    ranks = [torch.load(io.BytesIO(found)) for found in spawn(rank, workers, tmp_path)]
    assert len(ranks[0]) >= 10
    for name in ranks[0]:
        trainer = Trainer(run_of(**{"workers": workers, **RULES[name]}), data, CPU)
        trainer.fit()
        for key, value in trainer.network.state_dict().items():
            assert torch.equal(value, ranks[0][name][key]), (name, key)
        for key, value in trainer.network.named_parameters():
            assert all(torch.equal(value, found[name][key]) for found in ranks), (name, key)


@pytest.mark.slow
@pytest.mark.parametrize("name", RULES)
def test_a_run_resumes_in_the_middle_of_an_epoch_to_the_same_bits(name: str, data: PreparedData) -> None:
    run = run_of(**{"workers": 3, **RULES[name]})
    whole = Trainer(run, data, CPU)
    whole.fit()

    def stop() -> None:
        if first.step == 4:
            raise InterruptedError

    first = Trainer(run, data, CPU)
    with pytest.raises(InterruptedError):
        first.fit(before_step=stop)
    saved = io.BytesIO()
    torch.save(first.state_dict(), saved)
    saved.seek(0)
    second = Trainer(run, data, CPU)
    second.load_state_dict(torch.load(saved, weights_only=True))
    second.fit()
    assert second.result.metrics == whole.result.metrics


def trained(data: PreparedData, **train: Any) -> list[torch.Tensor]:
    trainer = Trainer(run_of(**train), data, CPU)
    trainer.fit()
    return [p.detach() for p in trainer.network.parameters()]


@pytest.mark.parametrize(
    "change",
    [{"workers": 4}, {"aggregation": "mean"}, {"worker_momentum": 0.5}, {"worker_alpha": 1e-4},
     {"worker_alpha": 1.0, "worker_gamma": 0.1}, {"worker_alpha": 1.0, "worker_scale": "rms"},
     {"adversaries": 0.2}, {"adversaries": 0.2, "adversary": "random"}],
    ids=str,
)  # fmt: skip
def test_every_key_changes_the_run(change: dict[str, Any], data: PreparedData) -> None:
    base: dict[str, Any] = {"workers": 5, "aggregation": "vote", "epochs": 1}
    if {"worker_scale", "worker_gamma"} & {*change}:
        base["worker_alpha"] = 1.0
    if "adversary" in change:
        base["adversaries"] = 0.2
    pairs = zip(trained(data, **base), trained(data, **{**base, **change}), strict=True)
    assert not all(torch.equal(a, b) for a, b in pairs)


def test_one_worker_and_the_mean_is_the_run_without_them(data: PreparedData) -> None:
    trainer = Trainer(run_of(workers=1, aggregation="mean"), data, CPU)
    assert trainer.workers is None
    assert expand(parse_campaign(config(workers=1)))[0].id == expand(parse_campaign(config()))[0].id


def test_mean_of_two_workers_is_the_gradient_of_the_batch_without_batch_norm(data: PreparedData) -> None:
    """In evaluation mode batch norm couples no images, and equal shares have the batch's mean gradient."""
    gradients = []
    for workers in (1, 2, 4):
        trainer = Trainer(run_of(workers=workers), data, CPU)
        trainer.network.eval()
        trainer._backward(*next(trainer.loader.epoch(3, 1)))
        gradients.append(trainer._combined_gradients())
    for other in gradients[1:]:
        for a, b in zip(gradients[0], other, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_loss_and_accuracy_are_those_of_all_shares(data: PreparedData) -> None:
    x, y = next(iter(Trainer(run_of(), data, CPU).loader.epoch(3, 1)))
    found = []
    for workers in (1, 5):
        trainer = Trainer(run_of(workers=workers), data, CPU)
        trainer.network.eval()
        found.append(trainer._backward(x, y))
    torch.testing.assert_close(found[0][0], found[1][0])
    assert found[0][1] == found[1][1]


def test_a_probe_changes_no_number(data: PreparedData) -> None:
    results = [
        Trainer(run_of(workers=3, aggregation="ef", probe=probe), data, CPU).fit() for probe in ([], [0, 1])
    ]
    assert results[0].metrics == results[1].metrics
    assert {row["epoch"] for row in results[1].probes} == {0, 1}


@pytest.mark.parametrize("name", ["mean", "vote", "ef", "two-sided"])
def test_64_workers_in_one_process_with_a_last_batch_of_26(name: str, data: PreparedData) -> None:
    """In the last batch, 38 workers have no image."""
    trainer = Trainer(run_of(**RULES[name], workers=64, batch_size=64, epochs=1), data, CPU)
    assert trainer.fit().status == "finished"


def test_nan_of_one_worker_ends_the_run(data: PreparedData) -> None:
    trainer = Trainer(run_of(workers=4, aggregation="vote"), data, CPU)
    loss, calls = trainer.loss, []

    def broken(x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        calls.append(1)
        value, logits = loss(x, y)
        return (value + logits.sum() * (torch.nan if len(calls) == 7 else 0.0)), logits

    trainer.loss = broken  # type: ignore[method-assign]
    assert trainer.fit().diverged_at_step == 1


BAD = {
    "more workers than images": (
        {"workers": 64},
        "train.workers = 64: more than the images of a batch (batch_size 32)",
    ),
    "no adversary": (
        {"workers": 4, "adversaries": 0.1},
        "train.adversaries = 0.1: rounds to none of 4 workers; give at least 0.125",
    ),
    "adversaries only": (
        {"workers": 4, "adversaries": 0.9},
        "train.adversaries = 0.9: rounds to all of 4 workers; give less than 0.875",
    ),
    "momentum": (
        {"worker_momentum": 0.9},
        "train.worker_momentum = 0.9: has no effect without aggregation: vote or two-phase-vote",
    ),
    "dither": (
        {"aggregation": "ef", "worker_alpha": 0.9},
        "train.worker_alpha = 0.9: has no effect without aggregation: vote or two-phase-vote",
    ),
    "scale": (
        {"aggregation": "vote", "worker_scale": "rms"},
        "train.worker_scale = 'rms': has no effect without worker_alpha",
    ),
    "kind": ({"adversary": "random"}, "train.adversary = 'random': has no effect without adversaries"),
}


@pytest.mark.parametrize("name", BAD)
def test_keys_without_effect_are_refused_in_one_line(name: str) -> None:
    keys, message = BAD[name]
    with pytest.raises(ConfigError) as caught:
        parse_campaign(config(**keys))
    assert str(caught.value) == message


def test_workers_and_aggregation_are_axes() -> None:
    runs = expand(parse_campaign(config(workers=[1, 4], aggregation=["mean", "vote"])))
    assert [run.cell.label for run in runs] == [
        f"sgd workers={w} aggregation={rule}" for w in (1, 4) for rule in ("mean", "vote")
    ]


def test_share_of_one_image_is_refused_where_batch_norm_needs_two() -> None:
    values = config(workers=20, model="resnet18")
    campaign = parse_campaign(values)
    (line,) = size_problems(campaign, expand(campaign))
    assert line.startswith("train.batch_size = 32: leaves a worker's share (workers = 20) of one of the 90")


def test_tiny_campaign_is_as_before() -> None:
    assert all("workers" not in run.spec for run in expand(parse_campaign(TINY)))
