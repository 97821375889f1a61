"""The repository that this package lies in, if it lies in one."""

from pathlib import Path

ROOT = Path(__file__).parents[1]


def default_config() -> Path:
    """The configuration where none is named: the working directory's config.yaml, or else the repository's."""
    here, own = Path("config.yaml"), ROOT / "config.yaml"
    return own if own.exists() and not here.exists() else here
