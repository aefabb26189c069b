"""Heads for a user's own actions, taught from a few videos of each."""
