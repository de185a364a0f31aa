// walk.mjs URL WHAT uses the live page in Chromium, by mouse, by keyboard, and by touch on a phone. It does what a user
// does who wants to know what is wrong, why a connection failed, and where another proxy would help. WHAT is JSON:
// browser (a path), devices (how many), offline, failed and connected (the names of a proxy and of two devices),
// decoded (the name of a device, and words that its decoded advertisement must show), seconds (how long to measure),
// and shots (a folder for screenshots, "" for none).
//
// It prints a line for each check that fails, and at the end a line of JSON: the page's advice, and what the page cost.
// The exit status is 1 if a check failed.
import {createRequire} from "node:module";
import {readFileSync} from "node:fs";
import {join} from "node:path";

const require = createRequire(new URL("./node/package.json", import.meta.url));
const {chromium} = require("playwright-core");
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");

const [url, what] = [process.argv[2], JSON.parse(process.argv[3])];
const limit = 180e3; // only what hangs takes so long
const desk = {width: 1440, height: 900}, phone = {width: 390, height: 800};

let wrong = 0;
function say(text) {
  wrong++;
  console.log("not so: " + text);
}
function is(text, ok) { if (!ok) say(text); }

const browser = await chromium.launch({executablePath: what.browser, args: ["--no-sandbox", "--no-proxy-server", "--disable-gpu", "--disable-dev-shm-usage"]});

// look opens the page; every complaint of the browser is a failure.
async function look(view, more = {}) {
  const context = await browser.newContext({viewport: view, ...more});
  context.setDefaultTimeout(limit);
  const page = await context.newPage();
  page.on("pageerror", (e) => say("the page fails: " + e));
  page.on("console", (m) => { if (["error", "warning"].includes(m.type()) && !m.text().includes("net::ERR")) say("the browser complains: " + m.text()); });
  await page.goto(url + (more.hash || ""));
  return page;
}

const rows = (page) => page.locator("#heat tbody tr").count();
const until = (page, js, arg) => page.waitForFunction(js, arg, {timeout: limit});
const manyRows = (page, n) => until(page, (n) => document.querySelectorAll("#heat tbody tr").length === n, n);
const fewerRows = (page, n) => until(page, (n) => { const k = document.querySelectorAll("#heat tbody tr").length; return k > 0 && k < n; }, n);

// accessible runs axe-core. Since that looks at every cell many times, it gets only a part of a large table.
async function accessible(page, where) {
  const large = await page.locator("#filter").isVisible() && await rows(page) > 100;
  if (large) {
    await page.locator("#filter").fill("Device 00");
    await fewerRows(page, 100);
  }
  await page.evaluate(axe);
  const found = await page.evaluate(() => axe.run(document, {resultTypes: ["violations"]}).then((r) => r.violations.map((v) => v.id + ": " + v.help + ": " +
    v.nodes.slice(0, 4).map((n) => n.target.join(" ") + " " + (n.any.concat(n.all, n.none)[0]?.message || "")).join(" | "))));
  for (const v of found) say(`axe, ${where}: ${v}`);
  if (large) {
    await page.locator("#filter").fill("");
    await manyRows(page, what.devices);
  }
}

async function shot(page, name) {
  if (what.shots) await page.screenshot({path: join(what.shots, `${name}-${what.devices}.png`), fullPage: true});
}

const row = (page, name) => page.locator("#heat tbody tr").filter({has: page.locator(".name", {hasText: new RegExp(`^${name}$`)})}).locator("th button");

const page = await look(desk);
await manyRows(page, what.devices);

// What is wrong now.
await until(page, (name) => document.querySelector(".card .pick").textContent === name && document.querySelector(".card .state").textContent !== "online", what.offline);
await until(page, () => [...document.querySelectorAll(".card .state")].filter((s) => s.textContent === "online").length >= 2);
await until(page, () => /connection refused/.test(document.querySelector(".card .error")?.textContent)); // it says why
await until(page, () => document.getElementById("down").textContent === "1 proxy is not online. ");
await until(page, () => /not applied/.test(document.getElementById("remarks").textContent)); // mistakes of the file on disk

// Why it failed.
await until(page, () => document.querySelectorAll("#log > li").length >= 2);
const failure = page.locator("#log .failed").first();
is("words before codes", /did not answer, or out of reach \(0x85\)/.test(await failure.textContent()));
is("who asked, and for which device", (await failure.textContent()).includes("asked by D-Bus") && (await failure.textContent()).includes(what.failed));
is("each proxy that was tried, with its signal", /dBm: did not answer/.test(await failure.locator(".tries").textContent()));
await page.locator("#log-failed").click();
await until(page, () => document.querySelectorAll("#log > li:not(.failed)").length === 0 && location.hash.includes("log=failed"));
await page.locator("#log-all").click();

