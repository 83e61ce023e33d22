"""The table and the plots of docs/sound.md, from what was measured."""

import re
from pathlib import Path

import matplotlib

import measure
import reference
import speech

matplotlib.use("svg")
matplotlib.rcParams.update({"svg.hashsalt": "wabridge", "font.size": 9, "svg.fonttype": "none"})

import matplotlib.pyplot as plt  # noqa: E402

PAGE = Path("docs/sound.md")
PLOTS = Path("docs/sound")
WAYS = {"user": "the user hears", "pbx": "the PBX hears"}
NAMES = {
    "wabridge": "wabridge", "asterisk": "Asterisk", "asterisk-buffered": "Asterisk, JITTERBUFFER(adaptive)",
    "rtpengine": "rtpengine",
}  # fmt: skip


def write(rows, machine):
    """Everything between the page's marks, and a file for each plot."""
    text = PAGE.read_text()
    text = put(text, "sound: bridge", bridge(rows))
    text = put(text, "sound: beside", beside(rows))
    text = put(text, "sound: complexity", complexities())
    text = put(text, "sound: machine", machine)
    PAGE.write_text(text)
    PLOTS.mkdir(exist_ok=True)
    for to in WAYS:
        plot(rows, to, "lost", "lost, %", PLOTS / f"loss-{to}.svg")
        plot(rows, to, "jitter", "jitter, ms", PLOTS / f"jitter-{to}.svg")


def put(text, name, figures):
    """Figures between two marks."""
    marks = f"<!-- {name} -->", f"<!-- {name}, end -->"
    found = re.search(f"{re.escape(marks[0])}.*{re.escape(marks[1])}", text, re.S)
    assert found, f"{PAGE} has no {marks[0]}"
    return text[: found.start()] + f"{marks[0]}\n{figures}\n{marks[1]}" + text[found.end() :]


def cell(row):
    """MOS, delay and level of one direction."""
    return f"{row['mos']:.2f}, {row['delay_ms']:.0f}, {row['level_db']:+.1f}"


def table(head, lines):
    """As Markdown has it."""
    rule = ["---"] + ["--:"] * (len(head) - 1)
    return "\n".join("| " + " | ".join(line) + " |" for line in [head, rule, *lines])


def bridge(rows):
    """Each pair over each path."""
    rows = [row for row in rows if row["through"] == "wabridge"]
    pairs = list(dict.fromkeys(tuple(row["codecs"]) for row in rows if row["to"] == "pbx"))
    parts = []
    for to, heading in WAYS.items():
        columns = [pair[::-1] if to == "user" else pair for pair in pairs]
        head = [f"{heading}"] + [f"{first} → {last}" for first, last in columns]
        found = {(row["path"], tuple(row["codecs"])): row for row in rows if row["to"] == to}
        best = [next(row["best"] for row in rows if tuple(row["codecs"]) == pair) for pair in columns]
        lines = [["the codecs alone, offline"] + [f"{mos:.2f}" for mos in best]]
        for path in dict.fromkeys(row["path"] for row in rows):
            cells = [found.get((path, pair)) for pair in columns]
            lines.append([path] + [cell(row) if row else "" for row in cells])
        parts.append(table(head, lines))
    return "\n\n".join(parts)


def complexities():
    """What the bridge's encoder makes of a PBX's sound, offline, the harder it works and with FEC or without."""
    lines = []
    sounds = {rate: speech.read(f"target/tests/sound/speech-{rate}.wav")[1] for rate in (8_000, 16_000)}
    for codec, rate in (("pcmu", 8_000), ("g722", 16_000)):
        sound = reference.coded(codec, rate, sounds[rate], reference.FAR_END)
        for fec in ("with FEC for 5 % of loss", "without FEC"):
            reference.OPUS["packet_loss"] = "5" if "with " in fec else "0"
            made = [reference.coded("opus", rate, sound, complexity) for complexity in (0, 2, 5, 9)]
            heard = [measure.heard(rate, sounds[rate], rate, one, 0.0).mos for one in made]
            lines.append([f"{codec} → opus, {fec}"] + [f"{mos:.2f}" for mos in heard])
    reference.OPUS["packet_loss"] = "5"
    return table(["complexity", "0", "2", "5", "9"], lines)


def beside(rows):
    """opus ⇄ pcmu through all programs."""
    rows = [row for row in rows if set(row["codecs"]) == {"opus", "pcmu"}]
    paths = list(dict.fromkeys(row["path"] for row in rows if row["through"] != "wabridge"))
    parts = []
    for to, heading in WAYS.items():
        found = {(row["path"], row["through"]): row for row in rows if row["to"] == to}
        lines = []
        for path in paths:
            cells = [found.get((path, program)) for program in NAMES]
            lines.append([path] + [cell(row) if row else "no call" for row in cells])
        parts.append(table([heading] + list(NAMES.values()), lines))
    return "\n\n".join(parts)


def plot(rows, to, what, label, file):
    """MOS over how bad the path is."""
    rows = [row for row in rows if row["to"] == to and set(row["codecs"]) == {"opus", "pcmu"}]
    figure, axes = plt.subplots(figsize=(5.2, 3.2), layout="constrained")
    for program, name in NAMES.items():
        for ending, style in (("", "o-"), (" in bursts", "s--")) if what == "lost" else (("", "o-"),):
            points = []
            for row in rows:
                pattern = rf"(\d+) (% lost{ending}|ms of jitter)$" if what == "lost" else r"(\d+) (ms of jitter)$"
                place = re.fullmatch(pattern, row["path"])
                wrong = place and what == "lost" and "jitter" in place[2]
                if row["through"] == program and (row["path"] == "a clear path" or (place and not wrong)):
                    points.append((int(place[1]) if place else 0, row["mos"]))
            if points:
                axes.plot(*zip(*sorted(points)), style, label=name + ending, markersize=4, linewidth=1.2)
    axes.set(xlabel=label, ylabel="MOS-LQO (P.862.1)", ylim=(1, 4.5))
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7)
    figure.savefig(file, metadata={"Date": None})
    plt.close(figure)
