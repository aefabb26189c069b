"""aiohttp's plumbing, which knows no clip: connections, bodies, deadlines, errors, keys, tracing."""
