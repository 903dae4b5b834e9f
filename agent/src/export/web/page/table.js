// The table of services: sorted, filtered, and moved through by keys. Rows stay what they are between refreshes.

import { el, find, keyed, say, set } from "./dom.js";
import { bytes, clean, number, percent, rate, seconds } from "./format.js";
import { shortVerdict, verdict } from "./words.js";

const lately = (name, text) => ({ value: (s) => s.last_60s[name], text: (s) => text(s.last_60s[name]) });
const errors = (s) => s.last_60s.error_ratio;

/** A level says from which width on a column is there: 0 always. */
const COLUMNS = [
  { key: "service", title: "Service", level: 0, value: (s) => s.name, text: (s) => clean(s.name) },
  { key: "engine", title: "Engine", level: 3, value: (s) => s.engine, text: (s) => clean(s.engine) },
  { key: "flight", title: "In flight", level: 2, value: (s) => s.in_flight, text: (s) => number(s.in_flight) },
  { key: "rate", title: "Req/s", level: 0, ...lately("requests_per_s", rate) },
  { key: "errors", title: "Errors", level: 1, value: errors, text: (s) => percent(errors(s)) },
  { key: "ttft50", title: "TTFT p50", level: 2, ...lately("ttft_p50_s", seconds) },
  { key: "ttft95", title: "TTFT p95", level: 0, ...lately("ttft_p95_s", seconds) },
  { key: "tpot", title: "TPOT p50", level: 1, ...lately("tpot_p50_s", seconds) },
  { key: "in", title: "Tok/s in", level: 3, ...lately("input_tokens_per_s", rate) },
  { key: "out", title: "Tok/s out", level: 1, ...lately("output_tokens_per_s", rate) },
  { key: "cpu", title: "CPU", level: 2, ...lately("cpu_cores", (v) => number(v, 2)) },
  { key: "runq", title: "Run queue", level: 2, ...lately("run_queue_ratio", percent) },
  { key: "gpu", title: "GPU", level: 3, value: (s) => s.gpu_utilization_ratio, text: (s) => percent(s.gpu_utilization_ratio) },
  { key: "gpumem", title: "GPU mem", level: 3, value: (s) => s.gpu_memory_bytes, text: (s) => bytes(s.gpu_memory_bytes) },
  {
    key: "verdict", title: "Verdict", level: 3,
    value: (s) => s.verdict?.verdict ?? null,
    text: (s) => (s.verdict ? shortVerdict(s.verdict.verdict) : "–"),
    hint: (s) => (s.verdict ? `${percent(s.verdict.ratio)} of the last minute's time: ${verdict(s.verdict.verdict)}` : null),
  },
];
const WORDS = new Set(["service", "engine", "verdict"]);
const ABOUT = {
  flight: "Requests whose response is not complete", rate: "Requests per second, last minute",
  errors: "Part of the last minute's requests that failed", ttft50: "Median time to first token, last minute",
  ttft95: "95th percentile of the time to first token, last minute", tpot: "Median time per output token, last minute",
  in: "Input tokens per second", out: "Output tokens per second", cpu: "CPU cores in use",
  runq: "Part of the time that threads wanted a CPU and waited for one", gpu: "Share of its GPUs; over several the sum",
  gpumem: "GPU memory of its processes", verdict: "The verdict with the largest part of the last minute's time",
};

let services = [];
let sort = { key: "service", down: false };
let chosen = null;
let focused = null;
let choose = () => {};

const body = () => find("services-table").tBodies[0];

function compare(a, b) {
  const column = COLUMNS.find((column) => column.key === sort.key);
  const [x, y] = [column.value(a), column.value(b)];
  // What is not known comes last, whichever way it is sorted.
  if (x === null || y === null) return (x === null) - (y === null) || (a.name < b.name ? -1 : 1);
  const order = typeof x === "string" ? x.localeCompare(y) : x - y;
  return (sort.down ? -order : order) || (a.name < b.name ? -1 : 1);
}

function shown() {
  const wanted = find("filter").value.trim().toLowerCase().split(/\s+/);
  const matches = (s) => {
    const text = `${s.name} ${s.engine} ${s.model ?? ""}`.toLowerCase();
    return wanted.every((word) => text.includes(word));
  };
  return services.filter(matches).sort(compare);
}

