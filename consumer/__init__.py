"""The consumer: samples clips from videos and cameras and has the V-JEPA 2 service classify them over HTTP.

The typed client is for other programs too: ``consumer.client.AsyncClient`` and ``consumer.sync_client.Client``.
"""
