// Numbers and names as they are shown. Null is a dash.

const NONE = "–";

/** A name that a server gave itself, without what would turn or hide the text around it. */
export function clean(name) {
  return String(name ?? "").replace(/[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u202a-\u202e\u2066-\u2069]/g, "\ufffd");
}

function digits(value, places) {
  return value.toLocaleString("en", { minimumFractionDigits: places, maximumFractionDigits: places });
}

export function number(value, places = 0) {
  return value === null || value === undefined ? NONE : digits(value, places);
}

/** 0.0123 s is 12.3 ms. */
export function seconds(value) {
  if (value === null || value === undefined) return NONE;
  if (value === 0) return "0 ms";
  if (value < 0.1) return `${digits(value * 1e3, 1)} ms`;
  if (value < 1) return `${digits(value * 1e3, 0)} ms`;
  if (value < 100) return `${digits(value, 2)} s`;
  return `${digits(value, 0)} s`;
}

/** A rate, as short as it is large. */
export function rate(value) {
  if (value === null || value === undefined) return NONE;
  if (value === 0) return "0";
  return digits(value, value < 10 ? 2 : value < 100 ? 1 : 0);
}

export function percent(ratio) {
  if (ratio === null || ratio === undefined) return NONE;
  const value = ratio * 100;
  return `${digits(value, value > 0 && value < 1 ? 1 : 0)} %`;
}

export function bytes(value) {
  if (value === null || value === undefined) return NONE;
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  const at = value < 1 ? 0 : Math.min(units.length - 1, Math.floor(Math.log2(value) / 10));
  const scaled = value / 2 ** (10 * at);
  return `${digits(scaled, at > 0 && scaled < 10 ? 1 : 0)} ${units[at]}`;
}

/** How long, in its two largest units. */
export function span(value) {
  const whole = Math.max(0, Math.round(value));
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  if (whole < 86400) return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
  return `${Math.floor(whole / 86400)} d ${Math.floor((whole % 86400) / 3600)} h`;
}

export function clock(unix) {
  return new Date(unix * 1e3).toLocaleTimeString("en-GB");
}
