"""Zones and lines: what moving and standing things do in named parts of a picture."""

__version__ = "0.1.0"
