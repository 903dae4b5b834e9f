// Verdicts and causes in words.

/** Causes in the order of a bar, with what they are called. */
export const CAUSES = [
  ["on_cpu", "on CPU"],
  ["own_threads", "behind its own threads"],
  ["run_queue", "behind other programs"],
  ["throttled", "CPU quota"],
  ["lock", "lock"],
  ["block_io", "disk"],
  ["memory", "memory"],
  ["gpu", "GPU"],
  ["engine_queue", "engine's queue"],
  ["client", "client"],
  ["network", "network"],
  ["unexplained", "unexplained"],
];

const NAMES = new Map(CAUSES);

export const cause = (name) => NAMES.get(name) ?? name;

const VERDICTS = {
  gpu_bound: "the GPU was busy, the host was ready",
  cpu_bound: "more work on the CPU than usual",
  cpu_contention: "other programs had the CPUs",
  cpu_throttled: "the CPU quota was used up",
  lock_bound: "waited for a lock",
  io_bound: "waited for a disk",
  memory_pressure: "the host made room in memory",
  network_bound: "the network was slow",
  client_slow: "the client did not read",
  queueing: "waited in the engine's queue",
  host_ok: "nothing wrong with the host",
  unknown: "no reason shows",
};

export const verdict = (name) => VERDICTS[name] ?? name;

/** Short, for a column. */
export const shortVerdict = (name) => name.replaceAll("_", " ");

/** How sure, 0 to 1. */
export function sureness(confidence) {
  if (confidence === null) return "";
  return confidence >= 0.8 ? "sure" : confidence >= 0.5 ? "likely" : "perhaps";
}
