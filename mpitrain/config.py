"""Settings of a run as one tree of frozen dataclasses, the source of the command line and of TOML files."""

import contextlib
import dataclasses
import math
import typing
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from tyro.conf import Positional, arg

from .errors import UserError
from .option_values import parse_value
from .registry import short_name, take_option
from .run_rules import EVERY_STEP

DEFAULT_LR = {"sgd": 0.05, "adam": 0.001, "adamw": 0.001, "lars": 1.0, "adagrad": 0.01}
OTHER_LR = 0.001  # of optimizers of the user's own


@dataclass(frozen=True, kw_only=True)
class Data:
    """Data and batches."""

    source: Annotated[str, arg(name="data", metavar="SOURCE")] = "digits"
    """Data to train and test on: digits (in the package), shapes and clicks (generated), mnist:DIR, fashion-mnist:DIR,
    cifar10:DIR, cifar100:DIR, emnist:DIR, images:DIR, audio:DIR, ratings:FILE, npz:FILE, npy:DIR, hdf5:FILE, csv:FILE
    or parquet:FILE with target=COLUMN, openml:NAME, or to predict the next token text:FILE|DIR|GLOB or tokens:DIR.
    Options follow the source, separated by commas (docs/data.md); mpitrain
    data check SOURCE shows how it is read."""
    task: Literal["auto", "classification", "regression", "segmentation", "language-modeling"] = "auto"
    """Task: classification, regression or segmentation (a class for each pixel); auto decides by the targets. That of
    text is language-modeling."""
    batch_size: int = 64
    """Samples per step, over all ranks together."""
    batch_tokens: int = 0
    """Tokens per step, over all ranks together, in place of --batch-size (with padding, at most so many); 0 takes
    --batch-size."""
    test_fraction: float = 0.2
    """Share of the samples held out for the test where the source has no test set of its own."""
    split: Annotated[Literal["stratified", "random"], arg(name="draw-test")] = "stratified"
    """Method to draw the test and validation samples: stratified takes the same share of each class and leaves a
    training sample of each; random takes any."""
    validation: Annotated[float, arg(metavar="SHARE|NUMBER")] = 0.0
    """Training samples held out to choose the best epoch, and to stop early: a share of them (0.1) or a number (5000),
    drawn as --draw-test says; 0 chooses by the test samples."""
    fold: Annotated[str, arg(metavar="K/N")] = ""
    """Hold out the K-th of N folds of the training samples for validation (2/5), drawn by --seed as --draw-test says,
    in place of --validation; the N runs of a cross-validation have each sample once (see mpitrain sweep)."""
    crop: int = 0
    """Augment images: shift by up to this many pixels in each direction."""
    flip: bool = False
    """Augment images: mirror half of them left to right."""
    augment: Annotated[str, arg(metavar="AUGMENTATION,...")] = ""
    """Augment samples: random-resized-crop:scale=0.5, shift-crop, flip, color-jitter:brightness=0.4, cutout:size=8,
    random-erasing, rand-augment:n=2, mixup:alpha=0.2, cutmix, time-mask and frequency-mask, in this order,
    or FILE.py:FUNC for a function (image, rng) of your own (see docs/augmentation.md)."""
    prefetch: int = 2
    """Batches prepared ahead by a thread; 0 prepares them in line."""


