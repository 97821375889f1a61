"""Tuning of methods before their evaluation: trials on validation images, and the choice among them."""
