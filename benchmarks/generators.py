"""Cost of counter-based random generators in C, per 32-bit word, as a Markdown table.

    python -m benchmarks.generators [--output docs/bench-generators.md]

One thread, CPU time of the process, best of 25 rounds. Each round runs every generator.
"""

import argparse
import subprocess
import tempfile
import time
from pathlib import Path

from benchmarks.optim import machine
from sign_ablate.optim.sign_step import native

#: name → (generator, published record)
GENERATORS = {
    "lowbias32": (
        "one round of a 32-bit finaliser, used here before",
        "none; fails tests/optim/test_noise.py",
    ),
    "philox10": (
        "**Philox4x32-10**, of sign_step/step.c",
        "BigCrush; in Triton, CUDA and cuRAND",
    ),
    "philox10_loop": ("Philox4x32-10, vectorized by the compiler", "the same words"),
    "philox7_loop": ("Philox4x32-7, vectorized by the compiler", "BigCrush, without a margin"),
    "threefry20": ("Threefry4x32-20", "BigCrush; JAX has its two-word form"),
    "threefry12": ("Threefry4x32-12", "BigCrush, without a margin"),
    "squares": ("Squares, four rounds", "BigCrush; keys have to be chosen"),
}


def measure() -> dict[str, float]:
    """Nanoseconds per word by generator name."""
    source = Path(__file__).with_name("generators.c")
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "generators"
        flags = [flag for flag in native._FLAGS if flag not in ("-shared", "-fPIC")]
        subprocess.run(["cc", *flags, "-w", str(source), "-o", str(program), "-lm"], check=True)
        lines = subprocess.check_output([str(program)], text=True).splitlines()
    return {name: float(value) for name, value in (line.split() for line in lines)}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    found = measure()
    lines = [
        "# Price of a generator",
        "",
        f"Nanoseconds of CPU time per 32-bit word. {machine('cpu')}; {time.strftime('%Y-%m-%d')}.",
        "",
        "| generator | published test record | ns | ratio |",
        "|---|---|---|---|",
    ]
    for name, (title, record) in GENERATORS.items():
        lines.append(f"| {title} | {record} | {found[name]:.2f} | {found[name] / found['philox10']:.2f} |")
    text = "\n".join([*lines, ""])
    print(text)
    if options.output:
        options.output.write_text(text)


if __name__ == "__main__":
    main()
