#!/usr/bin/env python3
"""Draws the dashboards beside it with matplotlib, from the same queries to a Prometheus: pictures for the documentation.

Not Grafana: places, titles, units and queries are the dashboard's, everything else is an approximation.

    cargo xtask test --dashboards --hold 600     # says where its Prometheus is
    python3 deploy/grafana/render.py --url http://127.0.0.1:PORT docs/dashboards
"""

import argparse
import json
import math
import pathlib
import time
import urllib.parse
import urllib.request

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot  # noqa: E402
from matplotlib.ticker import FuncFormatter  # noqa: E402
from PIL import Image  # noqa: E402

COLOURS = ["#7eb26d", "#eab839", "#6ed0e0", "#ef843c", "#e24d42", "#1f78c1", "#ba43a9", "#705da0", "#508642", "#cca300"]
GROUND, PANEL, TEXT, FAINT = "#111217", "#181b1f", "#ccccdc", "#8e8e9e"
SCALES = [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")]
SUFFIX = {"bytes": "B", "Bps": "B/s", "watt": "W", "joule": "J", "hertz": "Hz", "celsius": "°C", "reqps": "/s", "ops": "/s", "iops": "/s"}
UNIT = 27  # pixels of one grid row
WIDTH = 1500


def words(value, unit):
    """A number as a reader would write it, with its unit."""
    if value is None or math.isnan(value):
        return "-"
    if unit == "percentunit":
        return f"{value * 100:.3g} %"
    if unit == "s":
        for factor, name in ((1, "s"), (1e3, "ms"), (1e6, "µs")):
            if abs(value) * factor >= 1 or name == "µs":
                return f"{value * factor:.3g} {name}" if value else "0 s"
    for size, letter in SCALES:
        if abs(value) >= size:
            return f"{value / size:.3g} {letter}{SUFFIX.get(unit, '')}"
    return f"{value:.3g} {SUFFIX.get(unit, '')}".rstrip()


class Prometheus:
    def __init__(self, url, seconds):
        self.url, self.end, self.seconds = url, time.time(), seconds

    def ask(self, expression, ranged):
        # One agent is all that this Prometheus has.
        for name, every in (("namespace", ".*"), ("service", ".+"), ("model", ".*"), ("job", ".+"), ("instance", ".+")):
            expression = expression.replace(f'"${name}"', f'"{every}"')
        fields = {"query": expression.replace("$__rate_interval", "10s")}
        if ranged:
            fields.update(start=self.end - self.seconds, end=self.end, step=max(1, self.seconds // 120))
        else:
            fields["time"] = self.end
        path = "query_range" if ranged else "query"
        with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(fields)}") as answer:
            return json.load(answer)["data"]["result"]


def legend(target, labels):
    text = target.get("legendFormat", "")
    for part in [piece.split("}}")[0] for piece in text.split("{{")[1:]]:
        text = text.replace("{{" + part + "}}", labels.get(part, ""))
    return text.strip() or "value"


def lines(axes, panel, source, start):
    unit, custom = panel["fieldConfig"]["defaults"]["unit"], panel["fieldConfig"]["defaults"]["custom"]
    series = [(legend(t, row["metric"]), row["values"]) for t in panel["targets"] for row in source.ask(t["expr"], True)]
    series = [(name, [(at - start, float(v)) for at, v in values if v not in ("NaN", "+Inf")]) for name, values in series]
    series = sorted((s for s in series if s[1]), key=lambda s: -sum(v for _, v in s[1]) / len(s[1]))
    if not series:
        axes.text(0.5, 0.5, "no data", color=FAINT, ha="center", transform=axes.transAxes)
    if custom["stacking"]["mode"] == "normal" and series:
        times = sorted({at for _, values in series for at, _ in values})
        rows = [[dict(values).get(at, 0) for at in times] for _, values in series]
        axes.stackplot(times, rows, colors=COLOURS, alpha=0.7, labels=[name for name, _ in series])
    else:
        for (name, values), colour in zip(series, COLOURS * 9):
            axes.plot(*zip(*values), color=colour, linewidth=1.2, label=name)
    for step in panel["fieldConfig"]["defaults"].get("thresholds", {}).get("steps", [])[1:]:
        if step["value"] <= axes.get_ylim()[1] * 1.5:
            axes.axhline(step["value"], color="#e24d42", linewidth=0.8, linestyle="--")
    if panel["fieldConfig"]["defaults"].get("min") == 0:
        axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: words(value, unit)))
    axes.set_xlim(0, source.seconds)
    handles, names = axes.get_legend_handles_labels()
    shown = [f"{name[:34]}  {words(values[-1][1], unit)}" for name, values in series][:8]
    if shown:
        columns = 1 if panel["options"]["legend"]["placement"] == "right" else 2
        axes.legend(handles[:8], shown, fontsize=6, ncol=columns, loc="upper left", frameon=True, facecolor=PANEL,
                    edgecolor="none", labelcolor=TEXT, framealpha=0.6, handlelength=1)


