"""heldard: a perception kernel for edge boxes with cameras."""

__version__ = "0.1.0"
