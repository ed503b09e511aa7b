"""A training loop of your own: every rank has the whole model and a part of each batch.

mpirun -n 4 python own_loop.py
"""

import mpitrain as mt


def train(world: mt.World, epochs: int = 3) -> float:
    """Train, and return the loss of the last epoch, which is the same on all ranks."""
    data = mt.open_dataset("digits")
    model = mt.models.build("mlp:widths=64,dropout=0.1", data.input_shape, data.num_outputs)
    arena, loss, ctx = mt.Arena(model, seed=0), mt.SoftmaxCrossEntropy(), mt.Context(seed=0)
    sync = mt.DataParallel(model, arena, world)  # the same weights on all ranks
    optimizer = mt.SGD(arena, momentum=0.9)
    normalizer = mt.Normalizer.fit(data.train.x)
    loader = mt.Loader(data.train, batch_size=64, rank=world.rank, size=world.size, seed=0, normalizer=normalizer)
    for epoch in range(epochs):
        summed = weight = 0.0
        for batches in loader.epoch(epoch):
            with sync.step(len(batches)) as step:  # gradients are summed over the ranks while backward runs
                for batch in batches:
                    ctx.first = batch.first
                    outputs = model.forward(batch.x, ctx)
                    step.add(loss.forward(outputs, batch.y, ctx))
                    model.backward(loss.backward(ctx), ctx)
            sync.update(optimizer, lr=0.05, scale=1 / step.totals.weight)
            summed, weight, ctx.step = summed + step.totals.loss, weight + step.totals.weight, ctx.step + 1
    sync.free()
    return summed / weight


if __name__ == "__main__":
    world = mt.World()
    last = train(world)
    if world.rank == 0:
        print(f"loss {last:.3f}")
