"""Setup of a process that trains: device, threads, compiler, and the trainer itself."""

import dataclasses
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import torch

from sign_ablate.campaign.identity import parse_run
from sign_ablate.data.prepared import read
from sign_ablate.jobs.run_lock import JobError
from sign_ablate.train.loop import Trainer
from sign_ablate.train.ranks import Ranks


@dataclasses.dataclass(frozen=True)
class Setup:
    """Settings that the processes of a training job share, as plain values.

    Args:
        spec: `Run.spec`.
        data: path of the file that `prepare` wrote.
        out: the run's folder.
        device: cpu or cuda.
        deterministic: make runs on a GPU bitwise reproducible. The setting stays for the rest of the process.
        threads: CPU threads of a process.
        compile_mode: none, or the mode of torch.compile for the network.
        ranks: number of processes that compute the run's workers; 1 computes them in one.
        rank_timeout_seconds: longest time for which ranks wait for another.
    """

    spec: str
    data: str
    out: str
    device: str
    deterministic: bool = False
    threads: int = 1
    compile_mode: str = "none"
    ranks: int = 1
    rank_timeout_seconds: float = 600.0

    def chosen_device(self, rank: int = 0) -> torch.device:
        """Device of a rank, with CUDA and threads set up. Raises JobError if it or a compiler is missing."""
        if self.device == "cuda" and not torch.cuda.is_available():
            raise JobError(
                "execution.device = 'cuda': this machine shows no CUDA device; set auto or cpu, or run the "
                "job where there is one"
            )
        compiles = self.compile_mode != "none" and self.device == "cpu"
        if compiles and not any(map(shutil.which, ("g++", "clang++"))):
            raise JobError(
                f"execution.compile = {self.compile_mode!r}: on a CPU, torch.compile needs a C++ compiler; "
                "install g++, or set none"
            )
        torch.set_num_threads(self.threads)
        if self.device != "cuda":
            return torch.device(self.device)
        set_up_cuda(self.deterministic)
        if self.ranks == 1:
            return torch.device(self.device)
        torch.cuda.set_device(rank)
        return torch.device(self.device, rank)

    def trainer(self, device: torch.device, arrive: Callable[[], None] = lambda: None) -> Trainer:
        """Trainer of the run at its first step, with `arrive` called before each exchange of ranks.

        Raises:
            ConfigError, DataError, JobError: if the run cannot be trained.
        """
        run = parse_run(self.spec)
        trainer = Trainer(run, read(Path(self.data)), device, self.compile_mode, on_ranks=self.ranks > 1)
        if isinstance(trainer.workers, Ranks):
            trainer.workers.arrive = arrive
        return trainer


def set_up_cuda(deterministic: bool) -> None:
    """Configure CUDA in this process for speed, or for bitwise reproducible runs."""
    if deterministic:
        # cuBLAS reads this on first use. 4096:8 is the faster of its two deterministic values.
        os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
    # benchmark: cuDNN times its algorithms on the first batch. The fastest one may differ between runs.
    torch.backends.cudnn.benchmark = not deterministic
    torch.backends.cudnn.deterministic = deterministic
    torch.use_deterministic_algorithms(deterministic)  # operations without one raise an error
