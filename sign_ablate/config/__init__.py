"""Typed configuration models. Defaults, JSON schema, reference page and errors are derived from them."""

from sign_ablate.config.campaign import Campaign, Execution, Figure, RunConfig
from sign_ablate.config.errors import ConfigError
from sign_ablate.config.load import load_campaign, parse_campaign

__all__ = ["Campaign", "ConfigError", "Execution", "Figure", "RunConfig", "load_campaign", "parse_campaign"]
