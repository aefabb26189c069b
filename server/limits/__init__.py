"""Limits: who may send requests, how many, and how much memory they may hold at once."""
