"""`sign-ablate status`: finished runs, progress of the running ones, failures, and the remaining time."""

import contextlib
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from sign_ablate.campaign.grid import Run, expand, left_out
from sign_ablate.config.campaign import Campaign
from sign_ablate.jobs.campaign_lock import is_held
from sign_ablate.jobs.progress import accuracy
from sign_ablate.store import fingerprint, reading
from sign_ablate.store.layout import campaign_folder, choose_log, runs_folder
from sign_ablate.store.record import DamagedError
from sign_ablate.terminal import failures
from sign_ablate.terminal.failures import Failure, block
from sign_ablate.terminal.running import Running
from sign_ablate.terminal.snapshot import Snapshot, take
from sign_ablate.terminal.states import Outcome, by_cell, cell_name, columns, counted
from sign_ablate.tuning.choice import missing
from sign_ablate.tuning.search import pending, runs_of_stage

#: maximum numbers of rows in the parts that could fill the screen
RUNNING_SHOWN = 8
NEWEST_SHOWN = 5
DAMAGED_SHOWN = 5
STOPPED_SHOWN = 5
#: start of the log of a choice that was made (`sign-ablate choose`)
CHOSEN = "choices: "


def status(campaign: Campaign, results: Path) -> str:
    """Format the status of a campaign: its cells, runs in progress, newest results, failures, and a total."""
    runs = runs_of_stage(campaign)
    return "\n".join(_lines(campaign, runs, results, take(campaign, runs, results)))


def watch(campaign: Campaign, results: Path, seconds: float) -> None:
    """Print the status every `seconds` until all runs are done or Ctrl-C. A terminal is updated in place."""
    with contextlib.suppress(KeyboardInterrupt):
        if not sys.stdout.isatty() or os.environ.get("TERM") == "dumb":
            for lines in _looks(campaign, results, seconds):
                print("\n".join(lines), end="\n\n", flush=True)
            return
        from rich.console import Console
        from rich.live import Live
        from rich.text import Text

        console = Console(force_terminal=True)
        with Live(console=console, auto_refresh=False) as live:
            for lines in _looks(campaign, results, seconds):
                text = "\n".join(_fitted(lines, console.height - 1))
                live.update(Text(text, no_wrap=True, overflow="crop"), refresh=True)


def _looks(campaign: Campaign, results: Path, seconds: float) -> Iterator[list[str]]:
    runs = runs_of_stage(campaign)
    while True:
        snapshot = take(campaign, runs, results)
        yield _lines(campaign, runs, results, snapshot)
        if snapshot.over:
            return
        time.sleep(seconds)


def _fitted(lines: list[str], height: int) -> list[str]:
    """Cut the lines to `height`: the first line (column titles) and the last lines are kept."""
    if len(lines) <= height:
        return lines
    return [lines[0], "⋮", *lines[-max(1, height - 2) :]]


def _lines(campaign: Campaign, runs: list[Run], results: Path, snapshot: Snapshot) -> list[str]:
    """Lines of the status. The most important come last, where they stay visible on a short screen."""
    title = f"{campaign.campaign}  {time.strftime('%H:%M:%S', time.localtime(snapshot.now))}"
    blocks = [
        _cells(title, runs, snapshot.states),
        _running(snapshot.running),
        _newest(snapshot.ended, runs_folder(results), snapshot.now),
        _damaged(snapshot.damaged),
        _stopped(snapshot.stopped),
        _other_code(snapshot.ended),
        [*_total(snapshot), *_evaluation(campaign, results, snapshot)],
    ]
    return "\n\n".join("\n".join(block) for block in blocks if block).split("\n")


def _cells(title: str, runs: list[Run], states: dict[str, str]) -> list[str]:
    seldom = [name for name in ("damaged", "failed", "interrupted", "queued") if name in states.values()]
    rows: list[tuple[str, ...]] = [(title, "done", "diverged", *seldom, "running", "missing")]
    for name, members in by_cell(runs).items():
        count = Counter(states[run.id] for run in members)
        rows.append((name, *(str(count[key] or "·") for key in rows[0][1:])))
    total = Counter(states.values())
    rows.append((f"{len(runs)} runs", *(str(total[key]) for key in rows[0][1:])))
    return columns(rows)


def _running(running: list[Running]) -> list[str]:
    rows: list[tuple[str, ...]] = [("in progress", "epoch", "test", "left", "show")]
    for r in running[:RUNNING_SHOWN]:
        epoch = "·" if r.epoch is None else f"{r.epoch}/{r.epochs}"
        left = "?" if r.left is None else duration(r.left)
        test = "·" if r.test_acc is None else f"{r.test_acc:.2%}"
        rows.append((_name(r.run), epoch, test, left, _hash(r.run)))
    more = [f"and {len(running) - RUNNING_SHOWN} more"] if len(running) > RUNNING_SHOWN else []
    return [*columns(rows), *more] if running else []


