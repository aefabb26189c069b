"""Video files that clients send whole: decoded in a process of their own, classified behind live clips."""
