"""What is served, whatever the protocol: the state, the engine in service, its swap, the way of a clip."""
