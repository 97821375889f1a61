"""Error rates of the verdicts: `python -m benchmarks.verdict_sim` writes docs/verdict-sim.md.

It simulates campaigns whose truth is known, and judges them by the functions and the families of the ledger.
"""

import argparse
import itertools
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

from benchmarks.simulated_ledger import (
    GAP,
    MARGIN,
    SimulatedClaim,
    decide,
    errors,
    families,
    runs_of,
    seven_orderings,
    truths,
)
from sign_ablate.claims.model import load
from sign_ablate.claims.statistics import ALPHA, LOOKS, effect, look_alpha
from sign_ablate.claims.verdict import greater

ROOT = Path(__file__).parents[1]
OUT = ROOT / "docs" / "verdict-sim.md"
KINDS = ("normal", "t₃", "collapsing", "one collapsing")
SDS = (0.3, 0.7)
CORRELATIONS = (0.0, 0.5)
SEEDS = (5, *LOOKS)
#: numbers of seeds at which an impatient researcher looks
PEEKS = (5, 8, 12, 16)
TRUTHS = (-MARGIN, 0.0, MARGIN, GAP, 0.8)
SEVEN = "seven orderings, one reference"
SCENARIOS = ("false", "true", "random")
#: limits, in percent, outside of which a row is listed
COVERAGE = (93.5, 96.5)
FAMILY_ERROR = 6.0

Setting = tuple[str, float, float]
#: coverage by number of seeds, and shares of verdicts by number of seeds and truth
Single = dict[int, tuple[float, list[tuple[float, float]]]]
#: family → scenario → procedure → share of replicates with a wrong verdict
Families = dict[str, dict[str, dict[str, float]]]


def single(setting: Setting, replicates: int, rng: np.random.Generator) -> Single:
    """Simulate one comparison of two methods by `greater`."""
    found: Single = {}
    for seeds in SEEDS:
        arms = {"a": np.zeros(replicates), "b": np.zeros(replicates)}
        runs = runs_of(arms, *setting, seeds, rng)
        differences = runs["a"] - runs["b"]
        ends = effect(differences)
        verdicts = [greater(effect(differences + truth), MARGIN) for truth in TRUTHS]
        shares = [(_percent(v == "supported"), _percent(v == "refuted")) for v in verdicts]
        found[seeds] = (_percent((ends.low <= 0) & (ends.high >= 0)), shares)
    return found


def family(
    tests: Sequence[SimulatedClaim],
    setting: Setting,
    scenario: str,
    replicates: int,
    rng: np.random.Generator,
    peek: bool = False,
) -> dict[str, float]:
    """Shares of simulated families with at least one wrong verdict, in percent, by procedure.

    With `peek`, that of several looks at the whole α, too.
    """
    truth = truths(scenario, tests, replicates, rng)
    runs = runs_of(truth, *setting, max(PEEKS), rng)

    def wrong(seeds: int, alpha: float, holm: bool = True) -> np.ndarray:
        first = {arm: of[:, :seeds] for arm, of in runs.items()}
        return errors(tests, truth, decide(tests, first, alpha, holm)).any(0)

    looks = {seeds: wrong(seeds, look_alpha(1)) for seeds in SEEDS}
    found = {
        "uncorrected": _percent(wrong(LOOKS[0], ALPHA, holm=False)),
        **{f"Holm, n = {seeds}": _percent(looks[seeds]) for seeds in SEEDS},
        "two looks": _percent(looks[LOOKS[0]] | looks[LOOKS[1]]),
    }
    if peek:
        at = {seeds: wrong(seeds, ALPHA) for seeds in PEEKS}
        found["Holm at 5 %, n = 8"] = _percent(at[LOOKS[0]])
        found["four looks at 5 %"] = _percent(np.any(list(at.values()), axis=0))
    return found


def simulate(task: tuple[int, Setting, int, int]) -> tuple[Single, Families]:
    """Simulate everything in one setting."""
    number, setting, replicates, of_family = task
    rng = np.random.default_rng(number)
    tables = {
        name: {s: family(tests, setting, s, of_family, rng, peek=name == SEVEN) for s in SCENARIOS}
        for name, tests in {SEVEN: seven_orderings(), **families(load())}.items()
    }
    return single(setting, replicates, rng), tables


def page(settings: Sequence[Setting], results: Sequence[tuple[Single, Families]], notes: str) -> str:
    """The page as Markdown."""
    by = dict(zip(settings, results, strict=True))
    failures = list(_failures(by))
    kinds = dict.fromkeys(setting[0] for setting in settings)
    return "\n".join(
        [
            "# How often verdicts are wrong",
            "",
            notes,
            "",
            "## Families of claims",
            "",
            FAMILY_NOTES,
            "",
            *itertools.chain.from_iterable(_family_table(kind, by) for kind in kinds),
            "## One comparison",
            "",
            SINGLE_NOTES,
            "",
            *_single_table(by),
            "## Where it fails",
            "",
            FAILURE_NOTES,
            "",
            *(failures or ["Nowhere in these simulations."]),
            "",
        ]
    )


NOTES = """\
`make verdict-sim` writes this page. Simulated campaigns, whose truth is known, are judged by the
functions of `sign_ablate.claims`, in the families of `claims.yaml`, with its margins for CIFAR-10. Runs
are normal, have Student's t₃-distribution, or are normal and lose 20 points with a probability of 10 %:
those of all methods (*collapsing*), or of the first one (*one collapsing*). Collapses count in the true
means. {replicates:,} replicates of one comparison (standard error of a share of 5 %: {error:.2f} points),
{families:,} of a family ({family_error:.2f})."""

