"""The consumer: samples clips from videos and cameras and sends them to the V-JEPA 2 service over HTTP.

Other programs can use its typed client: ``consumer.client.Client`` and ``consumer.client.AsyncClient``.
"""
