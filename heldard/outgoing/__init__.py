"""Events on their way out: a live stream for those who listen, webhooks for those who are called."""
