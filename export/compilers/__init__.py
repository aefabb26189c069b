"""One module for each target; it compiles the traced network for the runtime of the target."""
