// What the page shows where there is nothing to show, and when the agent goes away.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { browse, open, serve } from "./agent.js";

let browser;
before(async () => {
  browser = await browse();
});
after(() => browser?.close());

test("without a server it says how servers are found", async () => {
  const agent = await serve("--services", "0", "--gpus", "0");
  const { page, seen } = await open(browser, agent.url);
  assert.match(await page.locator("#no-services").innerText(), /inferscope check/);
  assert.ok(await page.locator("#services-table").isHidden() && await page.locator("#service").isHidden());
  assert.match(await page.locator("#gpus-about").textContent(), /no NVIDIA driver/);
  assert.match(await page.locator("#no-requests").innerText(), /No request has ended yet/);
  assert.deepEqual(seen.errors, []);
  await page.close();
  await agent.end();
});

test("an agent that is gone is said, and what is shown stays", async () => {
  const agent = await serve("--services", "5");
  const { page } = await open(browser, agent.url);
  assert.ok(await page.locator("#stale").isHidden());
  await agent.end();
  await page.locator("#stale").waitFor({ state: "visible", timeout: 8000 });
  assert.match(await page.locator("#stale").innerText(), /does not answer: .+\. What is below is of \d\d:\d\d:\d\d/);
  assert.equal(await page.locator("#services-table tbody tr").count(), 5);
  const again = await serve("--services", "5", "--listen", new URL(agent.url).host);
  await page.locator("#stale").waitFor({ state: "hidden", timeout: 8000 });
  await page.close();
  await again.end();
});

test("a page that nobody sees asks nothing", async () => {
  const agent = await serve("--services", "5");
  const { page, seen } = await open(browser, agent.url);
  const hide = (hidden) => page.evaluate((hidden) => {
    Object.defineProperty(document, "hidden", { configurable: true, get: () => hidden });
    document.dispatchEvent(new Event("visibilitychange"));
  }, hidden);
  await hide(true);
  const before = seen.asked.length;
  await page.waitForTimeout(4500);
  assert.equal(seen.asked.length, before);
  await hide(false);
  await page.waitForTimeout(500);
  assert.ok(seen.asked.length > before);
  await page.close();
  await agent.end();
});
