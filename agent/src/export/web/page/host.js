// The header, the GPUs, and the agent's own health.

import { el, find, keyed, say, set } from "./dom.js";
import { bytes, clean, number, percent, rate, span } from "./format.js";

const VITALS = [
  ["services", (a) => number(a.services)],
  ["in flight", (a) => number(a.in_flight)],
  ["events/s", (a) => rate(a.events_per_s)],
  ["lost", (a) => number(a.lost)],
  ["CPU", (a) => percent(a.cpu_cores)],
  ["memory", (a) => bytes(a.memory_bytes)],
  ["up", (a) => span(a.uptime_s)],
];

export function begin() {
  find("vitals").append(...VITALS.map(([name]) => el("div", {}, el("dt", {}, name), el("dd", {}))));
}

function health(agent) {
  if (!agent.healthy) return ["the pipeline does not turn", "bad"];
  if (!agent.ready) return ["a required probe has no hook", "bad"];
  return agent.probes.some((probe) => !probe.hook) ? ["watching, in part", "warn"] : ["watching", "good"];
}

function showAgent(agent) {
  const [words, mood] = health(agent);
  say(find("health"), words);
  set(find("health"), "data-mood", mood);
  say(find("host"), clean(agent.host));
  VITALS.forEach(([name, text], at) => {
    const node = find("vitals").children[at];
    say(node.lastChild, text(agent));
    set(node, "data-bad", name === "lost" && agent.lost > 0 ? "yes" : null);
  });
  say(find("agent-about"), `inferscope ${agent.version}`);
  const lost = agent.losses.filter((loss) => loss.count > 0);
  const none = { place: "nothing was lost", count: null };
  keyed(find("losses"), lost.length ? lost : [none], (loss) => loss.place,
    () => el("li", {}, el("span", {}), el("b", {})),
    (node, loss) => {
      say(node.firstChild, loss.count === null ? loss.place : `lost at ${loss.place}`);
      say(node.lastChild, loss.count === null ? "" : number(loss.count));
      set(node, "data-bad", loss.count === null ? null : "yes");
    });
  keyed(find("probes"), agent.probes, (probe) => `${probe.probe} ${probe.program}`,
    () => el("li", {}, el("b", {}), el("span", {}), el("span", { class: "quiet" })),
    (node, probe) => {
      say(node.children[0], probe.probe);
      say(node.children[1], probe.hook ?? `refused: without ${probe.gives}`);
      say(node.children[2], probe.hook ? "" : clean(probe.error ?? "no reason given"));
      set(node, "data-bad", probe.hook ? null : "yes");
    });
}

function meter(name) {
  return el("div", { class: "meter" }, el("small", {}, name), el("div", { class: "track", "aria-hidden": "true" }, el("i", {})), el("b", {}));
}

function makeGpu() {
  return el("li", {}, el("div", { class: "what" }, el("b", {}), el("span", { class: "quiet" })),
    meter("busy"), meter("memory"), meter("power"), el("div", { class: "more" }, el("span", {}), el("span", { class: "throttle" })));
}

function fillMeter(node, ratio, text) {
  node.children[1].firstChild.style.width = `${100 * Math.max(0, Math.min(1, ratio ?? 0))}%`;
  say(node.lastChild, text);
}

const QUIET_REASONS = new Set(["gpu_idle", "applications_clocks_setting"]);

function fillGpu(node, gpu) {
  const [what, busy, memory, power, more] = node.children;
  say(what.children[0], `${gpu.index} ${clean(gpu.name)}`);
  say(what.children[1], gpu.lost ? `lost: ${clean(gpu.lost)}` : gpu.services.map(clean).join(", ") || "no service on it");
  set(node, "data-bad", gpu.lost ? "yes" : null);
  fillMeter(busy, gpu.utilization_ratio, percent(gpu.utilization_ratio));
  const used = gpu.memory_total_bytes ? gpu.memory_used_bytes / gpu.memory_total_bytes : null;
  fillMeter(memory, used, `${bytes(gpu.memory_used_bytes)} of ${bytes(gpu.memory_total_bytes)}`);
  fillMeter(power, gpu.power_limit_watts ? gpu.power_watts / gpu.power_limit_watts : null, `${number(gpu.power_watts)} W`);
  say(more.children[0], `${number(gpu.temperature_celsius)} °C`);
  const held = (gpu.throttle_reasons ?? []).filter((reason) => !QUIET_REASONS.has(reason));
  say(more.children[1], held.length ? `held down: ${held.join(", ").replaceAll("_", " ")}` : "not throttled");
  set(more.children[1], "data-bad", held.length ? "yes" : null);
}

const SOURCES = {
  off: "not looked at: [nvml] enabled is false", absent: "no NVIDIA driver answers here", starting: "the driver is being asked",
  hung: "the driver does not answer; what is shown is old", failing: "the driver answers in part", ok: "",
};

function showGpus(gpus) {
  const driver = gpus.driver_version ? `driver ${clean(gpus.driver_version)}` : "";
  const state = SOURCES[gpus.source] ?? gpus.source;
  say(find("gpus-about"), [driver, state].filter(Boolean).join(" · "));
  set(find("gpus-about"), "title", gpus.source_error === null ? null : clean(gpus.source_error));
  keyed(find("gpus"), gpus.gpus, (gpu) => gpu.uuid || gpu.index, makeGpu, fillGpu);
}

/** Shows the agent and the host's GPUs. */
export function show(overview) {
  showAgent(overview.agent);
  showGpus(overview.gpus);
}
