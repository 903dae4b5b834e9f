// Puts the page together: one answer of the agent fills all parts.

import * as changes from "./changes.js";
import { el, find, say, set } from "./dom.js";
import { clock, span } from "./format.js";
import * as host from "./host.js";
import { poll } from "./poll.js";
import * as requests from "./requests.js";
import * as service from "./service.js";
import * as table from "./table.js";

const state = { chosen: named(), heard: null, ask: () => {} };

/** The service in the address, so that a reload shows the same. */
function named() {
  try {
    return new URLSearchParams(location.hash.slice(1)).get("service");
  } catch {
    return null;
  }
}

function choose(name) {
  if (name !== state.chosen) find("scope").value = "service";
  state.chosen = name;
  const hash = name === null ? location.pathname : `#${new URLSearchParams({ service: name })}`;
  history.replaceState(null, "", hash);
  state.ask();
}

function parameters() {
  const wanted = new URLSearchParams({ sort: find("sort").value, scope: find("scope").value });
  if (state.chosen !== null) wanted.set("service", state.chosen);
  return wanted;
}

function answered(overview) {
  state.heard = overview.now_unix_s;
  find("stale").hidden = true;
  const { services } = overview;
  let chosen = services.find((one) => one.name === state.chosen) ?? null;
  if (!chosen && services.length > 0) {
    // The busiest says most; it is asked for with the next question.
    chosen = services.reduce((a, b) => (b.last_60s.requests > a.last_60s.requests ? b : a));
    choose(chosen.name);
  }
  table.show(services, chosen?.name ?? null);
  find("services-scroll").hidden = services.length === 0;
  find("no-services").hidden = services.length > 0;
  service.show(chosen, overview.series?.service === chosen?.name ? overview.series : null, overview.changes);
  requests.show(overview.requests, overview.requests.service === null);
  changes.show(overview.changes, overview.requests.service === null);
  host.show(overview);
  say(find("updated"), `as of ${clock(overview.now_unix_s)}`);
  document.documentElement.dataset.ready = "yes";
}

function failed(words, status) {
  // The service that was chosen is gone: another is chosen with the next answer.
  if (status === 404 && state.chosen !== null) return choose(null);
  const since = state.heard === null ? "" : ` What is below is of ${clock(state.heard)}, ${span(Date.now() / 1e3 - state.heard)} ago.`;
  say(find("stale"), `The agent does not answer: ${words}.${since}`);
  find("stale").hidden = false;
  say(find("health"), "no answer");
  set(find("health"), "data-mood", "bad");
}

function emptyWords() {
  const code = (text) => el("code", {}, text);
  find("no-services").append(
    el("p", {}, "No inference server is watched yet."),
    el("p", {}, "Servers are found by themselves: by executable, arguments, Python module and loaded libraries, or, whatever they ",
      "are, by the first request that they answer in a known dialect such as OpenAI's. ", code("--pid"), " names one outright."),
    el("p", {}, code("inferscope ps"), " lists what is recognised now; ", code("inferscope check"), " says what works on this host."));
}

function pressed(event) {
  const typing = event.target.closest?.("input, select, textarea");
  if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
    event.preventDefault();
    find("filter").focus();
    find("filter").select();
  }
}

emptyWords();
host.begin();
service.begin();
table.begin(choose);
document.addEventListener("keydown", pressed);
for (const id of ["sort", "scope"]) find(id).addEventListener("change", () => state.ask());
state.ask = poll(parameters, answered, failed);
