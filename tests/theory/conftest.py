"""Tables of all experiments, with short horizons for Theorem 1."""

from typing import Any

import pandas as pd
import pytest

from sign_ablate.theory import EXPERIMENTS, lab

#: K for which the bounds are tested; the slopes need longer ones
QUICK: dict[str, Any] = {"steps": (100, 316, 1000), "replicates": 20}


@pytest.fixture(scope="session")
def quick() -> dict[str, pd.DataFrame]:
    """Experiment → its rows. Tests leave them as they are."""
    options = {name: QUICK if name.startswith("convergence") else {} for name in EXPERIMENTS}
    return {
        name: pd.DataFrame(lab.run(name, **options[name])).astype({"claim": object}) for name in EXPERIMENTS
    }
