"""One module for each target, from the traced network to the plan."""
