"""Entry events and the record of how each came about."""
