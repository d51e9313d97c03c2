"""What memory_step.py found, as tables in Markdown."""

# What was asked for: at least so many times the speed of vectorised PyTorch on sparse data. Dense, on every size: no
# slower than the two products at 0.8 of their rate, and at least 3x.
FLOORS = {
    ("contrastive", 64, 55_000): 6,
    ("multi-similarity", 64, 55_000): 10,
    ("contrastive", 64, 200_000): 8,
    ("contrastive", 256, 55_000): 8,
}
DENSE_RATE, DENSE_TIMES = 0.8, 3
MOST_EXTRA = 16e6  # bytes beyond the bank


def alone(found):
    """A result of `crossbatch bench memory` in the shape of a case without peers."""
    keys = ["loss", "data", "batch", "entries", "storage", "active_negatives", "memory_bytes"]
    return {
        **{key: found[key] for key in keys},
        "seconds": {"crossbatch": found["median_seconds"], "products": found["products_seconds"]},
        "peak_extra_bytes": {"crossbatch": found["peak_extra_bytes"]},
    }


def markdown(cases, sweep, stored):
    parts = [times(cases), floors(cases), agreement(cases), memory(cases), sizes(sweep), storages(stored)]
    return "\n\n".join("\n".join(part) for part in parts) + "\n"


def head(columns):
    return ["| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]


def row(cells):
    return "| " + " | ".join(cells) + " |"


def title(result):
    return [f"{result['loss']}, {result['batch']}, {result['entries']:,}", result["data"]]


def forms(result):
    """Seconds of the forms in PyTorch."""
    return {name: seconds for name, seconds in result["seconds"].items() if name.startswith("PyTorch")}


def times(cases):
    names = list(cases[0]["seconds"])
    lines = [
        "Milliseconds of a call (value and gradient), the median of the rounds' medians; in brackets how many times "
        "crossbatch's.",
        "",
        *head(["loss, B, M", "data", "active negatives", *names]),
    ]
    for result in cases:
        ours = result["seconds"]["crossbatch"]
        cells = [f"{result['active_negatives']:.1f}", f"**{ours * 1e3:.2f}**"]
        for name in names[1:]:
            seconds = result["seconds"][name]
            cells.append(f"{seconds * 1e3:.2f} ({seconds / ours:.1f}x)")
        lines.append(row(title(result) + cells))
    return lines


def floors(cases):
    columns = ["loss, B, M", "data", "asked", "PyTorch, masks", "its best form", "of the products' rate", "extra MB"]
    lines = ["What was asked for, and what is reached (a miss is marked):", "", *head(columns)]
    mark = lambda text, reached: text if reached else f"{text} (missed)"
    for result in cases:
        floor = FLOORS.get((result["loss"], result["batch"], result["entries"]))
        if floor is None or result["data"] == "run":
            continue
        seconds, ours = result["seconds"], result["seconds"]["crossbatch"]
        masks, best = seconds["PyTorch, masks"] / ours, min(forms(result).values()) / ours
        rate = seconds["products"] / ours
        extra = result["peak_extra_bytes"]["crossbatch"]
        # What is beyond the bank is asked of the paper's batch.
        extra_text = mark(f"{extra / 1e6:.1f}", extra < MOST_EXTRA or result["batch"] != 64)
        if result["data"] == "sparse":
            cells = [f"{floor}x", mark(f"{masks:.1f}x", masks >= floor), mark(f"{best:.1f}x", best >= floor)]
            cells.append(f"{rate:.2f}")
        else:
            times = [mark(f"{value:.1f}x", value >= DENSE_TIMES) for value in (masks, best)]
            cells = [f"{DENSE_RATE} of the rate, {DENSE_TIMES}x", *times, mark(f"{rate:.2f}", rate >= DENSE_RATE)]
        lines.append(row(title(result) + [*cells, extra_text]))
    return lines


def agreement(cases):
    names = list(cases[0]["differences"])
    lines = [
        "Relative difference of a peer's value, and of its gradient by length, from crossbatch's.",
        "",
        *head(["loss, B, M", "data", *names]),
    ]
    for result in cases:
        found = [result["differences"][name] for name in names]
        lines.append(row(title(result) + [f"{each['value']:.0e}, {each['gradient']:.0e}" for each in found]))
    return lines


def memory(cases):
    names = [name for name in cases[0]["seconds"] if name != "products"]
    lines = [
        "Most memory in use at once during a call, in MB beyond bank and anchors: counted by crossbatch's allocator, and "
        "by the system for the peers.",
        "",
        *head(["loss, B, M", "data", "bank", *names]),
    ]
    for result in cases:
        peaks = result["peak_extra_bytes"]
        cells = [f"{peaks[name] / 1e6:.1f}" if name in peaks else "" for name in names]
        lines.append(row(title(result) + [f"{result['memory_bytes'] / 1e6:.1f}", *cells]))
    return lines


def sizes(sweep):
    columns = ["data", "entries", "ms", "ms a million entries", "of the products' rate", "extra MB", "fastest PyTorch"]
    columns += ["its extra MB", "pytorch-metric-learning", "its extra MB"]
    batch = sweep[0]["batch"]
    lines = [
        f"The size of the memory: contrastive, {batch} anchors; peers as far as they fit (milliseconds, how many times "
        "crossbatch's, MB beyond the bank).",
        "",
        *head(columns),
    ]
    for result in sweep:
        seconds, ours = result["seconds"], result["seconds"]["crossbatch"]
        cells = [result["data"], f"{result['entries']:,}", f"**{ours * 1e3:.2f}**"]
        cells += [f"{ours * 1e9 / result['entries']:.1f}", f"{seconds['products'] / ours:.2f}"]
        cells.append(f"{result['peak_extra_bytes']['crossbatch'] / 1e6:.2f}")
        found = forms(result)
        best = min(found, key=found.get) if found else None
        for name in (best, "pytorch-metric-learning"):
            if name in seconds:
                cells.append(f"{seconds[name] * 1e3:.1f} ({seconds[name] / ours:.1f}x)")
                peak = result["peak_extra_bytes"].get(name)
                cells.append("" if peak is None else f"{peak / 1e6:.0f}")
            else:
                cells += ["", ""]
        lines.append(row(cells))
    return lines


def storages(stored):
    entries = stored[0]["entries"]
    lines = [
        f"What the memory stores: contrastive, {stored[0]['batch']} anchors, {entries:,} entries; products are always f32.",
        "",
        *head(["storage", "data", "ms", "of the products' rate", "memory MB", "extra MB"]),
    ]
    for result in stored:
        ours = result["seconds"]["crossbatch"]
        cells = [result["storage"], result["data"], f"{ours * 1e3:.2f}", f"{result['seconds']['products'] / ours:.2f}"]
        cells += [f"{result['memory_bytes'] / 1e6:.1f}", f"{result['peak_extra_bytes']['crossbatch'] / 1e6:.2f}"]
        lines.append(row(cells))
    return lines


def write_docs(path, text):
    """Puts the tables between the two marks that the page has for them."""
    begin, end = "<!-- memory_step: begin -->\n", "<!-- memory_step: end -->\n"
    before, rest = path.read_text().split(begin)
    _, after = rest.split(end)
    path.write_text(before + begin + "\n" + text + "\n" + end + after)
