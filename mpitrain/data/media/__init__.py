"""Files that are samples, such as images and sounds: found, labeled, and decoded once into a file that all map."""
