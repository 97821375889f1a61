"""The paper's claims: statistics, verdicts, and the ledger of what the campaigns say about each claim."""