@dataclass(frozen=True, kw_only=True)
class Model:
    """Network."""

    name: Annotated[str, arg(name="model", metavar="NAME")] = "convnet"
    """The network: convnet, mlp, lenet; resnet8, 20, 32, 56 for small images, resnet18, 34, 50, 101, 152 for those of
    ImageNet's size; unet for classes of pixels; audio-convnet for sounds; vit, gpt, llama, bert; with options as in
    resnet18:small_images=true, or FILE.py:FUNC."""
    weights: Annotated[str, arg(metavar="SOURCE")] = ""
    """Weights to begin with: hf:DIR of Hugging Face (config.json says which model it is, so --model may be left out),
    gguf:FILE, or a FILE.safetensors of a run. Empty draws them by --seed."""
    freeze: Annotated[str, arg(metavar="PATTERN,...")] = ""
    """Parameters that are not trained: shell-style patterns of their names, or of layers for all in them, such as
    0 and *.norm1 (--dry-run lists the layers)."""
    lora: Annotated[str, arg(metavar="rank=N,...")] = ""
    """Train low-rank adapters (LoRA) in place of the weights, as in rank=8,alpha=16. Further options: dropout=P,
    on=PATTERN for the Linear layers (by default queries and values of attention), train=PATTERN for more parameters to
    train; + stands between patterns."""
    lora_weights: Annotated[str, arg(metavar="peft:DIR")] = ""
    """Adapters to begin with: a folder of peft (adapter_config.json, adapter_model.safetensors)."""
    widths: tuple[int, ...] = (128,)
    """Hidden widths of mlp."""
    activation: Literal["relu", "tanh", "sigmoid", "gelu", "silu"] = "relu"
    """Activation of mlp."""
    dropout: float = 0.0
    """Share of the activations that mlp drops in training."""
    batch_norm: Literal["synchronized", "local", "synchronised"] = "synchronized"
    """Batch-normalization statistics: synchronized over the global batch, or local to each rank's part of it (fewer
    messages, but the result depends on the number of ranks)."""

    def __post_init__(self) -> None:
        if self.batch_norm == "synchronised":  # the old spelling, in files and scripts
            object.__setattr__(self, "batch_norm", "synchronized")


@dataclass(frozen=True, kw_only=True)
class Optimizer:
    """Update rule and learning rate."""

    name: Annotated[str, arg(name="optimizer", metavar="OPTIMIZER")] = "sgd"
    """The update rule: sgd, adam, adamw, lars or adagrad, with options as in
    adam:lr=0.001,beta2=0.95, or FILE.py:CLASS for one of your own."""
    lr: float | None = None
    """Peak learning rate; none takes 0.05 for sgd, 0.001 for adam and adamw, 1 for lars, 0.01 for
    adagrad."""
    momentum: float = 0.9
    """Momentum of sgd and lars."""
    nesterov: bool = False
    """Nesterov's form of the momentum of sgd."""
    weight_decay: float = 0.0
    """Weight decay of weight matrices and kernels (not of biases and normalization)."""
    schedule: Annotated[str, arg(metavar="SCHEDULE")] = "cosine"
    """Learning-rate schedule: constant, step, cosine or one-cycle, with options as in
    cosine:min_lr=0.0001, or FILE.py:FUNC for one of your own."""
    warmup: float = 0.0
    """Epochs over which the learning rate rises from zero."""
    decay_every: int = 10
    """Epochs between two drops of the step schedule."""
    decay_factor: float = 0.1
    """Factor of each drop of the step schedule."""
    clip_norm: float = 0.0
    """Largest norm of the whole gradient; 0 does not clip."""
    non_finite: Literal["stop", "skip"] = "stop"
    """Action for a step whose loss or gradient is NaN or infinite: stop the run, or skip the step."""
    label_smoothing: float = 0.0
    """Probability spread evenly over all classes in the cross-entropy."""
    class_weights: Annotated[str, arg(metavar="balanced|CLASS:W,...")] = ""
    """Weights of the classes in the loss: balanced for the inverse of their numbers of training samples, or
    NAME:WEIGHT,NAME:WEIGHT (others weigh 1). They are scaled to a mean of 1 over the training samples."""
    accumulate: int = 0
    """Microbatches of a step, to save memory or to fill a pipeline; 0 takes 1, or 4 for each rank of a pipeline."""

    def __post_init__(self) -> None:
        for key in ("lr", "momentum", "nesterov", "weight_decay"):  # these have options of their own
            if key == "lr" or short_name(self.name) in DEFAULT_LR:
                self._take(key)

    def _take(self, key: str) -> None:
        """Move an option from the text of the optimizer to its own setting; bad values stay, and are reported later."""
        name, text = take_option(self.name, key)
        if text is not None:
            with contextlib.suppress(ValueError):
                object.__setattr__(self, key, parse_value(text, bool if key == "nesterov" else float))
                object.__setattr__(self, "name", name)

    @property
    def peak_lr(self) -> float:
        """The learning rate that was given, or the default of the update rule."""
        return DEFAULT_LR.get(short_name(self.name), OTHER_LR) if self.lr is None else self.lr