// Where another proxy would help.
is("what a proxy is good for", /hears \d+best for \d+the only one for \d+/.test(await page.locator(".card .worth").nth(1).textContent()));
const advice = await page.locator("#advice").innerText();
if (/Show them/.test(advice)) {
  await page.locator("#advice button", {hasText: "Show them"}).click();
  await until(page, () => location.hash.includes("only=weak"));
  await fewerRows(page, what.devices + 1);
  await page.locator("#only").selectOption("");
  await manyRows(page, what.devices);
} else if (what.devices > 100) say("no device is weak in the house: " + advice);

// Filters by a card, by the head of a column, and by the kind of a device. A reload of the page keeps them.
await page.locator(".card .pick").nth(1).click();
await until(page, () => location.hash.includes("proxy="));
const chosen = await page.locator(".card .pick").nth(1).textContent();
await until(page, (name) => document.querySelectorAll("#heat tbody tr").length > 0 && document.getElementById("by").textContent === name + " ✕", chosen);
const few = await rows(page);
await page.reload();
await until(page, (name) => document.getElementById("by")?.textContent === name + " ✕" && document.querySelectorAll("#heat tbody tr").length > 0, chosen);
is("a reload keeps the view", Math.abs(await rows(page) - few) <= Math.max(3, few / 10));
await page.locator("#by").click();
await manyRows(page, what.devices);
await page.locator("thead th.proxy button", {hasText: chosen}).click();
await until(page, (name) => document.getElementById("by").textContent === name + " ✕", chosen);
await page.locator("thead th.proxy button", {hasText: chosen}).click();
await page.locator("#only").selectOption("failed");
await until(page, (name) => document.querySelectorAll("#heat tbody tr").length === 1 && document.querySelector("th.dev .name").textContent === name, what.failed);
await page.locator("#only").selectOption("");
await page.locator("#filter").fill(chosen);
await page.locator("#none button", {hasText: "Show what"}).click();
await until(page, (name) => document.getElementById("by").textContent === name + " ✕", chosen);
await page.locator("#by").click();
await manyRows(page, what.devices);

// The row under the pointer stays there although signals move.
await page.locator("#sort").selectOption("rssi");
await page.locator("#heat tbody tr").nth(2).hover();
const order = () => page.evaluate(() => [...document.querySelectorAll("#heat tbody tr")].map((r) => r.dataset.address).join());
const before = await order();
await page.waitForTimeout(5000);
is("rows stay under the pointer", await order() === before);
await page.mouse.move(5, 5);
await page.locator("#sort").selectOption("name");

// The keyboard: one stop for all rows, arrows from row to row, Enter opens, Escape closes and goes back.
is("one tab stop", await page.locator('#heat tbody button[tabindex="0"]').count() === 1);
await page.locator('#heat tbody button[tabindex="0"]').focus();
const focused = () => page.evaluate(() => document.activeElement.closest("tr")?.rowIndex ?? -1);
const first = await focused();
await page.keyboard.press("ArrowDown");
is("the arrow goes to the next row", await focused() === first + 1);
await page.keyboard.press("End");
is("End goes to the last row", await focused() === what.devices);
await page.keyboard.press("Home");
await page.keyboard.press("Enter");
await until(page, () => document.querySelectorAll('[aria-expanded="true"]').length === 1 && !document.getElementById("detail").hidden);
await page.keyboard.press("Escape");
await until(page, () => document.getElementById("detail").hidden && document.activeElement.closest("tr"));

// A connected device, which no longer advertises, is shown as connected and not as silent.
await row(page, what.connected).click();
await until(page, () => /connected through \S+ for \d+ (s|min): a device that is connected often does not advertise/.test(document.getElementById("facts").textContent));
is("who holds it", /held byD-Bus/.test(await page.locator("#facts").textContent()));

// The decoded advertisement of a device, and the chart of its signals with a crosshair and a legend to click.
await row(page, what.decoded.name).click();
for (const words of [...what.decoded.words, "adapterhci0", "bondnone", "random address", "intervalabout"]) {
  await until(page, (words) => document.getElementById("facts").textContent.includes(words), words);
}
await until(page, () => document.querySelectorAll("#chart-key button").length > 0 && document.querySelectorAll("#chart path").length > 0);
const lines = await page.evaluate(() => [...document.querySelectorAll("#chart path")].map((p) => { const s = getComputedStyle(p); return s.stroke + s.strokeDasharray; }));
is("the lines are distinct: " + lines.join(" "), new Set(lines).size === lines.length);
await page.locator("#chart").hover({position: {x: 300, y: 60}});
await until(page, () => document.querySelector("#chart .cross"));
await page.mouse.move(5, 5);
await until(page, () => !document.querySelector("#chart .cross"));
await page.locator("#chart").focus();
await page.keyboard.press("ArrowLeft");
await until(page, () => document.querySelector("#chart .cross"));
await page.locator("#chart-key button").first().click();
await until(page, () => document.querySelector("#chart-key button").getAttribute("aria-pressed") === "false");
await page.locator("#chart-key button").first().click();
is("the panel is in the address", (await page.evaluate(() => location.hash)).includes("dev="));

