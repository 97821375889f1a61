"""Probes: moments against NumPy and SciPy, λ against its null model, and no effect on the run."""

import itertools
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from scipy import stats
from torch import nn

from sign_ablate.analysis import schemas
from sign_ablate.analysis.aggregate import aggregate
from sign_ablate.campaign.grid import Run, expand
from sign_ablate.config import ConfigError, parse_campaign
from sign_ablate.data.prepare import prepare
from sign_ablate.data.prepared import PreparedData, read
from sign_ablate.jobs import checkpoint, training
from sign_ablate.jobs.run_lock import JobError
from sign_ablate.optim import HybridSignSGD, SignSGD
from sign_ablate.store import reading
from sign_ablate.store.layout import run_folder
from sign_ablate.store.quantities import PROBE_QUANTITIES
from sign_ablate.store.record import DamagedError
from sign_ablate.store.run_files import METRICS, PROBE, RUN
from sign_ablate.train import probe
from sign_ablate.train.loop import Trainer
from tests.conftest import TINY

CPU = torch.device("cpu")
METHODS = ("sgd", "signsgd-m", "pre-dither", "hybrid")
PROBED = {
    **TINY,
    "seeds": [0],
    "train": {**TINY["train"], "crop_padding": 1, "flip": True, "probe": [0, 1, 3]},
    "methods": {name: TINY["methods"][name] for name in METHODS},
    "figures": {},
}


def cells(config: dict[str, Any]) -> dict[str, Run]:
    return {run.cell.label: run for run in expand(parse_campaign(config))}


RUNS = cells(PROBED)
PLAIN = cells({**PROBED, "train": {k: v for k, v in PROBED["train"].items() if k != "probe"}})


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "synthetic"
    prepare(RUNS["sgd"].config.data, path)
    return path


@pytest.fixture(scope="module")
def data(file: Path) -> PreparedData:
    return read(file)


def values(rows: list[dict[str, Any]], epoch: int | None = None) -> dict[str, float]:
    return {row["quantity"]: row["value"] for row in rows if epoch is None or row["epoch"] == epoch}


@pytest.mark.parametrize("scale", [1.0, 1e-14])
def test_moments_against_scipy(scale: float) -> None:
    generator = np.random.default_rng(0)
    gradients = generator.exponential(scale, (64, 500)) - 0.3 * scale
    gradients[:, 7] = 0.0
    moments = probe.Moments([torch.zeros(100), torch.zeros(20, 20)])
    for g in gradients:
        moments.add([torch.tensor(g[:100]), torch.tensor(g[100:].reshape(20, 20))])
    rows = {row["quantity"]: row for row in moments.rows()}
    noisy = np.delete(gradients, 7, axis=1)
    snr = np.abs(noisy.mean(0)) / noisy.std(0, ddof=1)
    skewness = stats.skew(noisy)
    for name, expected in (("snr", snr), ("skewness", skewness)):
        assert rows[name]["value"] == pytest.approx(expected.mean())
        for key, q in (("q05", 5), ("q50", 50), ("q95", 95)):
            assert rows[name][key] == pytest.approx(np.percentile(expected, q, method="nearest"))
    assert rows["snr_low"]["value"] == pytest.approx((snr < 2 / math.sqrt(3)).mean())
    assert rows["noiseless"]["value"] == pytest.approx(1 / 500)
    assert rows["skewed"]["value"] > 0.9


def test_one_minibatch_has_no_noise_to_tell() -> None:
    moments = probe.Moments([torch.zeros(10)])
    moments.add([torch.randn(10)])
    found = values(moments.rows())
    assert found["batches"] == 1
    assert [found[name] for name in ("snr", "snr_low", "skewness", "skewed")] == [None] * 4


def test_two_probes_of_one_step_are_refused(data: PreparedData) -> None:
    config = {**PROBED, "train": {**PROBED["train"], "epochs": 3, "batch_size": 128, "probe": [0, 1]}}
    with pytest.raises(JobError, match=r"train\.probe = \[0, 1\]: epochs 0 and 1 have the same step, 0"):
        Trainer(cells(config)["sgd"].config, data, CPU)


@pytest.mark.parametrize("runs", [PLAIN, RUNS])
def test_seconds_of_an_epoch_are_known_at_every_step(runs: dict[str, Run], data: PreparedData) -> None:
    """A checkpoint may be written there. The noise of a probe is left out."""
    trainer, found = Trainer(runs["sgd"].config, data, CPU), dict[int, tuple[int, float]]()

    def before_step() -> None:
        found[trainer.step] = len(trainer.result.metrics), trainer.state_dict()["epoch"]["seconds"]

    trainer.fit(before_step=before_step)
    assert all(seconds >= 0 for _, seconds in found.values())
    assert all(b > a for (e, a), (f, b) in itertools.pairwise(found.values()) if e == f)


