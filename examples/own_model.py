"""A model of your own: a function of the shape of one sample and the number of outputs, in a complete run.

python own_model.py                    # one rank
mpirun -n 4 python own_model.py        # four ranks, the same result to rounding
mpirun -n 4 python -m mpitrain train --model own_model.py:net:width=64     # the same function on the command line
"""

import mpitrain as mt


def net(input_shape: tuple[int, ...], num_outputs: int, width: int = 32) -> mt.Layer:
    """Return a network of two hidden layers with a shortcut around the second."""
    num_inputs = 1
    for length in input_shape:
        num_inputs *= length
    return mt.Sequential(
        mt.Flatten(),
        mt.Linear(num_inputs, width),
        mt.Residual(mt.Sequential(mt.LayerNorm(width), mt.Linear(width, width), mt.GELU())),
        mt.Linear(width, num_outputs),
    )


if __name__ == "__main__":
    trainer = mt.Trainer(net, "digits", optimizer="adam:lr=0.003", epochs=3, progress="none")
    result = trainer.fit()
    classes = trainer.predict(trainer.setup.dataset.test.x[:5])
    if trainer.world.rank == 0:
        print(f"accuracy {result.test['accuracy']:.3f}, the first test images show {classes.tolist()}")
