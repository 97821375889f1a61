"""From the runs of a campaign to its tables, figures and report. Notebooks only show what this computes."""
