"""Settings and teams: what is fixed before the first ticket arrives."""
