"""`python -m heldard.testing.simulation`."""

import sys

from heldard.testing.simulation.run import main

sys.exit(main())
