"""Rankers that learn nothing, or only count: they show what the candidate lists give away."""
