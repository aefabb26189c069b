"""What is watched: opened, decoded, timed, cut into clips."""
