#!/usr/bin/env python3
"""Draws what `cargo bench --bench compare_calls` has measured: plot_calls.py FOLDER.

FOLDER has its CSV files (target/compare); a PNG is written beside each. What was not measured is not drawn.
"""

import csv
import sys
from collections import defaultdict
from pathlib import Path
from statistics import median

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot

COLOURS = {"wabridge": "tab:green", "asterisk": "tab:orange"}


def number(text):
    """A figure; None where there is none."""
    return float(text) if text else None


def by_program(rows):
    """The rows of each program."""
    programs = defaultdict(list)
    for row in rows:
        programs[row["program"]].append(row)
    return programs


def panels(count, height=4.5):
    """So many drawings side by side."""
    figure, axes = pyplot.subplots(1, count, figsize=(6 * count, height), layout="constrained")
    return figure, axes if count > 1 else [axes]


def points(rows, x, y):
    """Both columns, where both have a figure."""
    pairs = [(number(row[x]), number(row[y])) for row in rows]
    pairs = [pair for pair in pairs if None not in pair]
    return [pair[0] for pair in pairs], [pair[1] for pair in pairs]


def calls(rows):
    """What a call costs, and how long callers wait below the limit."""
    figure, (cost, wait) = panels(2)
    for at, (program, own) in enumerate(by_program(rows).items()):
        shares = sorted({row["share"] for row in own}, key=float)
        middle = lambda share, column: median(number(row[column]) for row in own if row["share"] == share)
        places = [index + 0.35 * at for index in range(len(shares))]
        bars = cost.bar(places, [middle(share, "calls_per_cpu_s") for share in shares], 0.3, label=program,
                        color=COLOURS.get(program))
        cost.bar_label(bars, fmt="%.0f")
        offered = [middle(share, "offered_per_s") for share in shares]
        for column, style in (("setup_p50_ms", "o--"), ("setup_p99_ms", "o-")):
            wait.plot(offered, [middle(share, column) for share in shares], style, color=COLOURS.get(program),
                      label=f"{program}, {column.split('_')[1]}")
        cost.set_xticks([index + 0.17 for index in range(len(shares))],
                        [f"{100 * float(share):.0f} % of its limit" for share in shares])
    cost.set(title="Whole calls for a second on a processor", ylabel="calls")
    wait.set(title="Set-up time", xlabel="calls offered a second", ylabel="ms", xscale="log", yscale="log")
    return figure, (cost, wait)


def overload(rows):
    """Offered against completed, and what the rest is told, for each program at multiples of its own limit."""
    figure, (rate, wait, kept) = panels(3)
    for program, own in by_program(rows).items():
        colour, limit = COLOURS.get(program), number(own[0]["limit_per_s"])
        factors = [number(row["factor"]) for row in own]
        rate.plot(factors, [number(row["completed_per_s"]) / limit for row in own], "o-", color=colour,
                  label=f"{program}: completed")
        rate.plot(factors, [number(row["busy_503"]) / number(row["seconds"]) / limit for row in own], "x:", color=colour,
                  label=f"{program}: refused with 503")
        wait.plot(*points(own, "factor", "setup_p99_ms"), "o-", color=colour, label=f"{program}: set-up, p99")
        wait.plot(*points(own, "factor", "busy_p99_ms"), "x:", color=colour, label=f"{program}: until the 503, p99")
        wait.plot(*points(own, "factor", "after_p99_ms"), ".--", color=colour, label=f"{program}: set-up 5 s after, p99")
        kept.plot(factors, [100 * number(row["kept_lost"]) for row in own], "o-", color=colour, label=f"{program}: lost, %")
        kept.plot(*points(own, "factor", "kept_p99_ms"), ".--", color=colour, label=f"{program}: delay p99, ms")
    rate.axline((0, 0), slope=1, color="lightgrey", zorder=0)
    rate.set(title="Offered and completed, in limits of each program", xlabel="offered ÷ limit", ylabel="÷ limit")
    wait.set(title="Time to an answer", xlabel="offered ÷ limit", ylabel="ms", yscale="log")
    kept.set(title="50 calls that were up before: media", xlabel="offered ÷ limit", yscale="symlog")
    return figure, (rate, wait, kept)


def memory(rows):
    """What a call takes."""
    figure, (axes,) = panels(1)
    for program, own in by_program(rows).items():
        up = [row for row in own if row["step"] == "up"]
        axes.plot(*points(up, "calls", "kb_per_call"), "o-", color=COLOURS.get(program), label=program)
    axes.set(title="Memory for a call (RssAnon)", xlabel="calls up", ylabel="kB", yscale="log")
    return figure, (axes,)


def scale(rows):
    """Whether a call costs the same however many are up."""
    figure, (cost, wait) = panels(2)
    cost.plot(*points(rows, "calls_up", "cpu_us_per_call"), "o-", color=COLOURS["wabridge"], label="wabridge")
    for column in ("setup_p50_ms", "setup_p99_ms"):
        wait.plot(*points(rows, "calls_up", column), "o-", label=column.split("_")[1])
    cost.set(title="Processor time of a whole call", xlabel="calls up", ylabel="µs", ylim=0)
    wait.set(title="Set-up time", xlabel="calls up", ylabel="ms", ylim=0)
    return figure, (cost, wait)


def main():
    """Draws whatever is there."""
    folder = Path(sys.argv[1])
    for draw in (calls, overload, memory, scale):
        source = folder / f"{draw.__name__}.csv"
        if not source.exists():
            continue
        with source.open() as file:
            rows = list(csv.DictReader(file))
        if not rows:
            continue
        figure, all_axes = draw(rows)
        for axes in all_axes:
            axes.grid(alpha=0.3)
            axes.legend(fontsize="small")
        figure.savefig(source.with_suffix(".png"), dpi=120)
        print(source.with_suffix(".png"))


main()
