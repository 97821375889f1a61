"""Expansion of a campaign into cells and runs, and the checks before any job."""