def _newest(ended: list[tuple[Run, Outcome]], folder: Path, now: float) -> list[str]:
    rows: list[tuple[str, ...]] = [("newest results", "test", "ago", "show")]
    for run, found in ended[:NEWEST_SHOWN]:
        result = f"diverged at step {found.diverged_at_step}"
        if found.state == "done":
            result = _accuracy(folder / run.id)
        rows.append((_name(run), result, duration(max(0.0, now - found.ended)), _hash(run)))
    return columns(rows) if ended else []


def _damaged(problems: list[str]) -> list[str]:
    more = [f"and {len(problems) - DAMAGED_SHOWN} more"] if len(problems) > DAMAGED_SHOWN else []
    return [*problems[:DAMAGED_SHOWN], *more]


def _stopped(stopped: list[tuple[Run, Failure]]) -> list[str]:
    lines = [line for run, failure in stopped[:STOPPED_SHOWN] for line in block(run.id, failure).split("\n")]
    more = [f"and {len(stopped) - STOPPED_SHOWN} more"] if len(stopped) > STOPPED_SHOWN else []
    return [*lines, *more]


def _other_code(ended: list[tuple[Run, Outcome]]) -> list[str]:
    other = sum(found.code != fingerprint.of_training() for _, found in ended)
    if not other:
        return []
    were = "run was" if other == 1 else "runs were"
    return [
        f"{other} {were} made by a different version of the code. To train again: "
        "snakemake --forcerun $(sign-ablate outdated)"
    ]


def _total(snapshot: Snapshot) -> list[str]:
    runs, done = len(snapshot.states), len(snapshot.ended)
    diverged = sum(found.state == "diverged" for _, found in snapshot.ended)
    text = f"{done} of {runs} runs done ({100 * done // max(runs, 1)}%)"
    lines = [f"{text}, {diverged} of them diverged." if diverged else f"{text}."]
    unknown = snapshot.without_estimate
    if snapshot.left or not (unknown or snapshot.over):
        until = time.strftime("%a %H:%M", time.localtime(snapshot.now + snapshot.left))
        about = "At least" if unknown else "About"
        lines.append(f"{about} {duration(snapshot.left)} left, {snapshot.at_once} at a time: until {until}.")
    if unknown:
        lines.append(f"Runs without an estimate: {unknown}. None like them has been measured.")
    if not snapshot.over and not snapshot.running:
        lines.append("None is in progress.")
    return lines


def _evaluation(campaign: Campaign, results: Path, snapshot: Snapshot) -> list[str]:
    """Lines on the evaluation of a campaign that tunes: what it waits for, and the cells left out."""
    lines = [omitted] if (omitted := left_out(campaign)) else []
    if not pending(campaign):
        return lines
    runs = len(expand(campaign, placeholders=True))
    lines.append(f"{counted(runs, 'run')} of the evaluation wait for `tuning`: {missing(campaign, results)}.")
    if snapshot.over and not is_held(campaign_folder(results, campaign.campaign)):
        log = choose_log(results, campaign.campaign)
        since = max((found.ended for _, found in snapshot.ended), default=0.0)
        if log.exists() and log.stat().st_mtime >= since and not failures.last_line(log).startswith(CHOSEN):
            lines += block("choice", failures.of_job("choose", [], [str(log)], since)).split("\n")
        lines.append("All trials are done: snakemake tune makes the choice.")
    return lines


def _name(run: Run) -> str:
    return f"{cell_name(run)}  {run.which}"


def _hash(run: Run) -> str:
    """Hash at the end of the run's id, which `sign-ablate show` accepts as a name."""
    return run.id.rsplit(".", 1)[1]


def _accuracy(folder: Path) -> str:
    try:
        row = reading.last_row(reading.metrics(folder))
        return f"{row['test_acc']:.2%}" if row["test_acc"] is not None else accuracy(row)
    except (OSError, DamagedError):
        return "·"  # the run was deleted a moment ago


def duration(seconds: float) -> str:
    """Format seconds with their two largest units: 45 s, 12 min 5 s, 3 h 20 min, 2 d 4 h."""
    left, parts = round(seconds), []
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        count, left = divmod(left, size)
        parts.append((count, unit))
    first = next((i for i, (count, _) in enumerate(parts) if count), len(parts) - 1)
    return " ".join(f"{count} {unit}" for count, unit in parts[first : first + 2] if count or first == 3)
