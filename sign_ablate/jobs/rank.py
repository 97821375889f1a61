"""Process of a rank above 0, which rank 0 starts: `python -m sign_ablate.jobs.rank REQUEST`."""

import contextlib
import json
import os
import signal
import sys
import traceback
from pathlib import Path

import torch.distributed as dist

from sign_ablate.jobs import checkpoint
from sign_ablate.jobs.parent import die_with
from sign_ablate.jobs.setup import Setup
from sign_ablate.jobs.signals import stop_signals
from sign_ablate.jobs.team import Team, Word, error_file, join, ready_file
from sign_ablate.store.run_files import CHECKPOINT
from sign_ablate.train.loop import Trainer


def follow(setup: Setup, rank: int, folder: Path) -> None:
    """Train as a rank that follows rank 0: evaluates nothing, writes nothing, saves and stops on its word."""
    ready_file(folder, rank).touch()
    team = join(setup, rank, folder)
    trainer = setup.trainer(setup.chosen_device(rank))
    if team.agreed(Word.GO_ON) is Word.SAVE:  # rank 0 goes on from a checkpoint
        state = checkpoint.load(Path(setup.out, CHECKPOINT), setup.spec, trainer.device)
        assert state is not None  # rank 0 has just loaded it
        trainer.load_state_dict(state)
    with contextlib.suppress(checkpoint.Interrupted):
        trainer.fit(before_step=lambda: _obey(team, trainer))
    dist.destroy_process_group()


def _obey(team: Team, trainer: Trainer) -> None:
    word = team.agreed(Word.GO_ON)
    if word is not Word.GO_ON:
        trainer.state_dict()  # sends this rank's part to rank 0
    if word is Word.STOP:
        raise checkpoint.Interrupted(signal.SIGTERM)


def main() -> None:
    """Read the request, and train. An error is written into the file that rank 0 reads."""
    request = json.loads(sys.argv[1])
    for number in stop_signals():  # rank 0 receives them, too, and decides where the run stops
        signal.signal(number, signal.SIG_IGN)
    die_with(request["leader"], signal.SIGKILL)
    rank, folder = request["rank"], Path(request["folder"])
    try:
        follow(Setup(**request["setup"]), rank, folder)
    except Exception:
        error_file(folder, rank).write_text(traceback.format_exc())
        os._exit(1)  # not by way of torch, which would wait for the lost connections
    os._exit(0)  # torch takes seconds to shut down on a busy machine


if __name__ == "__main__":
    main()
