"""The leaderboard's submissions: made from a run, and checked figure by figure."""
