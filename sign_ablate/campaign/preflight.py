"""Checks of a campaign's values against its data, its figures and this machine, before any job."""

import math
from collections.abc import Collection, Iterator

from sign_ablate.campaign.grid import Run
from sign_ablate.config.campaign import LEFT_OUT, Campaign, Figure
from sign_ablate.config.errors import unknown
from sign_ablate.config.train import Train
from sign_ablate.data.shape import Shape, count_problems, shape_of
from sign_ablate.jobs import device
from sign_ablate.optim.options.declare import declared
from sign_ablate.optim.registry import METHODS
from sign_ablate.optim.sign_step import native

Runs = Collection[Run]

#: kind of figure → the option that the methods which it compares have, and the name of these methods
_SUBJECT = {
    "dithering": ("site", "dithered method"),
    "switching": ("t_switch", "hybrid"),
    "differences": ("lr", "method"),
    "phase": ("alpha", "dithered method"),
}
#: kind of figure over a training option of the same name → values that make it an axis
_AXES = {"workers": "[1, 4, 16]", "adversaries": "[0.25, 0.4]"}
#: model → size of the smallest image that it accepts, and of the largest that it reduces to one pixel
IMAGE_SIZES = {"small": (3, 6), "resnet18": (1, 8), "resnet18-imagenet": (1, 32)}


def figure_problems(campaign: Campaign, runs: Runs) -> Iterator[str]:
    """Yield a line for each figure that cannot be drawn."""
    switches = {t for run in runs if (t := getattr(run.config.method, "t_switch", None)) is not None}
    for label, figure in campaign.figures.items():
        key = f"figures.{label}"
        if figure.dataset not in campaign.datasets:
            yield unknown(f"{key}.dataset = {figure.dataset!r}", figure.dataset, campaign.datasets)
        if figure.t_switch is not None and figure.kind != "switching":
            yield f"{key}.t_switch = {figure.t_switch}: applies to kind: switching only"
        elif figure.t_switch is not None and figure.t_switch not in switches:
            allowed = ", ".join(map(str, sorted(switches))) or "none: no method switches"
            yield f"{key}.t_switch = {figure.t_switch}: no run switches there (allowed: {allowed})"
        labels = {run.cell.label for run in runs}
        for name, given in (("reference", [figure.reference]), ("cells", figure.cells)):
            for cell in given:
                if cell is not None and cell not in labels:
                    yield unknown(f"{key}.{name} = {cell!r}", cell, labels)
        if all(run.config.method.optimizer in LEFT_OUT[figure.kind] for run in runs):
            yield f"{key}: kind: {figure.kind} has no method to draw; remove the figure or add a method"
        if figure.kind in _AXES and not _has_axis(figure, runs):
            yield (
                f"{key}: kind: {figure.kind} needs a method with several values, such as "
                f"{figure.kind}: {_AXES[figure.kind]}"
            )


def _has_axis(figure: Figure, runs: Runs) -> bool:
    """Return True if the figure shows cells that differ only in the option that its kind is named after."""
    values: dict[object, set[object]] = {}
    for run in runs:
        axes = dict(run.cell.axes)
        if figure.kind in axes and (not figure.cells or run.cell.label in figure.cells):
            value = axes.pop(figure.kind)
            values.setdefault((run.cell.method, *axes.items()), set()).add(value)
    return any(len(found) > 1 for found in values.values())


def is_drawable(figure: Figure, runs: Runs) -> bool:
    """Return True if there is a run to draw, beside those of the reference."""
    labels = {
        run.cell.label
        for run in runs
        if run.cell.dataset == figure.dataset and run.config.method.optimizer not in LEFT_OUT[figure.kind]
    }
    return not labels.isdisjoint(figure.cells or labels) and labels != {figure.reference}


