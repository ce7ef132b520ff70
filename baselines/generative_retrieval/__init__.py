"""Generative retrieval: a query is answered by writing the identifier of an item."""
