"""The root daemon: supervise, attribute, store, answer. It parses nothing that the network sent."""
