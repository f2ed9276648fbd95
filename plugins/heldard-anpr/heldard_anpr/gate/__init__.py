"""Opening a gate: who may, how often, and by what."""
