"""Forgetting what is stored about one subject, such as a plate, wherever it stands."""
