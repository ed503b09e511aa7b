"""Check of the values of a configuration, and of those that exclude each other."""

from .balance_options import parse_balance
from .config import Config, check_finite
from .duration import check_interval, parse_time
from .errors import UserError
from .lora_options import parse_lora
from .registry import take_option
from .run_rules import check_sync, parse_early_stop, parse_evaluate_every, parse_fold


def check(config: Config) -> None:
    """Raise a UserError for a value outside its range."""
    check_finite(config)
    d, m, o, p, r = config.data, config.model, config.optimizer, config.parallel, config.run
    c = config.checkpoint
    warmup = o.warmup >= 0 and (o.warmup <= r.epochs or r.steps > 0)
    ranges = [
        ("--epochs", r.epochs, r.epochs >= 1, "at least 1"),
        ("--steps", r.steps, r.steps >= 0, "0 or more"),
        ("--seed", r.seed, 0 <= r.seed < 2**63, "from 0 to 2**63 - 1"),
        ("--batch-size", d.batch_size, d.batch_size >= 1, "at least 1"),
        ("--batch-tokens", d.batch_tokens, d.batch_tokens >= 0, "0 or more"),
        ("--test-fraction", d.test_fraction, 0 < d.test_fraction < 1, "between 0 and 1"),
        ("--crop", d.crop, d.crop >= 0, "0 or more"),
        ("--prefetch", d.prefetch, d.prefetch >= 0, "0 or more"),
        ("--widths", m.widths, all(w >= 1 for w in m.widths), "positive"),
        ("--dropout", m.dropout, 0 <= m.dropout < 1, "at least 0 and below 1"),
        ("--lr", o.lr, o.peak_lr > 0, "positive"),
        ("--momentum", o.momentum, 0 <= o.momentum < 1, "at least 0 and below 1"),
        ("--weight-decay", o.weight_decay, o.weight_decay >= 0, "0 or more"),
        ("--warmup", o.warmup, warmup, f"between 0 and the number of epochs, {r.epochs}"),
        ("--decay-every", o.decay_every, o.decay_every >= 1, "at least 1"),
        ("--decay-factor", o.decay_factor, 0 < o.decay_factor <= 1, "above 0 and at most 1"),
        ("--clip-norm", o.clip_norm, o.clip_norm >= 0, "0 or more"),
        ("--label-smoothing", o.label_smoothing, 0 <= o.label_smoothing < 1, "at least 0 and below 1"),
        ("--accumulate", o.accumulate, o.accumulate >= 0, "0 or more"),
        ("--bucket-mb", p.bucket_mb, p.bucket_mb >= 0, "0 or more"),
        ("--threads", p.threads, p.threads >= 0, "0 or more"),
        ("--check-every", p.check_every, p.check_every >= 0, "0 or more"),
        ("--timeout", p.timeout, p.timeout >= 0, "0 or more"),
        ("--reproducible", p.reproducible, p.reproducible.bit_count() <= 1, "a power of two, or 0"),
        ("--keep-checkpoints", c.keep, c.keep >= 1, "at least 1"),
        ("--exit-code", c.exit_code, 0 <= c.exit_code <= 125, "between 0 and 125"),
    ]
    if (text := take_option(o.name, "lr")[1]) is not None:
        raise UserError(f"lr in --optimizer is {text!r}, but must be a number")
    if d.validation < 0 or (d.validation >= 1 and d.validation != int(d.validation)):
        raise UserError(f"--validation is {d.validation:g}, but must be a share below 1, or a whole number of samples")
    if d.fold:
        parse_fold(d.fold)
        if d.validation:
            raise UserError("--fold and --validation both say which samples to validate on: leave one of them out")
    if p.elastic and p.reproducible:
        raise UserError("--elastic and --reproducible exclude each other: fewer ranks would not divide the shards")
    for name, value, right, wanted in ranges:
        if not right:
            raise UserError(f"{name} is {value}, but must be {wanted}")
    if p.reproducible and (o.accumulate > 1 or m.batch_norm == "local"):
        option = "--accumulate" if o.accumulate > 1 else "--batch-norm local"
        raise UserError(
            f"{option} does not go with --reproducible, whose shards are microbatches with common statistics"
        )
    weights = parse_balance(p.balance)
    if p.reproducible and p.balance != "off":
        raise UserError(f"--balance {p.balance} does not go with --reproducible, whose shards are equal")
    if p.balance == "dynamic":
        _check_dynamic(config)
    if p.elastic and weights:
        raise UserError(
            "--elastic does not go with weights in --balance, which would be those of other ranks after a loss"
        )
    if r.profile and config.compute.cuda_graph == "on":
        raise UserError("--profile times layers, and a CUDA graph has no calls of layers: leave one of them out")
    for option, value in (("--compress", p.compress), ("--gradient-hook", p.gradient_hook)):
        if value not in ("", "none") and p.reproducible:
            raise UserError(f"{option} does not go with --reproducible, which adds gradients in one fixed order")
    shards = p.shard not in ("auto", "none")
    for option, given in (("--reproducible", p.reproducible), ("--elastic", p.elastic)):
        if shards and given:
            raise UserError(
                f"--shard {p.shard} does not go with {option}, which needs the whole optimizer state on every rank"
            )
    _check_divided(config)
    others = {
        f"--shard {p.shard}": shards,
        "--reproducible": p.reproducible > 0,
        "--elastic": p.elastic,
        "--compress": p.compress != "none",
        "--gradient-hook": bool(p.gradient_hook),
        f"--balance {p.balance}": p.balance != "off",
    }
    check_sync(p.sync, others)
    parse_lora(m.lora)
    check_interval(c.every)
    parse_evaluate_every(r.evaluate_every)
    parse_early_stop(r.early_stop)
    if c.max_time:
        parse_time(c.max_time)


def _check_divided(config: Config) -> None:
    """Check what goes with --shard gradients and weights, and with --offload-optimizer."""
    p = config.parallel
    if p.gather_weights != "auto" and p.shard != "weights":
        raise UserError(f"--gather-weights {p.gather_weights} is for --shard weights, which divides the weights")
    if p.offload_optimizer and p.elastic:
        raise UserError("--offload-optimizer does not go with --elastic, which copies the optimizer's state every step")
    if p.shard not in ("gradients", "weights"):
        return
    if p.balance == "dynamic":
        raise UserError(f"--shard {p.shard} does not go with --balance dynamic: ranks would sum other microbatches")
    if config.compute.cuda_graph == "on":
        raise UserError(f"--shard {p.shard} does not go with --cuda-graph, whose memory stays where it is")


def _check_dynamic(config: Config) -> None:
    if config.optimizer.accumulate < 2:
        raise UserError("--balance dynamic hands out microbatches: give their number as --accumulate, such as 16")
    for option, given in (("--elastic", config.parallel.elastic), ("--cuda-graph", config.compute.cuda_graph == "on")):
        if given:
            raise UserError(f"--balance dynamic does not go with {option}")
