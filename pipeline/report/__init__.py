"""A run as one page to look at: what came in, what was dropped and why, and the rows themselves."""
