"""Output for people: the console, progress, text tables, and charts."""
