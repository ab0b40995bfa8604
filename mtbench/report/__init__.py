"""Records, leaderboards, statistics, figures and exports."""
