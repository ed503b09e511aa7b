"""Training on a mesh: its rules, the part of the model that a rank has, its pipeline, and the choice of a mesh."""
