"""How work is split over ranks: layers stay as they are, this floor wraps them."""
