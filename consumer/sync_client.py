"""Deprecated alias: ``consumer.client.Client`` was here in 0.1. Will be removed after 0.2."""

from consumer.client import Client as Client
