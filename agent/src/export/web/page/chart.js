// A line chart of one service's last fifteen minutes: axes, a readout under the pointer or by arrow keys, and its
// description in words.

import { name } from "./changes.js";
import { el, say, set, svg } from "./dom.js";
import { clock } from "./format.js";

const HEIGHT = 132;
const EDGE = { left: 52, right: 10, top: 8, bottom: 20 };
let charts = 0;

/** A round number at or above a value, of which a third or a half is round too. */
function ceiling(value) {
  if (!(value > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 3, 4, 6, 8, 10].map((step) => step * power).find((round) => round >= value * 0.999);
}

/** Points as a path; what stands alone is a dot. */
function path(values, x, y) {
  let text = "";
  values.forEach((value, at) => {
    if (value === null) return;
    const joins = at > 0 && values[at - 1] !== null;
    const alone = !joins && (at + 1 >= values.length || values[at + 1] === null);
    text += `${joins ? "L" : "M"}${x(at).toFixed(1)} ${y(value).toFixed(1)}${alone ? "h0" : ""}`;
  });
  return text;
}

export class Chart {
  /** lines: [{ key, name }]; text(value) spells a value with its unit; moved(at) hears of the cursor. */
  constructor({ title, about, lines, text, moved }) {
    Object.assign(this, { title, lines, text, moved, series: null, marks: [], at: null });
    const id = `chart-${++charts}`;
    this.describe = svg("desc", { id: `${id}-desc` });
    this.svg = svg("svg", { role: "img", "aria-labelledby": `${id}-title ${id}-desc`, height: HEIGHT },
      svg("title", { id: `${id}-title` }, `${title}: ${about}`), this.describe);
    this.grid = svg("g", { class: "grid" });
    this.changes = svg("g", { class: "changes" });
    this.paths = lines.map((_, n) => svg("path", { class: `line line${n}` }));
    this.rule = svg("line", { class: "rule", y1: EDGE.top, y2: HEIGHT - EDGE.bottom });
    this.svg.append(this.grid, this.changes, ...this.paths, this.rule);
    this.values = lines.map(() => el("output", {}));
    const keys = lines.map((line, n) => el("span", {}, el("i", { class: `key line${n}` }), `${line.name} `, this.values[n]));
    this.when = el("span", { class: "quiet when" });
    this.slider = el("div", {
      class: "plot", role: "slider", tabindex: 0, "aria-label": `${title}, through the last 15 minutes`,
      "aria-valuemin": 0, "aria-valuemax": 0, "aria-valuenow": 0,
    }, this.svg);
    this.node = el("figure", {}, el("figcaption", {}, el("b", { title: about }, title), ...keys, this.when), this.slider);
    this.listen();
    new ResizeObserver(() => this.draw()).observe(this.slider);
  }

  listen() {
    this.slider.addEventListener("pointermove", (event) => {
      if (!this.series) return;
      const from = (event.clientX - this.slider.getBoundingClientRect().left - EDGE.left) / this.inner();
      this.moved(Math.max(0, Math.min(this.last(), Math.round(from * this.last()))));
    });
    this.slider.addEventListener("pointerleave", () => this.moved(null));
    this.slider.addEventListener("blur", () => this.moved(null));
    this.slider.addEventListener("keydown", (event) => {
      const last = this.last();
      const at = this.at ?? last;
      const to = { ArrowLeft: at - 1, ArrowRight: at + 1, PageUp: at + 12, PageDown: at - 12, Home: 0, End: last, Escape: null };
      if (!(event.key in to) || !this.series) return;
      event.preventDefault();
      this.moved(to[event.key] === null ? null : Math.max(0, Math.min(last, to[event.key])));
    });
  }

  inner() {
    return Math.max(40, this.slider.clientWidth - EDGE.left - EDGE.right);
  }

  last() {
    return this.series ? this.series[this.lines[0].key].length - 1 : 0;
  }

  /** Shows a series, with marks where something changed. */
  show(series, marks) {
    Object.assign(this, { series, marks });
    this.draw();
  }

  draw() {
    if (!this.series || !this.slider.clientWidth) return;
    const columns = this.lines.map((line) => this.series[line.key]);
    const known = columns.flat().filter((value) => value !== null);
    const top = ceiling(Math.max(0, ...known));
    const [width, last] = [this.inner(), this.last()];
    const x = (at) => EDGE.left + (width * at) / Math.max(1, last);
    const y = (value) => HEIGHT - EDGE.bottom - ((HEIGHT - EDGE.bottom - EDGE.top) * value) / top;
    set(this.svg, "width", this.slider.clientWidth);
    set(this.svg, "viewBox", `0 0 ${this.slider.clientWidth} ${HEIGHT}`);
    columns.forEach((values, n) => set(this.paths[n], "d", path(values, x, y)));
    this.axes(x, y, top, width);
    this.marked(x);
    this.x = x;
    this.read();
    const ends = columns.map((values, n) => {
      const some = values.filter((value) => value !== null);
      const most = some.length ? `up to ${this.text(Math.max(...some))}` : "nothing";
      return `${this.lines[n].name}: ${most}`;
    });
    say(this.describe, `Of the last 15 minutes. ${ends.join("; ")}.`);
  }

  /** A line at each change within these minutes. */
  marked(x) {
    const { end_unix_s, step_s } = this.series;
    const last = this.last();
    const places = this.marks.map((mark) => [last - (end_unix_s - mark.time_unix_s) / step_s, mark]);
    const lines = places.filter(([at]) => at >= 0 && at <= last + 1).map(([at, mark]) => {
      const place = x(Math.min(at, last));
      return svg("line", { x1: place, x2: place, y1: EDGE.top, y2: HEIGHT - EDGE.bottom },
        svg("title", {}, `${clock(mark.time_unix_s)} ${name(mark)}`));
    });
    this.changes.replaceChildren(...lines);
  }

  axes(x, y, top, width) {
    const marks = [];
    for (const part of [0, 0.5, 1]) {
      const at = y(top * part);
      marks.push(svg("line", { x1: EDGE.left, x2: EDGE.left + width, y1: at, y2: at }));
      marks.push(svg("text", { x: EDGE.left - 6, y: at + 4, "text-anchor": "end" }, this.text(top * part)));
    }
    const minutes = width < 260 ? [15, 0] : [15, 10, 5, 0];
    for (const ago of minutes) {
      const anchor = ago === 0 ? "end" : ago === 15 ? "start" : "middle";
      const at = x(this.last() * (1 - ago / 15));
      marks.push(svg("text", { x: at, y: HEIGHT - 5, "text-anchor": anchor }, ago === 0 ? "now" : `−${ago} min`));
    }
    this.grid.replaceChildren(...marks);
  }

  /** Puts the cursor at a step; null takes it away and reads the last one that is known. */
  point(at) {
    this.at = at;
    this.read();
  }

  read() {
    if (!this.series || !this.x) return;
    const last = this.last();
    const at = this.at ?? last;
    const texts = this.lines.map((line) => this.text(this.series[line.key][at] ?? null));
    texts.forEach((text, n) => say(this.values[n], text));
    const unix = this.series.end_unix_s - (last - at) * this.series.step_s;
    const when = new Date(unix * 1e3).toLocaleTimeString("en-GB");
    say(this.when, this.at === null ? "" : `at ${when}`);
    set(this.rule, "visibility", this.at === null ? "hidden" : "visible");
    set(this.rule, "x1", this.x(at));
    set(this.rule, "x2", this.x(at));
    set(this.slider, "aria-valuemax", last);
    set(this.slider, "aria-valuenow", at);
    set(this.slider, "aria-valuetext", `${when}: ${this.lines.map((line, n) => `${line.name} ${texts[n]}`).join(", ")}`);
  }
}