def test_gaussian_noise_is_symmetric_and_without_signal() -> None:
    torch.manual_seed(0)
    moments = probe.Moments([torch.zeros(20_000)])
    for _ in range(64):
        moments.add([torch.randn(20_000)])
    found = values(moments.rows())
    assert found["skewed"] == pytest.approx(0.05, abs=0.01)
    assert found["snr"] == pytest.approx(0.8 / 8, rel=0.03)
    assert found["snr_low"] == 1.0


@pytest.mark.parametrize("steps", [1, 3, 60])
@pytest.mark.parametrize("beta", [0.0, 0.9])
@pytest.mark.parametrize("decades", [0, 1])
def test_lambda_of_pure_noise_is_its_null_model(decades: int, beta: float, steps: int) -> None:
    """Also of noise whose coordinates differ in size: with one size for all, the model is 16 % too large."""
    torch.manual_seed(0)
    sizes = torch.logspace(-decades / 2, decades / 2, 1000)
    network = nn.Linear(1000, 100, bias=False)
    optimizer = SignSGD(network.parameters(), lr=1e-3, beta=beta)
    trainer: Any = SimpleNamespace(network=network, optimizer=optimizer, lr=1e-3, step=steps)
    for _ in range(steps):
        before = [p.detach().clone() for p in network.parameters()]
        network.weight.grad = torch.randn_like(network.weight) * sizes
        optimizer.step()
    found = values(probe.step_rows(trainer, before, before))
    # without a past, sign(m) is sign(g)
    exact = steps == 1 or beta == 0
    assert found["lambda"] / found["lambda_null"] == pytest.approx(1, abs=1e-4 if exact else 0.03)
    if steps == 60 and not decades:
        assert found["cos_gradient"] == pytest.approx(math.sqrt(2 / math.pi * (1 - beta**2)), abs=0.01)


def test_lambda_is_the_optimizers_own() -> None:
    torch.manual_seed(0)
    network = nn.Linear(30, 20)
    optimizer = HybridSignSGD(network.parameters(), lr=1e-3, switch_step=None)
    trainer: Any = SimpleNamespace(network=network, optimizer=optimizer, lr=1e-3, step=3)
    for _ in range(3):
        before = [p.detach().clone() for p in network.parameters()]
        for p in network.parameters():
            p.grad = torch.randn_like(p)
        optimizer.step()
    found = values(probe.step_rows(trainer, before, before))
    assert found["lambda"] == pytest.approx(float(optimizer.diagnostics()["lambda_k"]), rel=1e-4)


@pytest.mark.parametrize("label", RUNS)
def test_a_probe_changes_no_number_of_a_run(label: str, data: PreparedData) -> None:
    probed, plain = (Trainer(runs[label].config, data, CPU) for runs in (RUNS, PLAIN))
    first, second = probed.fit(), plain.fit()
    assert first.metrics == second.metrics
    for name, value in plain.network.state_dict().items():  # with the running statistics
        assert torch.equal(probed.network.state_dict()[name], value), name
    assert second.probes == []
    assert [row["quantity"] for row in first.probes] == list(PROBE_QUANTITIES) * 3
    assert {(row["epoch"], row["step"]) for row in first.probes} == {(0, 0), (1, 2), (3, 8)}


def test_quantities_follow_the_method(data: PreparedData) -> None:
    rows = {label: Trainer(run.config, data, CPU).fit() for label, run in RUNS.items()}
    missing = {
        label: {name for name, value in values(result.probes, 3).items() if value is None}
        for label, result in rows.items()
    }
    dithered = {"momentum_over_sigma", "flip_fraction"}
    assert missing == {
        "sgd": {"lambda_null", *dithered},
        "signsgd-m": dithered,
        "pre-dither alpha=0.01": set(),
        "pre-dither alpha=0.1": set(),
        "hybrid": {"lambda_null", *dithered},  # in its SGD phase
    }
    last = rows["pre-dither alpha=0.1"]
    found, metrics = values(last.probes, 3), last.metrics[-1]
    assert found["flip_fraction"] == metrics["flip_fraction"]
    assert found["momentum_over_sigma"] == metrics["momentum_rms"] / metrics["sigma"]
    assert found["batches"] == 3
    # without a past, a step of SGD is along its gradient, and a step of sign is not
    first = values(rows["sgd"].probes, 0)
    assert first["cos_gradient"] == pytest.approx(1, abs=1e-4)
    assert first["lambda"] == pytest.approx(0.05, rel=1e-3)
    assert 0.2 < first["cos_mean"] < 1
    assert 0.2 < values(rows["signsgd-m"].probes, 0)["cos_gradient"] < 0.95


