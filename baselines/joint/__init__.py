"""Systems that learn from search and recommendation together."""
