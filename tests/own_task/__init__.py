"""A task that the product does not have: one file and one config."""
