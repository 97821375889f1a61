"""Tables, figures and report of a campaign, computed from its runs. Notebooks only show them."""
