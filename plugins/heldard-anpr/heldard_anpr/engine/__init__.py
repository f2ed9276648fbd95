"""The plate engine: pure functions from what frames show to decisions."""
