// What changed: of the chosen service, or of all; the newest first.

import { el, find, keyed, say } from "./dom.js";
import { clean, clock } from "./format.js";

/** An event in words: its attributes behind each other. */
function words(event) {
  const parts = Object.entries(event.attributes).filter(([name]) => name !== "argv");
  return parts.map(([name, value]) => `${name} ${typeof value === "number" ? Math.round(value * 1e3) / 1e3 : clean(value)}`).join(" · ");
}

export function name(event) {
  return event.event.replaceAll("_", " ");
}

function make() {
  return el("li", {}, el("time", {}), " ", el("b", {}), " ", el("span", { class: "who" }), " ", el("span", { class: "quiet" }));
}

/** all: they are of all services, so each says whose it is. */
export function show(changes, all) {
  find("changes-empty").hidden = changes.length > 0;
  keyed(find("changes"), changes, (event) => `${event.time_unix_s} ${event.event} ${event.pid} ${JSON.stringify(event.attributes)}`, make,
    (node, event) => {
      const [time, what, who, about] = node.children;
      say(time, clock(event.time_unix_s));
      say(what, name(event));
      say(who, event.service === null ? "this host" : all ? clean(event.service) : "");
      say(about, words(event));
      node.className = `change-${event.severity}`;
    });
}