def heat(axes, panel, source, start):
    unit = panel["options"]["yAxis"]["unit"]
    rows = [row for t in panel["targets"] for row in source.ask(t["expr"], True)]
    rows = sorted((float(row["metric"]["le"].replace("+Inf", "inf")), dict(row["values"])) for row in rows)
    times = sorted({at for _, values in rows for at in values})
    below, table = dict.fromkeys(times, 0.0), []
    for _, values in rows:
        now = {at: float(values.get(at, "0")) for at in times}
        table.append([max(0.0, now[at] - below[at]) for at in times])
        below = now
    used = [at for at, row in enumerate(table) if max(row, default=0) > 0]
    if not used:
        return axes.text(0.5, 0.5, "no data", color=FAINT, ha="center", transform=axes.transAxes)
    first, last = max(0, used[0] - 1), min(len(table), used[-1] + 2)
    axes.imshow(table[first:last], aspect="auto", origin="lower", cmap="inferno", extent=(times[0] - start, times[-1] - start, 0, last - first))
    axes.set_yticks(range(1, last - first + 1))
    axes.set_yticklabels([words(edge, unit) if math.isfinite(edge) else "more" for edge, _ in rows[first:last]], fontsize=6)
    axes.set_xlim(0, source.seconds)


def states(axes, panel, source, start):
    found = [(legend(t, row["metric"]), row["values"]) for t in panel["targets"] for row in source.ask(t["expr"], True)]
    texts = panel["fieldConfig"]["defaults"]["mappings"][0]["options"]
    shades = {"red": "#e24d42", "green": "#7eb26d", "blue": "#1f78c1"}
    for at, (_, values) in enumerate(found):
        for time_, value in values:
            colour = shades[texts[value]["color"]] if value in texts else FAINT
            axes.barh(at, source.seconds / 100, left=time_ - start, color=colour, height=0.7)
    axes.set_yticks(range(len(found)))
    axes.set_yticklabels([name for name, _ in found], fontsize=6)
    axes.set_xlim(0, source.seconds)


def stat(axes, panel, source, _):
    rows = [row for t in panel["targets"] for row in source.ask(t["expr"], False)]
    value = float(rows[0]["value"][1]) if rows else None
    steps = panel["fieldConfig"]["defaults"].get("thresholds", {}).get("steps", [])
    colour = TEXT if len(steps) < 2 or value is None else "#e24d42" if value >= steps[1]["value"] else "#73bf69"
    axes.text(0.5, 0.45, words(value, panel["fieldConfig"]["defaults"]["unit"]), color=colour, fontsize=17, ha="center", va="center")
    axes.axis("off")


def bars(axes, panel, source, _):
    rows = [(legend(t, row["metric"]), float(row["value"][1])) for t in panel["targets"] for row in source.ask(t["expr"], False)]
    rows = sorted((row for row in rows if not math.isnan(row[1])), key=lambda row: row[1])
    axes.barh([name for name, _ in rows], [value for _, value in rows], color="#1f78c1")
    for at, (_, value) in enumerate(rows):
        axes.text(value, at, " " + words(value, panel["fieldConfig"]["defaults"]["unit"]), color=TEXT, fontsize=6, va="center")
    axes.set_xticks([])


