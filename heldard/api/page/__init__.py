"""The live page at `/`: a small static page that asks the API like any other client, and nobody else."""
