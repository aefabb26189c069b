"""What is told of a labelled video: on the terminal, as JSON, CSV, WebVTT, and as a video with its actions."""