@dataclass(frozen=True, kw_only=True)
class Parallel:
    """Division of the work among the ranks, exchange between them, and checks of it."""

    mesh: Annotated[str, arg(metavar="auto|AXIS=N,...")] = ""
    """Ranks on each axis, as in data=2,pipe=4: data divides the samples, pipe the layers of the model (a pipeline of
    stages). One number may be left out (pipe=4). Empty puts all ranks on data; auto measures, takes the mesh with the
    least predicted step that fits into memory, and says why (see mpitrain plan)."""
    pipeline: Annotated[str, arg(metavar="SCHEDULE")] = "1f1b"
    """Schedule of a pipeline: 1f1b, gpipe, interleaved:chunks=2, breadth_first:chunks=2, zb_h1 or greedy:memory=1 (see
    mpitrain pipeline list), or FILE.py:FUNC for one of your own. --accumulate sets the microbatches."""
    stages: Annotated[str, arg(metavar="UNIT,...")] = ""
    """Units of the model that begin a stage of the pipeline, as in 5,9 (--dry-run lists the units); empty divides the
    model by measured times."""
    channel: Literal["mpi", "nccl"] = "mpi"
    """Messages between the stages of a pipeline: by MPI, or by NCCL (between GPUs, one for each rank)."""
    context: Literal["auto", "ulysses", "ring"] = "auto"
    """Attention among the ranks of axis context: ulysses sends the tokens of some heads to each rank, ring passes keys
    and values round all ranks; auto takes ulysses where the heads divide among the ranks."""
    sequence_parallel: bool = False
    """Divide the tokens between the layers of transformer blocks, too, over axis tensor: norms, dropout and what is
    kept there for backward take a share of the memory and of the time."""
    balance: Annotated[str, arg(metavar="auto|dynamic|off|W:W:...")] = "off"
    """Division of each batch among the ranks: off for equal shares, auto for shares by the measured speed of each
    rank's own work, a weight for each rank, as in 2:1:1, or dynamic: ranks of one node take the next of --accumulate
    microbatches when they are free."""
    all_reduce: Annotated[str, arg(metavar="ALG")] = "auto"
    """Algorithm to sum gradients over the ranks: auto, native (MPI_Allreduce), shared (memory of one node), nccl
    (between GPUs), an algorithm of ``mpitrain collective list``, or FILE.py:FUNC for one of your own."""
    compress: Annotated[str, arg(metavar="CODEC")] = "none"
    """Codec of gradients on their way between ranks: none, bf16, fp16, int8, sign, topk:fraction=0.01,
    randomk:fraction=0.01, powersgd:rank=4, identity, or auto for int8 or bf16 where measurements of messages say that
    it pays. What a message leaves out is added to the next gradient; feedback=false switches that off."""
    gradient_hook: Annotated[str, arg(metavar="FILE.py:FUNC")] = ""
    """Function of your own that sums the gradients over the ranks: FUNC(group, gradient, step, state) is called for
    each bucket and leaves the sum in gradient. See docs/extending.md."""
    shard: Literal["auto", "none", "optimizer", "gradients", "weights"] = "auto"
    """Division of memory among the ranks: optimizer lets each rank update its share of the weights, and keep the
    optimizer's state of it only (ZeRO stage 1); gradients keeps a share of the gradients, too (stage 2), weights also
    one of the weights (stage 3, FSDP). auto is optimizer if the ranks share one node's memory and --all-reduce is
    auto."""
    gather_weights: Literal["auto", "once", "twice"] = "auto"
    """With --shard weights: gather the weights once and keep them from forward to the end of the step, or twice, before
    forward and before backward; auto keeps them where they take less than an eighth of the free memory."""
    offload_optimizer: Annotated[str, arg(metavar="DIR")] = ""
    """Keep the optimizer's state of each rank in a file in DIR, mapped into memory: for state larger than the memory,
    on a fast disk. The files have no names and vanish with the run."""
    sync: Annotated[str, arg(metavar="METHOD")] = EVERY_STEP
    """Exchange between the ranks: every_step sums gradients in each step. Others send less or later, with another
    result: local, post_local, diloco, easgd, daso, gossip, adasum, stale or server, with options as in
    diloco:steps=16, or FILE.py:FUNC for one of your own (see docs/ranks.md)."""
    bucket_mb: float = 0.0
    """Size of the gradient buckets that are sent while backward still runs, in MiB (the first has at most 1); 0 takes
    what mpitrain collective tune has found, or 25."""
    overlap: Literal["poll", "thread"] = "poll"
    """Progress of gradient messages during backward: poll them after each layer, or use a separate thread (for ranks
    with a spare core)."""
    threads: int = 0
    """BLAS threads of each rank; 0 takes the cores that the rank has to itself."""
    reproducible: int = 0
    """Number of virtual shards of the batch (a power of two) whose gradients are added in one fixed order: the same
    bits in every weight on 1, 2, 4 ... ranks, up to that number; 0 is faster."""
    check_every: int = 100
    """Steps between two checks that all ranks hold the same weights; 0 checks after each epoch only."""
    elastic: bool = False
    """Continue with the remaining ranks when some are lost; requires Open MPI's mpirun --with-ft ulfm."""
    timeout: float = 120.0
    """Seconds that a rank may wait for others or for its input (five times as many before the first step is done):
    then all ranks end, with a report of which rank waits for which. 0 waits forever."""

    def __post_init__(self) -> None:
        if self.sync.replace("-", "_") == EVERY_STEP:
            object.__setattr__(self, "sync", EVERY_STEP)


