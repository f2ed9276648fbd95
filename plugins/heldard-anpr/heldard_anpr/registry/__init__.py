"""Who may come: vehicles, visitor passes, the watchlist, and the groups that say when."""
