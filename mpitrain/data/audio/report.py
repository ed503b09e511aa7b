"""Text report on sound files: kinds, lengths, rates, and files that are damaged or left out."""

from collections.abc import Iterator

from ..media.store import Findings
from .parts import Spectrogram, audio_parts

MOST = 10  # files that are named


def describe_audio(place: str) -> Iterator[str]:
    """Yield lines on the files of each split of ``audio:place``, whose features are computed for it."""
    parts = audio_parts(place)
    form = parts.form()
    assert isinstance(form, Spectrogram)
    frames, bands, _ = form.dims
    yield f"{parts.where}: all sounds become {form.seconds:g} s at {form.rate:,} Hz, {frames} frames of {bands} bands"
    for part, store in parts.stores().items():
        _, found = store.open()
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in found.kinds.most_common()) or "none of them a sound"
        yield f"  {'training' if part == 'train' else part:<10} {len(store.files):,} files: {kinds}"
        if found.kinds:
            yield f"  {'':<10} {_range(found, 'seconds')} s, {_range(found, 'rate')} Hz"
            yield from (f"! {note}" for note in form.notes(found.ranges, part))
        for number in sorted(found.bad)[:MOST]:
            yield f"! {store.files[number]}: {found.bad[number]}"
        if len(found.bad) > MOST:
            yield f"! and {len(found.bad) - MOST:,} more files that cannot be decoded"


def _range(found: Findings, name: str) -> str:
    low, high = (f"{size:,.0f}" if name == "rate" else f"{size:.3g}" for size in found.ranges[name])
    return low if low == high else f"{low} to {high}"