// Selected text stays selected.
await page.locator(".card .facts").nth(2).selectText();
await page.waitForTimeout(3000);
is("text that is selected stays", (await page.evaluate(() => getSelection().toString())).includes("adverts/s"));
await page.evaluate(() => getSelection().removeAllRanges());

// The rates that are shown are right.
const total = await page.evaluate(() => document.getElementById("summary").textContent);
is("a rate: " + total, /[1-9][\d.]* adverts\/s/.test(total));

await accessible(page, "light");
await shot(page, "light");
await page.emulateMedia({colorScheme: "dark"});
await accessible(page, "dark");
await shot(page, "dark");

// What the page costs: the bytes of the events with changes, of which there is one each second, and the CPU time of its
// main thread. A reader that is too slow gets whole snapshots in between, which do not count: they show how busy the
// machine is.
async function cost() {
  const cdp = await page.context().newCDPSession(page);
  await page.locator("#close").click();
  await cdp.send("Performance.enable", {timeDomain: "threadTicks"});
  const cpu = async () => (await cdp.send("Performance.getMetrics")).metrics.find((m) => m.name === "TaskDuration").value;
  const [from, began] = [await cpu(), Date.now()];
  await page.waitForTimeout(what.seconds * 1000);
  const main = (await cpu() - from) / ((Date.now() - began) / 1000);
  const bytes = await page.evaluate((events) => new Promise((done) => {
    const sizes = [], es = new EventSource("events");
    es.onmessage = (e) => {
      if (!JSON.parse(e.data).list) sizes.push(e.data.length);
      if (sizes.length < events) return;
      es.close();
      done(sizes.reduce((a, b) => a + b) / events);
    };
  }), what.seconds);
  return {bytes, main};
}
const costs = await cost();

// The daemon is away: the page says that its data are old, and shows no proxy as online. When the daemon comes back, the
// page reports no change of a device's proxy.
const switches = await page.locator("#switches li").count();
await page.route("**/events", (route) => route.abort());
await page.evaluate(() => { // the stream ends, and no other one begins
  Object.defineProperty(document, "hidden", {configurable: true, get: () => true});
  document.dispatchEvent(new Event("visibilitychange"));
  delete document.hidden;
  document.dispatchEvent(new Event("visibilitychange"));
});
await until(page, () => [...document.querySelectorAll(".card .state")].every((s) => s.textContent === "unknown"));
is("what is shown is said to be old", /No contact/.test(await page.locator("#trouble").textContent()) && !(await page.locator("#down").textContent()));
await page.unroute("**/events");
await until(page, () => [...document.querySelectorAll(".card .state")].filter((s) => s.textContent === "online").length >= 2 && document.getElementById("trouble").hidden);
is("no switch is made up", await page.locator("#switches li").count() === switches);
await page.context().close();

// A phone: the page is used by touch, and nothing is wider than the screen.
const hand = await look(phone, {isMobile: true, hasTouch: true, deviceScaleFactor: 1.5});
await manyRows(hand, what.devices);
is("as wide as the phone", await hand.evaluate(() => document.documentElement.scrollWidth) <= phone.width);
await row(hand, what.decoded.name).tap();
await until(hand, () => document.querySelectorAll("#chart-key button").length > 0);
is("the panel is in sight", await hand.evaluate(() => { const r = document.getElementById("detail").getBoundingClientRect(); return r.top < innerHeight && r.bottom > 0; }));
await hand.locator("#chart").tap({position: {x: 150, y: 40}});
await until(hand, () => document.querySelector("#chart .cross"));
await accessible(hand, "phone");
await shot(hand, "phone");
await hand.locator("#walk-begin").tap();
await until(hand, () => document.querySelectorAll("#walk-list b").length > 0);
is("nothing else while walking", !(await hand.locator("#heat").isVisible()));
is("big numbers", await hand.evaluate(() => parseFloat(getComputedStyle(document.querySelector("#walk-list b")).fontSize)) >= 48);
is("the best so far", /best so far −\d+/.test(await hand.locator("#walk-list").textContent()));
await accessible(hand, "walk");
await shot(hand, "walk");
await hand.locator("#walk-end").tap();
await until(hand, () => document.getElementById("walk").hidden);
await hand.context().close();

await browser.close();
console.log(JSON.stringify({advice, ...costs}));
process.exit(wrong ? 1 : 0);
