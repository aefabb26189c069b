"""The place of ``consumer.client.Client`` in 0.1; gone after 0.2."""

from consumer.client.sync_client import Client as Client
