// Opens a report in Chromium and holds it to axe-core's rules: light and dark, wide and narrow, with and without script.
//
// Usage: node check.mjs REPORT.html [FOLDER for screenshots]
// It needs playwright-core and axe-core (NODE_MODULES names the folder that holds them) and a Chromium (CHROMIUM).
import { mkdtempSync, mkdirSync, rmSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";

const require = createRequire(join(resolve(process.env.NODE_MODULES ?? "node_modules"), "_"));
const { chromium } = require("playwright-core");
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");

const [report, shots] = process.argv.slice(2);
if (!report) {
  console.error("usage: node check.mjs REPORT.html [FOLDER]");
  process.exit(2);
}
if (shots) mkdirSync(shots, { recursive: true });
const address = pathToFileURL(resolve(report)).href;
const profile = mkdtempSync(join(tmpdir(), "report-axe-"));
const flags = [
  "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync",
];
const SERIOUS = ["serious", "critical"];
let wrong = 0;
const fail = (label, text) => { wrong += 1; console.log(`${label}: ${text}`); };

const context = async (scheme, width, script) => chromium.launchPersistentContext(
  join(profile, `${scheme}-${width}-${script}`),
  {
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", headless: true, args: flags, offline: true,
    colorScheme: scheme, javaScriptEnabled: script, viewport: { width, height: 900 }, reducedMotion: "reduce",
    bypassCSP: script, // axe is a script of its own, which the page's policy would refuse
  },
);

// The page itself, under its own policy: what it asks for, what it logs, and whether its script works.
const behaves = async () => {
  const label = "behaviour";
  const browser = await chromium.launchPersistentContext(join(profile, "behaviour"), {
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", headless: true, args: flags, offline: true,
    viewport: { width: 1280, height: 900 },
  });
  const page = await browser.newPage();
  page.on("request", (request) => { if (request.url() !== address) fail(label, `asked for ${request.url()}`); });
  page.on("console", (message) => fail(label, `console: ${message.text()}`));
  page.on("pageerror", (error) => fail(label, `script: ${error.message}`));
  page.on("dialog", (dialog) => { fail(label, `dialog: ${dialog.message()}`); dialog.dismiss(); });
  const began = Date.now();
  await page.goto(address);
  console.log(`${label}: loaded in ${Date.now() - began} ms`);
  const button = page.locator("th button").nth(1);
  const heading = button.locator("xpath=..");
  const column = () => page.evaluate(() => {
    const table = document.querySelector("th button").closest("table");
    return [...table.tBodies[0].rows].map((row) => parseFloat(row.cells[1].textContent.replaceAll(",", "")));
  });
  const before = await column();
  await button.focus();
  await page.keyboard.press("Enter");
  const rising = (await column()).filter((value) => !Number.isNaN(value));
  if (rising.some((value, i) => i && value < rising[i - 1])) fail(label, "a click on a heading does not sort");
  if (await heading.getAttribute("aria-sort") !== "ascending") fail(label, "the sorted column has no aria-sort");
  await page.keyboard.press("Enter");
  await page.keyboard.press("Enter");
  if (JSON.stringify(await column()) !== JSON.stringify(before)) fail(label, "a third click does not restore the order");
  const search = page.locator(".tools input").first();
  await search.fill("no row has this text");
  const shown = await page.locator(".tools output").first().textContent();
  if (!shown.startsWith("0 of ")) fail(label, `a filter that nothing fits shows "${shown}"`);
  await search.fill("");
  const card = page.locator(".card[data-points]").first();
  if (await card.count()) {
    await card.focus();
    await page.keyboard.press("ArrowRight");
    if (!await page.locator(".told").first().textContent()) fail(label, "an arrow key tells no value of a figure");
  }
  await page.locator(".theme").click();
  if (!await page.evaluate(() => document.documentElement.dataset.theme)) fail(label, "the choice of colours does nothing");
  await browser.close();
};

// The top of the page, and of each of its sections.
const look = async (page, name) => {
  const places = await page.evaluate(() => [...document.querySelectorAll("nav a")].map((link) => link.hash.slice(1)));
  for (const place of ["", ...places]) {
    if (place) await page.goto(`${address}#${place}`);
    await page.screenshot({ path: join(shots, `${name}${place ? `-${place}` : ""}.png`), timeout: 120_000 });
  }
};

const check = async (scheme, width, script) => {
  const label = `${scheme}, ${width} px, ${script ? "with" : "without"} script`;
  const browser = await context(scheme, width, script);
  const page = await browser.newPage();
  await page.goto(address);
  if (shots) await look(page, `${scheme}-${width}-${script ? "script" : "plain"}`);
  if (script) {
    const over = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    if (over > 0) fail(label, `the page is ${over} px wider than the window`);
    await page.evaluate(() => document.querySelectorAll("details").forEach((one) => { one.open = true; }));
    await page.evaluate(axe);
    const found = await page.evaluate(() => axe.run(document));
    for (const one of found.violations) {
      const text = `${one.impact}: ${one.id}, ${one.help} (${one.nodes.length}): ${one.nodes[0].html.slice(0, 160)}`;
      if (SERIOUS.includes(one.impact)) fail(label, text);
      else console.log(`${label}: ${text}`);
    }
    if (!found.passes.length) fail(label, "axe held the page to no rule");
    const unsure = found.incomplete.map((one) => `${one.id} (${one.nodes.length})`).join(", ");
    if (unsure) console.log(`${label}: axe could not tell: ${unsure}`);
    console.log(`${label}: ${found.passes.length} rules of axe held, ${found.violations.length} did not`);
  } else {
    // axe cannot run without script, so what it would find is held by the runs with one; here, all is to be readable.
    const bare = await browser.newPage();
    await bare.goto(address);
    if (await bare.locator("main table").count() === 0) fail(label, "no table is to be seen");
    if (!await bare.locator("main table").first().isVisible()) fail(label, "the first table is not visible");
  }
  await browser.close();
};

try {
  await behaves();
  for (const scheme of ["light", "dark"]) {
    for (const width of [1280, 360]) for (const script of [true, false]) await check(scheme, width, script);
  }
} finally {
  rmSync(profile, { recursive: true, force: true });
}
console.log(wrong ? `${wrong} serious findings` : "no serious finding");
process.exit(wrong ? 1 : 0);
