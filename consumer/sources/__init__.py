"""The sources: opens and decodes them and cuts their frames into clips."""
