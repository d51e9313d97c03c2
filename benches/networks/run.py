"""Whole training steps and inference beside PyTorch, taking turns in one run; see run.sh.

    python run.py PROGRAM [--rounds 3] [--threads 2] [--only NAME] [--write docs/benchmarks.md]
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys

# name, batch, size, channels, steps
NETWORKS = [
    ("conv4", 64, 28, 1, 20),
    ("resnet18", 32, 112, 3, 5),
    ("resnet50", 8, 224, 3, 5),
]
LAYOUTS = ["eager", "channels_last"]
START, END = "<!-- networks: benches/networks/run.sh -->", "<!-- end of networks -->"


def measured(command, threads):
    """The JSON that a command prints, and its most resident bytes."""
    environment = dict(os.environ, OMP_NUM_THREADS=str(threads), RAYON_NUM_THREADS=str(threads))
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment)
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(map(str, command))} failed")
    return json.loads(output)["median_seconds"], usage.ru_maxrss * 1024


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only")
    parser.add_argument("--write", type=pathlib.Path)
    options = parser.parse_args()
    peer = pathlib.Path(__file__).with_name("networks.py")

    lines = [
        "| | crossbatch | PyTorch eager | PyTorch channels_last | better of them / ours | peak MB: ours | PyTorch |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for name, batch, size, channels, steps in NETWORKS:
        if options.only and options.only != name:
            continue
        for what in ["step", "infer"]:
            sizes = [str(value) for value in (batch, size, channels, steps, options.threads)]
            ours = [options.program, "bench", what, "--model", name, "--batch", sizes[0], "--size", sizes[1]]
            ours += ["--channels", sizes[2], "--steps", sizes[3], "--threads", sizes[4], "--format", "json"]
            commands = {"ours": ours}
            for layout in LAYOUTS:
                commands[layout] = [sys.executable, peer, what, name, *sizes, layout]
            times, peaks = {key: [] for key in commands}, {key: 0 for key in commands}
            for turn in range(options.rounds):
                keys = list(commands)
                for key in keys[turn % 3 :] + keys[: turn % 3]:
                    seconds, peak = measured(commands[key], options.threads)
                    times[key].append(seconds)
                    peaks[key] = max(peaks[key], peak)
            medians = {key: statistics.median(values) for key, values in times.items()}
            better = min(LAYOUTS, key=medians.get)

            def cell(key):
                seconds = medians[key]
                return f"{seconds * 1e3:.1f} ms" if what == "step" else f"{batch / seconds:.1f} images/s"

            work = "step" if what == "step" else "inference"
            lines.append(
                f"| {name} {work}, {batch} x {channels} x {size} x {size} | {cell('ours')} | {cell('eager')} "
                f"| {cell('channels_last')} | {medians[better] / medians['ours']:.2f} "
                f"| {peaks['ours'] / 1e6:.0f} | {peaks[better] / 1e6:.0f} |"
            )
            print(lines[-1], flush=True)
    table = "\n".join(lines)
    print("\n" + table)
    if options.write:
        text = options.write.read_text()
        before, rest = text.split(START)
        options.write.write_text(f"{before}{START}\n{table}\n{END}{rest.split(END)[1]}")


if __name__ == "__main__":
    main()
