"""Chooses the frames of a stream that form a clip. Imports only the standard library."""
