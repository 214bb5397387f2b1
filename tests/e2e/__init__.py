"""End to end: milecastled as an operator starts it, in the lab, with real clients."""
