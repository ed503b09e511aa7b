"""Memory that the ranks of one node share: windows, the all-reduce in them, and the shared arena."""
