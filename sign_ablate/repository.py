"""Repository that contains this package, if there is one."""

from pathlib import Path

ROOT = Path(__file__).parents[1]
#: the claims of the paper and their tests
CLAIMS_FILE = ROOT / "claims.yaml"
#: measurements by benchmarks for claims; the column `how` names the machine
MEASUREMENTS_FILE = ROOT / "results" / "reference" / "measurements.parquet"
#: verdicts of the theory lab, for campaigns without a run of the lab
LAB_FILE = ROOT / "results" / "reference" / "theory" / "claims.parquet"


def default_config() -> Path:
    """Path of the default configuration: config.yaml in the working directory, or else the repository's."""
    here, own = Path("config.yaml"), ROOT / "config.yaml"
    return own if own.exists() and not here.exists() else here
