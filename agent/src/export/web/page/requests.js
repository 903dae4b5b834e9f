// Finished requests: what they took, where each phase went as a bar, and the verdict in words.

import { el, find, keyed, say, set } from "./dom.js";
import { clean, number, percent, seconds, span } from "./format.js";
import { CAUSES, cause, sureness, verdict } from "./words.js";

/** The colours that are there to be seen. */
function legend(list) {
  const seen = new Set(list.flatMap((request) => request.phases.flatMap((phase) => Object.keys(phase.causes ?? { unexplained: 1 }))));
  const shape = ["", "prefill | decode, as long as the whole:"];
  keyed(find("legend"), list.length ? [shape, ...CAUSES.filter(([name]) => seen.has(name))] : [], ([name]) => name,
    ([name, words]) => el("li", {}, ...(name ? [el("i", { class: `key cause-${name}` })] : []), words), () => {});
}

function field(name) {
  return el("span", { class: "field" }, el("small", {}, name), el("b", {}));
}

const FIELDS = ["tokens", "TTFT", "TPOT", "total"];

function make() {
  return el("li", {},
    el("div", { class: "what" }, el("b", {}), el("span", { class: "quiet" })),
    el("div", { class: "figures" }, ...FIELDS.map(field)),
    el("div", { class: "phases", role: "img" }),
    el("div", { class: "verdict" }, el("b", {}), el("span", { class: "quiet" })));
}

/** A phase's parts in the order of the legend, as words. */
function parts(phase) {
  if (!phase.causes) return "not measured";
  const known = CAUSES.filter(([name]) => phase.causes[name] > 0.005);
  return known.map(([name]) => `${cause(name)} ${percent(phase.causes[name])}`).join(", ");
}

function bar(node, request, longest) {
  const words = request.phases.map((phase) => `${phase.phase} ${seconds(phase.seconds)}: ${parts(phase)}`).join("; ");
  if (node.getAttribute("aria-label") === words && node.longest === longest) return;
  set(node, "aria-label", words);
  set(node, "title", words.replaceAll("; ", "\n"));
  node.longest = longest;
  const track = el("div", { class: "track" });
  track.style.width = `${Math.max(4, (100 * request.duration_s) / longest)}%`;
  for (const phase of request.phases) {
    const box = el("div", { class: "phase" });
    box.style.flexGrow = String(Math.max(phase.seconds, request.duration_s / 200));
    const causes = phase.causes ?? { unexplained: 1 };
    for (const [name] of CAUSES.filter(([name]) => causes[name] > 0)) {
      const part = el("i", { class: `cause-${name}` });
      part.style.flexGrow = String(causes[name]);
      box.append(part);
    }
    track.append(box);
  }
  node.replaceChildren(track);
}

function slower(request) {
  if (request.slowdown === null) return "usual not known yet";
  if (request.slowdown < 1.15) return "as fast as usual";
  return `${number(request.slowdown, 1)} × usual, +${seconds(request.excess_s)}`;
}

function fill(node, request, { all, longest }) {
  const [what, figures, phases, said] = node.children;
  const failed = request.error_type !== null;
  const ago = `${span(request.age_s)} ago`;
  say(what.children[0], all ? clean(request.service) : ago);
  const id = request.request_id ?? request.id;
  const error = failed ? `failed: ${clean(request.error_type)}` : null;
  const about = [error, all ? ago : clean(request.model ?? request.path), request.operation];
  say(what.children[1], about.filter(Boolean).join(" · "));
  set(what, "title", [request.path, id].filter(Boolean).map(clean).join("\n"));
  set(node, "data-bad", failed ? "yes" : null);
  const estimated = request.tokens_estimated ? "~" : "";
  const texts = [
    `${number(request.input_tokens)} → ${estimated}${number(request.output_tokens)}`,
    seconds(request.ttft_s), seconds(request.tpot_s), seconds(request.duration_s),
  ];
  texts.forEach((text, at) => say(figures.children[at].lastChild, text));
  bar(phases, request, longest);
  say(said.children[0], request.verdict ? verdict(request.verdict) : "no verdict");
  const sure = sureness(request.verdict_confidence);
  say(said.children[1], [sure && `${sure} (${percent(request.verdict_confidence)})`, slower(request)].filter(Boolean).join(" · "));
}

/** Shows requests; all: of all services, which are then named. */
export function show(answer, all) {
  const list = answer.requests;
  const longest = Math.max(1e-6, ...list.map((request) => request.duration_s));
  const key = (request) => `${request.pid} ${request.start_unix_s.toFixed(2)} ${request.id ?? request.request_id ?? request.duration_s}`;
  keyed(find("requests"), list, key, make, (node, request) => fill(node, request, { all, longest }));
  find("no-requests").hidden = list.length > 0;
  legend(list);
  say(find("no-requests"), "No request has ended yet. Each one that a server answers shows up here when it is over.");
}