def table(axes, panel, source, _):
    organize = panel["transformations"][-1]["options"]
    units = {o["matcher"]["options"]: p["value"] for o in panel["fieldConfig"]["overrides"] for p in o["properties"] if p["id"] == "unit"}
    lines_, keys = {}, []
    for target in panel["targets"]:
        column = "Value" if len(panel["targets"]) == 1 else f"Value #{target['refId']}"
        for row in source.ask(target["expr"], False):
            labels = tuple(sorted(row["metric"].items()))
            cells = lines_.setdefault(labels, dict(labels))
            cells[column] = float(row["value"][1])
    for cells in lines_.values():
        keys += [key for key in cells if key not in keys and key not in organize["excludeByName"]]
    keys.sort(key=lambda key: key.startswith("Value"))
    axes.axis("off")
    if not keys:
        return
    named = [organize["renameByName"].get(key, key) for key in keys]
    cell = lambda key, name, value: words(value, units.get(name, "short")) if isinstance(value, float) else str(value or "")[:26]  # noqa: E731
    room = max(2, panel["gridPos"]["h"] - 2)
    rows = [[cell(key, name, cells.get(key)) for key, name in zip(keys, named)] for cells in lines_.values()][:room]
    drawn = axes.table(cellText=[named, *rows], loc="upper left", cellLoc="left", edges="horizontal")
    drawn.auto_set_font_size(False)
    drawn.set_fontsize(7)
    for part in drawn.get_celld().values():
        part.set_text_props(color=TEXT)
        part.set_edgecolor("#2c3235")
        part.set_height(0.95 / (room + 1))


DRAW = {"timeseries": lines, "heatmap": heat, "state-timeline": states, "stat": stat, "bargauge": bars, "table": table}


def draw(file, source, folder):
    dashboard = json.loads(file.read_text())
    height = max(p["gridPos"]["y"] + p["gridPos"]["h"] for p in dashboard["panels"]) + 2
    figure = pyplot.figure(figsize=(WIDTH / 100, height * UNIT / 100), dpi=100, facecolor=GROUND)
    figure.text(0.008, 1 - 1 / height, dashboard["title"] + "   (drawn from the dashboard's queries, not by Grafana)", color=TEXT, fontsize=12, va="center")
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        left, top = place["x"] / 24, 1 - (place["y"] + 2) / height
        if panel["type"] == "row":
            figure.text(0.008, top - 0.5 / height, panel["title"], color=TEXT, fontsize=10, weight="bold", va="center")
            continue
        wide = panel["type"] in ("state-timeline", "bargauge")
        inner = (0.1 if wide else 0.028) if panel["type"] not in ("stat", "table") else 0.008
        axes = figure.add_axes((left + inner, top - (place["h"] - 0.7) / height, place["w"] / 24 - inner - 0.012, (place["h"] - 1.8) / height), facecolor=PANEL)
        figure.text(left + 0.008, top - 0.55 / height, panel["title"], color=TEXT, fontsize=8, va="center")
        axes.tick_params(colors=FAINT, labelsize=6, length=0)
        for side in axes.spines.values():
            side.set_color("#2c3235")
        DRAW[panel["type"]](axes, panel, source, source.end - source.seconds)
    path = folder / f"{file.stem}.png"
    figure.savefig(path, facecolor=GROUND)
    pyplot.close(figure)
    Image.open(path).convert("RGB").quantize(48, dither=Image.Dither.NONE).save(path, optimize=True)
    print(path, path.stat().st_size)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--url", required=True, help="where Prometheus is")
    parser.add_argument("--seconds", type=int, default=120, help="how much of the past to draw")
    parser.add_argument("folder", type=pathlib.Path)
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    source = Prometheus(args.url, args.seconds)
    for file in sorted(pathlib.Path(__file__).parent.glob("*.json")):
        draw(file, source, args.folder)


if __name__ == "__main__":
    main()
