"""What a network family must tell the export; one folder for each family."""
