"""The Open Inference Protocol (V2), as Triton and KServe speak it: a front beside ``/api/v1``."""
