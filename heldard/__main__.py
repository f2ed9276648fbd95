"""`python -m heldard`."""

from heldard.cli import main

main()
