"""Sequential recommendation: the next item from the item history."""