@pytest.mark.slow
def test_interrupted_before_and_within_a_probe(data: PreparedData, tmp_path: Path) -> None:
    run = RUNS["hybrid"]
    expected = Trainer(run.config, data, CPU).fit()
    calls = 9 + 3 * 3  # before each step, and before each minibatch of three probes
    for cut in range(calls):
        trainer, count = Trainer(run.config, data, CPU), iter(range(calls))

        def before_step(trainer: Trainer = trainer, count: Any = count, cut: int = cut) -> None:
            if next(count) == cut:
                checkpoint.save(tmp_path / "c", run.spec, trainer.state_dict())
                raise InterruptedError

        with pytest.raises(InterruptedError):
            trainer.fit(before_step=before_step)
        resumed = Trainer(run.config, data, CPU)
        state = checkpoint.load(tmp_path / "c", run.spec, CPU)
        assert state is not None
        resumed.load_state_dict(state)
        result = resumed.fit()
        assert (result.metrics, result.probes) == (expected.metrics, expected.probes), cut


@pytest.mark.parametrize(
    ("train", "steps"),
    [
        ({"batch_size": 32, "epochs": 2}, {0: 0, 2: 1, 5: 2}),
        ({"batch_size": 40, "epochs": 2}, {0: 0, 1: 1, 4: 2}),  # batches of 40, 40 and 16
        ({"batch_size": 40, "steps": 5}, {0: 0, 1: 1, 4: 2}),
        ({"batch_size": 200, "epochs": 3, "probe": [1, 2, 3]}, {0: 1, 1: 2, 2: 3}),  # there is no full one
    ],
)
def test_the_step_of_a_probe_has_a_full_batch(
    train: dict[str, Any], steps: dict[int, int], data: PreparedData
) -> None:
    run = cells({**PROBED, "train": {"model": "small", "probe": [0, 1, 2], **train}})["sgd"]
    assert Trainer(run.config, data, CPU).probes == steps


def test_probes_outside_the_run_are_refused(data: PreparedData) -> None:
    for epochs, reason in (
        ([2, 1], r"probe = \[2, 1\]: must rise"),
        ([1, 4], r"probe = \[1, 4\]: 4 lies after the end"),
    ):
        with pytest.raises(ConfigError, match=reason):
            expand(parse_campaign({**PROBED, "train": {**PROBED["train"], "probe": epochs}}))
    run = cells({**PROBED, "train": {"model": "small", "steps": 7, "batch_size": 32, "probe": [1, 4]}})["sgd"]
    with pytest.raises(JobError, match=r"train.probe = \[1, 4\]: the run ends in epoch 3; remove 4"):
        Trainer(run.config, data, CPU)


def test_probes_in_files_and_tables(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sign_ablate.analysis.collect._UNSETTLED_SECONDS", -60.0)
    campaign = parse_campaign({**PROBED, "methods": {"signsgd-m": PROBED["methods"]["signsgd-m"]}})
    (run,) = expand(campaign)
    folder = run_folder(tmp_path, run.id)
    training.train(run.spec, file, folder, device="cpu")
    table = reading.probe(folder)
    assert table is not None
    assert table.num_rows == 3 * len(PROBE_QUANTITIES)
    for _ in range(2):  # the second time from the cache
        aggregate(campaign, tmp_path, tmp_path / "out")
        rows = pq.read_table(tmp_path / "out" / schemas.PROBES).to_pylist()
        assert [{name: row[name] for name in table.schema.names} for row in rows] == table.to_pylist()
        assert {(row["run"], row["label"], row["seed"]) for row in rows} == {(run.id, "signsgd-m", 0)}

    again = tmp_path / "again"
    training.train(run.spec, file, again, device="cpu")
    for name in (METRICS, RUN, PROBE):
        assert (again / name).read_bytes() == (folder / name).read_bytes()
    (folder / PROBE).write_bytes(b"")
    with pytest.raises(DamagedError, match=r"probe.parquet: damaged .it is empty"):
        reading.metrics(folder)
    (folder / PROBE).unlink()
    with pytest.raises(DamagedError, match=r"probe.parquet: damaged .it is missing"):
        reading.end(folder)
