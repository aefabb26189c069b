"""What computes the answers: the contract of an engine, bundles on disk, and one runtime for each target."""
