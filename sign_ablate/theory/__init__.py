"""The paper's equations as code, and the numerical experiments that test them (docs/theory.md).

No experiment trains a network or reads a campaign. This module lists them; it imports neither NumPy nor an
experiment, since Snakemake reads it on every start.
"""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Experiment:
    """An experiment: a module of this package with KEYS, and run(rng, **options) that returns a table's rows.

    Args:
        module: name of the module.
        options: arguments of its `run`.
        uses: other modules of this package that its numbers depend on, beside equations and tables.
        code: other files of sign_ablate that they depend on.
        equations: False if its numbers do not depend on the paper's equations.
    """

    module: str
    options: dict[str, str] = field(default_factory=dict)
    uses: tuple[str, ...] = ()
    code: tuple[str, ...] = ()
    equations: bool = True

    @property
    def sources(self) -> list[str]:
        """Files, relative to the package sign_ablate, that determine the experiment's table."""
        names = [self.module, *(["equations"] if self.equations else []), "tables", *self.uses]
        return [*(f"theory/{name}.py" for name in names), *self.code]


def _convergence(problem: str) -> Experiment:
    return Experiment("convergence", {"problem": problem}, ("problems", "simulate"))


EXPERIMENTS = {
    "sign-failure": Experiment("sign_failure", uses=("noise",)),
    "convergence-quadratic": _convergence("quadratic"),
    "convergence-from-minimum": _convergence("quadratic-from-minimum"),
    "convergence-regression": _convergence("robust-regression"),
    "corrections": Experiment("corrections", uses=("problems", "simulate")),
    "dither": Experiment("dither"),
    "lambda-average": Experiment("lambda_average"),
    "projection": Experiment("projection"),
    "savings": Experiment("savings", code=("optim", "distributed", "models"), equations=False),
}
#: table of the claims' verdicts, made from the experiments' tables
CLAIMS = "claims"
#: names of the functions of sign_ablate.theory.figures, each of which makes a figure from the tables
FIGURES = ("failure", "rates", "dither", "averages")
#: seed of every experiment's generator, combined with the experiment's name
SEED = 0
