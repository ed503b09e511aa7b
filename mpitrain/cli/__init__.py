"""Command-line commands: read the options, call the packages below, print, and exit."""
