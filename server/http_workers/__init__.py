"""HTTP in several processes in front of one engine process; see docs/architecture.md."""
