"""The demonstration: a scripted gate scene rendered to a real video, and a run of the daemon and a worker on it."""