def size_problems(campaign: Campaign, runs: Runs) -> Iterator[str]:
    """Yield a line for each value that does not fit the images, if their number and size are known."""
    for label, spec in campaign.datasets.items():
        yield from (f"datasets.{label}.{problem}" for problem in count_problems(spec))
        if campaign.tuning is not None:
            val, own = campaign.tuning.val, set(count_problems(spec))
            for problem in count_problems(spec.model_copy(update={"val": val})):
                if problem not in own:
                    yield f"tuning.val = {val}: with datasets.{label}, {problem}"
    for run, shape in _shaped(campaign, runs):
        train, data = run.config.train, run.cell.dataset
        if train.crop_padding >= shape.image_size:
            yield (
                f"{_key(campaign, run, 'crop_padding')} = {train.crop_padding}: some crops would show "
                f"nothing of the {shape.image_size}×{shape.image_size} images of {data}; allowed: 0 to "
                f"{shape.image_size - 1}"
            )
        if train.workers > shape.train_images:
            yield (
                f"{_key(campaign, run, 'workers')} = {train.workers}: more than the {shape.train_images} "
                f"training images of {data}"
            )
        smallest, one_pixel = IMAGE_SIZES[train.model]
        if shape.image_size < smallest:
            yield (
                f"{_key(campaign, run, 'model')} = {train.model!r}: takes images of at least "
                f"{smallest}×{smallest}; those of {data} have {shape.image_size}×{shape.image_size}"
            )
        elif shape.image_size <= one_pixel and _has_single_image(run, shape):
            yield (
                f"{_key(campaign, run, 'batch_size')} = {train.batch_size}: leaves a {_batch(train)} of one "
                f"of the {shape.train_images} training images of {data}, and batch norm needs two in "
                f"model: {train.model}; choose another batch size"
            )
        yield from _too_late(campaign, run, shape)


def _too_late(campaign: Campaign, run: Run, shape: Shape) -> Iterator[str]:
    """Yield a line for each value that lies after the end of a run.

    `Train` and `expand` check most of this for runs whose length is given in epochs.
    """
    train, method = run.config.train, run.config.method
    per_epoch, steps = _steps(run, shape)
    t_switch = getattr(method, "t_switch", None)
    epochs = {
        "warmup_epochs": train.warmup_epochs,
        "milestones": max(train.milestones, default=0),
        "t_switch": t_switch or 0,
    }
    ends = f"the run on {run.cell.dataset} has {steps} steps"
    for name, epoch in epochs.items():
        if epoch and epoch * per_epoch >= steps:
            yield (
                f"{_key(campaign, run, name)} = {epoch}: comes after the end; {ends}, "
                f"{per_epoch} in each epoch"
            )
    warmup = getattr(method, "warmup_steps", 0)
    if warmup >= steps:
        yield f"{_key(campaign, run, 'warmup_steps')} = {warmup}: the compression never begins; {ends}"


def warnings(campaign: Campaign, runs: Runs, *, local: bool = True) -> list[str]:
    """Return a line for each value that is likely a mistake.

    Args:
        campaign: the campaign.
        runs: its runs.
        local: True if they run on this machine. Its hardware is then checked, too.
    """
    found = [*_unlikely(campaign, runs)]
    if local:
        found += _slow_here(campaign, runs)
    return list(dict.fromkeys(found))


def _unlikely(campaign: Campaign, runs: Runs) -> Iterator[str]:
    for label, figure in campaign.figures.items():
        key, name = _SUBJECT.get(figure.kind, ("lr", "method"))
        methods = [run.config.method for run in runs]
        if not any(hasattr(m, key) and m.optimizer not in LEFT_OUT[figure.kind] for m in methods):
            yield f"figures.{label}: kind: {figure.kind}, but the campaign has no {name}"
    yield from _equal_shares(campaign, runs)
    for run, shape in _shaped(campaign, runs):
        if run.config.train.batch_size > shape.train_images:
            yield (
                f"{_key(campaign, run, 'batch_size')} = {run.config.train.batch_size}: every step takes all "
                f"{shape.train_images} training images of {run.cell.dataset}"
            )


