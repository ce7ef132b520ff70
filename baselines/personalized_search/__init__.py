"""Personalised product search: the query, and what the user bought before."""