@dataclass(frozen=True, kw_only=True)
class Compute:
    """Devices and their precision."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Device: the CPU, or one GPU per rank; auto takes GPUs if there are any and CuPy is installed. Ranks without a
    GPU compute on the CPU."""
    precision: Literal["fp32", "tf32", "bf16"] = "fp32"
    """Precision on a GPU: fp32; tf32, to which the factors of matrix products are rounded; or bf16, the type of
    activations and of their gradients, with fp32 weights beside a copy in bf16 for products. Sums are fp32."""
    recompute: Literal["off", "blocks", "stage"] = "off"
    """Keep less for backward, and compute it again there: all but the input of each block of layers (blocks), or of all
    layers that a rank has of a model or of a stage of a pipeline (stage). It takes about a third more time."""
    cuda_graph: Literal["off", "on"] = "off"
    """Launch forward and backward of a batch on a GPU by one call (a CUDA graph), which speeds up small models. Each
    graph is first compared with the step that it repeats, bit by bit."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """Length, seed and output of the run."""

    epochs: int = 10
    """Passes over the training samples."""
    steps: int = 0
    """Steps of the run, in place of --epochs; the last epoch may be incomplete. 0 uses --epochs."""
    evaluate_every: Annotated[str, arg(metavar="STEPS|EPOCHSe")] = "1e"
    """Steps (200) or epochs (2e, 0.5e) between two evaluations; after the last step there always is one."""
    early_stop: Annotated[str, arg(metavar="SCORE:patience=N")] = ""
    """End the run when a score (loss, accuracy, or one of --metrics) has not improved for N evaluations, as
    in loss:patience=5,min_delta=0.001; by the validation samples, or without --validation by the test samples."""
    metrics: Annotated[str, arg(metavar="METRIC,...")] = ""
    """More scores, in addition to loss and accuracy (or mse and r2): accuracy, top5, topk:k=K, f1,
    f1:average=weighted, auc, confusion, mae, r2, or FILE.py:FUNC for a function (outputs, targets) of your own."""
    hook: Annotated[str, arg(metavar="HOOK,...")] = ""
    """Additions to the training: ema:decay=0.999 or swa:start=0.75 (averages of the weights), or FILE.py:FUNC for a
    function or class of your own that makes an mpitrain.Hook, with options as in mine.py:Log:every=10."""
    monitor: Annotated[str, arg(metavar="MONITOR,...")] = ""
    """Places that figures go to besides the run directory: tensorboard, sqlite (runs/runs.sqlite, for mpitrain runs),
    or FILE.py:CLASS for a hook of your own, with options as in sqlite:file=all.sqlite (see docs/monitoring.md)."""
    seed: int = 0
    """Seed of the initial weights, the order of the samples, dropout and augmentation."""
    out: Annotated[str, arg(metavar="DIR")] = ""
    """Directory of the results; empty makes runs/DATA-MODEL-N."""
    progress: Literal["auto", "bar", "lines", "none"] = "auto"
    """Display of rank 0: a live bar, one line per epoch, or nothing; auto shows the bar on a terminal only."""
    profile: bool = False
    """Write trace.json for ui.perfetto.dev: the layers and messages of all ranks over time, on one clock."""


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """Checkpoints, and the time to exit with one."""

    every: Annotated[str, arg(name="checkpoint-every", metavar="STEPS|TIME")] = "10m"
    """Steps (100) or time (10m, 1h30m) between two checkpoints; 0 or empty for none. SIGUSR2 asks for one now."""
    keep: Annotated[int, arg(name="keep-checkpoints")] = 2
    """Checkpoints that are kept; older ones are removed when a new one is complete."""
    max_time: Annotated[str, arg(metavar="TIME")] = ""
    """Time (30m, 1h30m, 12:30:00) after which to write a checkpoint and leave; empty for the end of the Slurm job."""
    exit_code: int = 85
    """Exit code of a run that left with a checkpoint (SIGTERM, SIGUSR1, no time left), to be started again."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """A training run."""

    data: Data = field(default_factory=Data)
    """Data and batches."""
    model: Model = field(default_factory=Model)
    """Network."""
    optimizer: Optimizer = field(default_factory=Optimizer)
    """Update rule and learning rate."""
    parallel: Parallel = field(default_factory=Parallel)
    """Exchange between the ranks, and checks of it."""
    checkpoint: Checkpoint = field(default_factory=Checkpoint)
    """Checkpoints, and the time to exit with one."""
    compute: Compute = field(default_factory=Compute)
    """Devices and their precision."""
    run: Run = field(default_factory=Run)
    """Length, seed and output of the run."""


def option_values(tree: Any) -> Iterator[tuple[str, Any]]:
    """Yield the values of a dataclass, including nested ones, by their names on the command line.

    Examples
    --------
    >>> dict(option_values(Config()))["--batch-size"]
    64
    """
    hints = typing.get_type_hints(type(tree), include_extras=True)
    for one in dataclasses.fields(tree):
        value, extras = getattr(tree, one.name), getattr(hints[one.name], "__metadata__", ())
        if dataclasses.is_dataclass(value):
            yield from option_values(value)
            continue
        given = {key: text for key in ("name", "metavar") for extra in extras if (text := getattr(extra, key, None))}
        is_place = any(extra in typing.get_args(Positional[Any]) for extra in extras)  # type: ignore[misc]
        yield given.get("metavar", one.name) if is_place else _option(given.get("name", one.name)), value


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def check_finite(tree: Any) -> None:
    """Raise a UserError for an option of a dataclass that is NaN or infinite."""
    for name, value in option_values(tree):
        if isinstance(value, float) and not math.isfinite(value):
            raise UserError(f"{name} is {value}, but must be a finite number")
