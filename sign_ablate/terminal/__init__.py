"""What the command line tells people about a campaign: plan, status, show."""
