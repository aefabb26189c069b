"""What users would use instead, each as its own documentation says is best, in an environment of its own.

Nothing here may import more than the standard library, the rival, numpy and ``tests.latency.stand_in_device``.
"""
