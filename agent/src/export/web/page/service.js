// The chosen service: what it is, and its charts, which share one cursor.

import { Chart } from "./chart.js";
import { find, say } from "./dom.js";
import { clean, rate, seconds, number } from "./format.js";

const CHARTS = [
  {
    title: "TTFT", about: "time from the start of a streamed request to its first content", text: seconds,
    lines: [{ key: "ttft_p95_s", name: "p95" }, { key: "ttft_p50_s", name: "p50" }],
  },
  {
    title: "TPOT", about: "time per output token after the first", text: seconds,
    lines: [{ key: "tpot_p50_s", name: "p50" }],
  },
  {
    title: "Tokens out", about: "output tokens per second of requests by when they ended", text: (v) => rate(v),
    lines: [{ key: "output_tokens_per_s", name: "per s" }],
  },
  {
    title: "Requests", about: "finished and failed requests per second", text: (v) => rate(v),
    lines: [{ key: "requests_per_s", name: "per s" }, { key: "errors_per_s", name: "errors" }],
  },
  {
    title: "In flight", about: "most requests in flight at any look", text: (v) => number(v, v !== null && v % 1 ? 1 : 0),
    lines: [{ key: "in_flight", name: "at once" }],
  },
];

let charts = [];

export function begin() {
  const moved = (at) => charts.forEach((chart) => chart.point(at));
  charts = CHARTS.map((chart) => new Chart({ ...chart, moved }));
  find("charts").append(...charts.map((chart) => chart.node));
}

function about(service) {
  const parts = [clean(service.engine) + (service.version ? ` ${clean(service.version)}` : "")];
  if (service.model) parts.push(`model ${clean(service.model)}`);
  if (service.ports.length) parts.push(`port ${service.ports.join(", ")}`);
  const more = service.processes.length - 1;
  parts.push(`pid ${service.pid}${more > 0 ? ` and ${more} more` : ""}`);
  const container = service.container;
  if (container?.pod) {
    const name = container.name ? `, container ${clean(container.name)}` : "";
    parts.push(`pod ${clean(container.namespace)}/${clean(container.pod)}${name}`);
  } else if (container) {
    parts.push(`${container.runtime} ${container.id.slice(0, 12)}`);
  }
  const minute = service.last_60s;
  if (minute.duration_p50_s !== null) {
    parts.push(`duration p50 ${seconds(minute.duration_p50_s)}, p95 ${seconds(minute.duration_p95_s)}`);
  }
  return parts.join(" · ");
}

/** Shows a service and its series, marked where it changed; null hides both. */
export function show(service, series, changes) {
  find("service").hidden = !service;
  if (!service) return;
  say(find("service-title"), clean(service.name));
  say(find("service-about"), about(service));
  const marks = changes.filter((change) => change.service === service.name || change.service === null);
  if (series) charts.forEach((chart) => chart.show(series, marks));
}
