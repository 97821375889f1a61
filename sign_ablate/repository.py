"""Repository that contains this package, if there is one."""

from pathlib import Path

ROOT = Path(__file__).parents[1]
#: measurements by benchmarks for claims; the column `how` names the machine
MEASUREMENTS_FILE = ROOT / "results" / "reference" / "measurements.parquet"
#: verdicts of the theory lab, for campaigns without a run of the lab
LAB_FILE = ROOT / "results" / "reference" / "theory" / "claims.parquet"


def default_config() -> Path:
    """Path of the default configuration: config.yaml in the working directory, or else the repository's."""
    return _here_or_own("config.yaml")


def claims_file() -> Path:
    """Path of the claims and their tests: claims.yaml in the working directory, or else the repository's."""
    return _here_or_own("claims.yaml")


def _here_or_own(name: str) -> Path:
    here, own = Path(name), ROOT / name
    return own if own.exists() and not here.exists() else here