def _equal_shares(campaign: Campaign, runs: Runs) -> Iterator[str]:
    """Yield a line for each share of adversaries that is as many workers as another share of the axis."""
    found = dict[str, float]()
    for run in runs:
        train = run.config.train
        if not train.adversaries:
            continue
        rounded = {"adversaries": train.adversary_count / train.workers}
        alike = run.config.model_copy(update={"train": train.model_copy(update=rounded)})
        other = found.setdefault(f"{run.cell.method} {alike.model_dump_json()}", train.adversaries)
        if other != train.adversaries:
            yield (
                f"{_key(campaign, run, 'adversaries')}: {other:g} and {train.adversaries:g} are both "
                f"{train.adversary_count} of {train.workers} workers"
            )


def _slow_here(campaign: Campaign, runs: Runs) -> Iterator[str]:
    threads, cores = campaign.execution.threads, device.cores()
    if threads > cores:
        yield (
            f"execution.threads = {threads}: this machine has {cores} cores; more threads than cores are "
            "many times slower"
        )
    on_cpu = device.resolve(campaign.execution.device) == "cpu"
    ranks = max((campaign.execution.ranks(run.config.train.workers) for run in runs), default=1)
    key = f"execution.max_ranks = {campaign.execution.max_ranks}"
    if on_cpu and threads <= cores < threads * ranks:
        yield (
            f"{key}: a run of {ranks} workers starts {ranks} processes ({threads * ranks} threads), and this "
            f"machine has {cores} cores; one process for all is faster (max_ranks: 1)"
        )
    if not on_cpu and ranks > max(1, device.gpu_count()):
        yield (
            f"{key}: a run of {ranks} workers needs {ranks} GPUs and fails here, where there are "
            f"{device.gpu_count()}; set max_ranks: 1, which computes them on one"
        )
    compiled = native.is_obtainable() if on_cpu else native.compiler() is not None
    if any(_has_fused_step(run) for run in runs) and not compiled:
        step = "plain step" if on_cpu else "foreach step unless Triton's driver is built already"
        yield (
            f"no C compiler is found (CC, cc, gcc, clang): sign-based methods take the {step}, which gives "
            "the same numbers more slowly; install gcc"
        )
    if on_cpu and not device.cpu_has_bfloat16():
        for run in runs:
            if run.config.train.precision == "bfloat16":
                yield (
                    f"{_key(campaign, run, 'precision')} = 'bfloat16': emulated on this CPU, and much slower "
                    "than float32"
                )


def _has_fused_step(run: Run) -> bool:
    method = METHODS[run.config.method.optimizer]
    return any("fused" in declared(options) for options in method.declarations())


def _shaped(campaign: Campaign, runs: Runs) -> Iterator[tuple[Run, Shape]]:
    """Runs of the first seed with the shape of their images.

    Runs whose images are not known, or all of which `val` holds out, are left out.
    """
    shapes = {label: shape_of(spec) for label, spec in campaign.datasets.items()}
    for run in runs:
        shape = shapes[run.cell.dataset]
        if shape is not None and shape.train_images > 0 and run.config.seed == campaign.seeds[0]:
            yield run, shape


def _steps(run: Run, shape: Shape) -> tuple[int, int]:
    """Numbers of steps in an epoch and in the run."""
    train = run.config.train
    per_epoch = math.ceil(shape.train_images / train.batch_size)
    return per_epoch, train.steps or (train.epochs or 0) * per_epoch


def _has_single_image(run: Run, shape: Shape) -> bool:
    """Return True if a worker has one image in a batch of the run: the last one of an epoch, or every one."""
    per_epoch, steps = _steps(run, shape)
    size, workers = run.config.train.batch_size, run.config.train.workers
    last = shape.train_images % size if steps >= per_epoch else 0
    return size < 2 * workers or 0 < last < 2 * workers


def _batch(train: Train) -> str:
    return "batch" if train.workers == 1 else f"worker's share (workers = {train.workers})"


def _key(campaign: Campaign, run: Run, name: str) -> str:
    """Key of a value in the configuration: that of the method if the method sets it, else that of `train`."""
    own = name in campaign.methods[run.cell.method]
    return f"methods.{run.cell.method}.{name}" if own else f"train.{name}"
