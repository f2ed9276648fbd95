"""Who is inside, since when, and for how long they stayed."""
