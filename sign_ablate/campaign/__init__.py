"""From a campaign to its cells and runs, and the checks before any job."""
