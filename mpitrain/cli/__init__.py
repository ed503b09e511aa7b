"""Commands: they read options, call the floors below, print, and exit."""
