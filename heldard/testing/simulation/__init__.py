"""A run of the kernel's ingest, fan-out and lanes on virtual time, with faults at every await and commit point.

Everything a run does follows from its seed: the same seed gives the same run.

    python -m heldard.testing.simulation --seed 4711        one run, with what happened in it
    python -m heldard.testing.simulation --seeds 10000      many runs; the first that fails is named

Workers send batches as workers do: again when no answer comes, some twice, some late, some given up half-way. The store
fails, consumers fail, hang and are slow, and the process dies between any two steps of the event loop. In the end the
faults stop, what was parked is driven again, and the effects must be those that a plain model computes from the log.
"""

from heldard.testing.simulation.life import make_template
from heldard.testing.simulation.run import Run, main, run, run_many

__all__ = ["Run", "main", "make_template", "run", "run_many"]
