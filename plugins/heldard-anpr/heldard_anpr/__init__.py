"""Plates for heldard: reads become one explained decision per visit, lists say who may come, a gate opens."""

__version__ = "0.1.0"
