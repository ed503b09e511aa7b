"""Run directories: owner, files, history, resumption, and the trained model in them."""
