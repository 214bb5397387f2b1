"""The pods of this node, told to the daemon by a process that holds nothing but a token for them.

The answers of API server and kubelet are JSON from the network, so they are read here, by a user
of its own without a capability; root gets bounded rows over `pods.sock` (`wire.PODS`).
"""
