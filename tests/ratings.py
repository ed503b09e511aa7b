"""Small files of ratings."""

import numpy as np


def write_ratings(path, seed=0, users=12, items=15, n=90):
    """Write ratings of distinct pairs with a structure that can be learned, and return the path."""
    rng = np.random.default_rng(seed)
    p, q = rng.standard_normal((users, 2)), rng.standard_normal((items, 2))
    pairs = rng.choice(users * items, n, replace=False)
    lines = ["user,item,rating,time"]
    for place, time in zip(pairs.tolist(), rng.integers(0, 1000, n).tolist()):
        user, item = divmod(place, items)
        rating = np.clip(np.round(2 * (3 + p[user] @ q[item])) / 2, 0.5, 5)
        lines.append(f"u{user},film {item},{rating},{time}")
    path.write_text("\n".join(lines) + "\n")
    return path
