"""The paper's claims: statistics, verdicts, and the ledger with a campaign's verdict on each claim."""
