"""Three instances behind HAProxy, with ``deploy/haproxy.cfg`` as it is: nothing is lost when one stops or fails."""
