"""Process of a rank above 0, which rank 0 starts: `python -m sign_ablate.jobs.rank REQUEST`."""

import contextlib
import functools
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import torch.distributed as dist

from sign_ablate.jobs import attempt, checkpoint
from sign_ablate.jobs.parent import die_with
from sign_ablate.jobs.setup import Setup
from sign_ablate.jobs.signals import stop_signals
from sign_ablate.jobs.team import Action, Team, error_file, join
from sign_ablate.jobs.watch import Arrivals, Watch
from sign_ablate.store.run_files import CHECKPOINT
from sign_ablate.train.loop import Trainer


def follow(setup: Setup, rank: int, folder: Path, arrive: Callable[[], None]) -> None:
    """Train as a rank above 0, which neither evaluates nor writes files, and saves and stops with rank 0."""
    arrive()
    team = join(setup, rank, folder, arrive)
    trainer = setup.trainer(setup.chosen_device(rank), arrive)
    if team.agreed(Action.CONTINUE) is Action.SAVE:  # rank 0 goes on from a checkpoint
        state = checkpoint.load(Path(setup.out, CHECKPOINT), setup.spec, trainer.device)
        assert state is not None  # rank 0 has just loaded it
        trainer.load_state_dict(state)
    with contextlib.suppress(checkpoint.Interrupted):
        trainer.fit(before_step=lambda: _follow_action(team, trainer))
    arrive()  # at the end: rank 0 may take its time to evaluate and to write the run's files
    dist.destroy_process_group()


def _follow_action(team: Team, trainer: Trainer) -> None:
    action = team.agreed(Action.CONTINUE)
    if action is not Action.CONTINUE:
        trainer.state_dict()  # sends this rank's part to rank 0
    if action is Action.STOP:
        raise checkpoint.Interrupted(signal.SIGTERM)


def main() -> None:
    """Read the request, and train. An error is written into the file that rank 0 reads."""
    request = json.loads(sys.argv[1])
    for number in stop_signals():  # rank 0 receives them, too, and decides where the run stops
        signal.signal(number, signal.SIG_IGN)
    rank, folder, leader = request["rank"], Path(request["folder"]), request["leader"]
    die_with(leader, signal.SIGKILL)
    setup = Setup(**request["setup"])
    arrivals = Arrivals(folder, setup.ranks)
    seconds, end = setup.rank_timeout_seconds, functools.partial(os.kill, leader, signal.SIGKILL)
    report = functools.partial(attempt.lost, Path(setup.out))
    try:
        with Watch(arrivals, rank, seconds, {0: leader}, end, report):
            follow(setup, rank, folder, functools.partial(arrivals.add, rank))
    except Exception:
        try:
            error_file(folder, rank).write_text(traceback.format_exc(), encoding="utf-8")
        except OSError:
            traceback.print_exc()
        os._exit(1)  # not by way of torch, which would wait for the lost connections
    os._exit(0)  # torch takes seconds to shut down on a busy machine


if __name__ == "__main__":
    main()
