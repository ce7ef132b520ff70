"""Search by the inner product of a query's and an item's text vector."""
