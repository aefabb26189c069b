"""The API's documents: OpenAPI, and pages that show it."""
