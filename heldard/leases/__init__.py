"""Who works on which task: leases, their fair share among workers, and the tickets that bind a post to a frame."""