FAMILY_NOTES = f"""\
Families with at least one wrong verdict, in percent: a false claim supported, or a true one refuted. "A >
B" is false if the difference is 0 or less, and true if it is the margin or more; between, no verdict is
wrong. "A = B" is false if the difference is the margin or more. Each number is the largest over SDs,
correlations and three truths: all claims just false, all just true (as nearly as the arms that they share
allow), and arms at random at 0, ± {MARGIN} or {GAP:.2f}.

*Uncorrected* judges each claim at α = 5 % with 8 seeds. *Holm* is one look of the ledger: 2.5 % are
shared in the family, where an equivalence counts twice. *Two looks* is what the ledger does: 8 seeds and
then 16, wrong if either is. The first row has two more: one look at 5 %, and *four looks* at 5 % each,
after 5, 8, 12 and 16 seeds. The readings of a claim are attempts that nothing corrects for, and they are
part of these errors."""

SINGLE_NOTES = f"""\
"A > B" with the margin {MARGIN} at α = 5 %: coverage of the interval, and the shares of supported /
refuted by the true difference Δ, in percent. {GAP:.2f} and 0.80 are the paper's differences on CIFAR-10.
SD is that of a run over seeds (of runs that do not collapse), ρ the correlation of two methods with the
same seed; the SD of differences is SD·√(2(1 − ρ))."""

FAILURE_NOTES = f"""\
Coverage outside {COVERAGE[0]} to {COVERAGE[1]} %, and families of which more than {FAMILY_ERROR:.0f} %
have a wrong verdict after two looks.

Where both methods collapse, their difference is symmetric, and intervals are wide and cautious. Where one
does, its true mean rests on runs that 8 seeds miss with a probability of 0.9⁸ = 43 %: no interval from
these runs can cover it. The same holds for the level of a single method, as in the cells of Table I and
in the hand-off. So the ledger speaks of runs like those that it has seen: none of 8 collapsed still allows a
rate of 37 %. A run that diverges is another matter, since it is imputed both ways."""


def _family_table(kind: str, by: dict[Setting, tuple[Single, Families]]) -> list[str]:
    worst = _worst(kind, by)
    procedures = list(next(iter(worst.values())))
    rows = [f"| {kind}: family | {' | '.join(procedures)} |", "|" + " --- |" * (1 + len(procedures))]
    rows += [f"| {name} | {' | '.join(_cell(of, p) for p in procedures)} |" for name, of in worst.items()]
    return [*rows, ""]


def _cell(of: dict[str, float], procedure: str) -> str:
    return f"{of[procedure]:.1f}" if procedure in of else ""


def _worst(kind: str, by: dict[Setting, tuple[Single, Families]]) -> dict[str, dict[str, float]]:
    """Largest error of each family by procedure, over SDs, correlations and truths."""
    tables = [of for setting, (_, of) in by.items() if setting[0] == kind]
    return {
        name: {
            p: max(table[name][scenario][p] for table in tables for scenario in SCENARIOS)
            for p in tables[0][name][SCENARIOS[0]]
        }
        for name in tables[0]
    }


def _single_table(by: dict[Setting, tuple[Single, Families]]) -> list[str]:
    heads = [f"Δ = {truth:.2f}".replace("-", "−") for truth in TRUTHS]
    rows = [
        f"| runs | SD | ρ | n | coverage | {' | '.join(heads)} |",
        "|" + " --- |" * (5 + len(heads)),
    ]
    for (kind, sd, correlation), (found, _) in by.items():
        for seeds, (coverage, shares) in found.items():
            cells = " | ".join(f"{supported:.1f} / {refuted:.1f}" for supported, refuted in shares)
            rows.append(f"| {kind} | {sd} | {correlation} | {seeds} | {coverage:.1f} | {cells} |")
    return [*rows, ""]


def _failures(by: dict[Setting, tuple[Single, Families]]) -> Iterator[str]:
    """Yield a line for each kind of run and number of seeds whose rates are outside the limits."""
    for kind in dict.fromkeys(setting[0] for setting in by):
        for seeds in SEEDS:
            covered = [found[seeds][0] for setting, (found, _) in by.items() if setting[0] == kind]
            if min(covered) < COVERAGE[0] or max(covered) > COVERAGE[1]:
                yield f"- {kind}, n = {seeds}: coverage of {min(covered):.1f} to {max(covered):.1f} %."
        for name, of in _worst(kind, by).items():
            if of["two looks"] > FAMILY_ERROR:
                yield f"- {kind}, {name}: a wrong verdict in {of['two looks']:.1f} % of families."


def _percent(share: np.ndarray) -> float:
    return float(100 * np.mean(share))


def main() -> None:
    """Simulate all settings, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--replicates", type=int, default=20_000, help="of one comparison")
    parser.add_argument("--families", type=int, default=4_000, help="replicates of a family")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--output", type=Path, default=OUT)
    options = parser.parse_args()
    settings = list(itertools.product(KINDS, SDS, CORRELATIONS))
    tasks = [(i, s, options.replicates, options.families) for i, s in enumerate(settings)]
    start = time.perf_counter()
    with ProcessPoolExecutor(options.jobs) as pool:
        results = list(pool.map(simulate, tasks))
    notes = NOTES.format(
        replicates=options.replicates,
        error=_error(options.replicates),
        families=options.families,
        family_error=_error(options.families),
    )
    options.output.write_text(page(settings, results, notes), encoding="utf-8")
    print(f"{options.output}: {time.perf_counter() - start:.0f} s")


def _error(replicates: int) -> float:
    """Standard error of a share of 5 %, in percent."""
    return float(100 * np.sqrt(ALPHA * (1 - ALPHA) / replicates))


if __name__ == "__main__":
    main()
