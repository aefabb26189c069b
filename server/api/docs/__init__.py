"""The documentation of the API: the OpenAPI document and the pages that show it."""