function makeRow() {
  const row = el("tr", { role: "row", tabindex: -1 });
  for (const column of COLUMNS) {
    const words = WORDS.has(column.key);
    const cell = el(column.key === "service" ? "th" : "td", { class: `l${column.level}${words ? " words" : ""}` });
    if (column.key === "service") set(cell, "scope", "row");
    set(cell, "role", column.key === "service" ? "rowheader" : "gridcell");
    row.append(cell);
  }
  return row;
}

function fillRow(row, service) {
  COLUMNS.forEach((column, at) => {
    const cell = row.cells[at];
    say(cell, column.text(service));
    if (column.key === "service") set(cell, "title", clean(service.name));
    if (column.hint) set(cell, "title", column.hint(service));
    if (column.key === "errors") set(cell, "data-bad", errors(service) > 0 ? "yes" : null);
    if (column.key === "runq") set(cell, "data-bad", service.last_60s.run_queue_ratio > 0.25 ? "yes" : null);
  });
  set(row, "aria-selected", service.name === chosen ? "true" : "false");
}

/** One row can be reached by the tabulator: the focused one, else the chosen, else the first. */
function rove() {
  const rows = [...body().rows];
  const at = rows.find((row) => row.key === focused) ?? rows.find((row) => row.key === chosen) ?? rows[0];
  rows.forEach((row) => set(row, "tabindex", row === at ? 0 : -1));
}

function draw() {
  const list = shown();
  const held = document.activeElement?.closest?.("#services-table tbody tr");
  keyed(body(), list, (s) => s.name, makeRow, fillRow);
  // A row that is moved in the document loses the focus.
  if (held?.isConnected && document.activeElement !== held) held.focus({ preventScroll: true });
  rove();
  const all = services.length;
  say(find("count"), list.length === all ? `${all}` : `${list.length} of ${all}`);
  for (const head of find("services-table").tHead.rows[0].cells) {
    const mine = head.dataset.key === sort.key;
    set(head, "aria-sort", mine ? (sort.down ? "descending" : "ascending") : null);
  }
}

function pick(row) {
  if (!row) return;
  chosen = row.key;
  focused = row.key;
  draw();
  choose(chosen);
}

const STEPS = { ArrowDown: 1, ArrowUp: -1, PageDown: 10, PageUp: -10, Home: -1e6, End: 1e6 };

function pressed(event) {
  const row = event.target.closest("tr");
  if (event.ctrlKey || event.metaKey || event.altKey || !row) return;
  if (event.key === "Enter" || event.key === " ") {
    event.preventDefault();
    return pick(row);
  }
  if (!(event.key in STEPS)) return;
  event.preventDefault();
  const rows = [...body().rows];
  const at = Math.max(0, Math.min(rows.length - 1, rows.indexOf(row) + STEPS[event.key]));
  if (event.key === "ArrowUp" && rows[0] === row) return find("filter").focus();
  focused = rows[at].key;
  rove();
  rows[at].focus();
}

function makeHead() {
  const row = el("tr", { role: "row" });
  for (const column of COLUMNS) {
    const words = WORDS.has(column.key);
    const button = el("button", { type: "button", title: ABOUT[column.key] ?? null }, column.title);
    button.addEventListener("click", () => {
      sort = { key: column.key, down: sort.key === column.key ? !sort.down : !words };
      draw();
    });
    const attributes = { scope: "col", role: "columnheader", class: `l${column.level}${words ? " words" : ""}` };
    const head = el("th", attributes, button);
    head.dataset.key = column.key;
    row.append(head);
  }
  find("services-table").tHead.append(row);
}

function filterPressed(event) {
  if (event.key === "Escape") {
    if (event.target.value === "") event.target.blur();
    event.target.value = "";
    draw();
  } else if (event.key === "ArrowDown" && body().rows.length > 0) {
    event.preventDefault();
    focused = body().rows[0].key;
    rove();
    body().rows[0].focus();
  } else if (event.key === "Enter") pick(body().rows[0]);
}

/** chose(name) hears which service is to be shown. */
export function begin(chose) {
  choose = chose;
  makeHead();
  body().addEventListener("keydown", pressed);
  body().addEventListener("click", (event) => pick(event.target.closest("tr")));
  body().addEventListener("focusin", (event) => {
    focused = event.target.closest("tr")?.key ?? focused;
    rove();
  });
  find("filter").addEventListener("input", draw);
  find("filter").addEventListener("keydown", filterPressed);
}

/** Shows these services, and that one as the chosen. */
export function show(list, name) {
  services = list;
  chosen = name;
  draw();
}
