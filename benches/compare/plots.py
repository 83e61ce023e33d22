"""Plots of what benches/compare measured: an SVG beside each table of raw data that is there."""

import csv
import statistics
import sys
from collections import defaultdict
from pathlib import Path

import matplotlib

matplotlib.use("svg")
matplotlib.rcParams.update({"svg.hashsalt": "wabridge", "font.size": 9, "svg.fonttype": "none"})

import matplotlib.pyplot as plt  # noqa: E402

FOLDER = Path(sys.argv[1])
# One colour for each program wherever it occurs, and a broken line for the second way of input and output.
COLOURS = {"floor": "tab:gray", "wabridge": "tab:green", "rtpengine": "tab:blue", "asterisk": "tab:orange"}


def rows(name):
    """The rows of a table, none if it was not measured."""
    path = FOLDER / name
    if not path.exists():
        return []
    with path.open() as file:
        return list(csv.DictReader(file))


def style(name):
    """How the line of a program is drawn."""
    return {
        "color": COLOURS[name.split()[0].lower()],
        "linestyle": "--" if "uring" in name else "-",
        "marker": ".",
        "label": name,
    }


def lines(table, name, across, up):
    """For each program its medians: where they are drawn across, and up."""
    found = defaultdict(lambda: defaultdict(list))
    for row in table:
        if row[up]:
            found[row[name]][float(row[across])].append(float(row[up]))
    for program, points in found.items():
        yield program, sorted((x, statistics.median(all)) for x, all in points.items())


def plot(table, name, across, up, words, file, **axes):
    """One plot, with words for both axes."""
    if not table:
        return
    figure, drawn = plt.subplots(figsize=(6.5, 3.6), layout="constrained")
    for program, points in lines(table, name, across, up):
        drawn.plot(*zip(*points, strict=True), **style(program))
    drawn.set(xlabel=words[0], ylabel=words[1], **axes)
    drawn.grid(alpha=0.3)
    drawn.legend()
    figure.savefig(FOLDER / file, metadata={"Date": None})
    plt.close(figure)


def relay():
    """What a packet costs, and how late it is: only what a relay carries, for a drowned one is cheap."""
    table = [row for row in rows("relay.csv") if row["part"] == "sweep" and row["fits"] == "1" and not row["void"]]
    calls = "calls, SRTP ⇄ RTP"
    cost = (calls, "CPU-seconds for a million packets")
    plot(table, "relay", "calls", "cpu_s_per_million", cost, "relay-cpu.svg", ylim=(0, None))
    late = (calls, "delay at p99, ms")
    plot(table, "relay", "calls", "all_p99_ms", late, "relay-delay.svg", yscale="log")


def calls():
    """Whole calls, and what is kept of them in memory."""
    offered = ("offered, as multiples of the limit", "completed calls a second")
    plot(rows("overload.csv"), "program", "factor", "completed_per_s", offered, "calls-overload.svg", ylim=(0, None))
    waits = ("share of the limit", "set-up at p99, ms")
    plot(rows("calls.csv"), "program", "share", "setup_p99_ms", waits, "calls-setup.svg", yscale="log")
    up = [row for row in rows("memory.csv") if row["kb_per_call"]]
    kept = ("calls up", "kB for a call")
    plot(up, "program", "calls", "kb_per_call", kept, "memory.svg", ylim=(0, None))


relay()
calls()
