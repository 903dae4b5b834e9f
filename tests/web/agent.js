// The agent's own server over made-up load (agent/examples/web_load.rs), and a browser that looks at it.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";

const PROGRAM = process.env.INFERSCOPE_WEB_LOAD ?? new URL("../../target/release/examples/web_load", import.meta.url).pathname;
// By name where `npm ci` put it beside these files; else where set-up did.
const { chromium } = await import(process.env.INFERSCOPE_PLAYWRIGHT ?? "playwright-core");
const BROWSER = process.env.INFERSCOPE_CHROMIUM ?? "/usr/bin/chromium";

/** Starts the server; said are the lines before the one with its address. */
export async function serve(...options) {
  const child = spawn(PROGRAM, options, { stdio: ["ignore", "pipe", "inherit"] });
  const said = [];
  for await (const line of createInterface({ input: child.stdout })) {
    const found = /listening on (http:\S+)/.exec(line);
    if (found) return { url: found[1], said, child, end: () => end(child) };
    said.push(line);
  }
  throw new Error(`${PROGRAM} ended before it listened`);
}

async function end(child) {
  if (child.exitCode === null && child.signalCode === null) {
    child.kill("SIGKILL");
    await once(child, "exit");
  }
}

/** As root there is no sandbox to be had. */
export function browse() {
  return chromium.launch({ executablePath: BROWSER, args: process.getuid() === 0 ? ["--no-sandbox"] : [] });
}

/** A page that holds what went wrong in it, and all that it asked for. */
export async function open(browser, url, options = {}) {
  const page = await browser.newPage({ viewport: { width: 1440, height: 900 }, ...options });
  const seen = { errors: [], asked: [] };
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) seen.errors.push(message.text());
  });
  page.on("pageerror", (error) => seen.errors.push(error.message));
  page.on("request", (request) => seen.asked.push(request.url()));
  const began = performance.now();
  await page.goto(url);
  await page.waitForSelector("html[data-ready]");
  return { page, seen, tookMs: performance.now() - began };
}

export const ROWS = "#services-table tbody tr";

/** The first cell of every row, from above. */
export const names = (page) => page.$$eval(`${ROWS} th`, (cells) => cells.map((cell) => cell.textContent));
