// Drives the chat page of a running gateway in a real browser: login by the one-time link, a streamed answer, a restart from the chat
// in the middle of a long answer, and the same history after a reload. It starts no gateway; it owns only the browser it launches.
//
//   BASE_URL=http://127.0.0.1:8787 CODE=... [PLAYWRIGHT_CORE=folder of the package] [CHROMIUM=program] [SHOTS=folder] node chat.mjs
//
// Prints one line a step; exit status 0: everything held (or skipped, and says so), 1: something did not, or 60 s were over.

import { accessSync, constants } from 'node:fs';
import { createRequire } from 'node:module';
import { delimiter, join } from 'node:path';

const TIME_LIMIT_MS = 60_000;
const { BASE_URL, CODE, PLAYWRIGHT_CORE, CHROMIUM, SHOTS } = process.env;

function skip(why) {
  console.log(`SKIPPED: the browser test did not run: ${why}`);
  process.exit(0);
}

function program(names) {
  for (const folder of (process.env.PATH ?? '').split(delimiter)) {
    for (const name of names) {
      try { accessSync(join(folder, name), constants.X_OK); return join(folder, name); } catch { /* not in this folder */ }
    }
  }
  return null;
}

if (!BASE_URL || !CODE) {
  console.error('BASE_URL and CODE are needed: the address of a running gateway and the code of its one-time link.');
  process.exit(1);
}
const executablePath = CHROMIUM ?? program(['chromium', 'chromium-browser', 'google-chrome']);
if (!executablePath) skip('no chromium is installed.');
let chromium;
try {
  ({ chromium } = createRequire(import.meta.url)(PLAYWRIGHT_CORE ?? 'playwright-core'));
} catch (error) {
  skip(`playwright-core cannot be loaded (set PLAYWRIGHT_CORE to its folder): ${error.message.split('\n')[0]}`);
}

const begun = Date.now();
const step = text => console.log(`ok ${String(Date.now() - begun).padStart(6)} ms  ${text}`);
function hold(condition, text) { if (!condition) throw new Error(text); }

let browser;
const overdue = setTimeout(async () => {
  console.log(`FAILED: not done after ${TIME_LIMIT_MS / 1000} s`);
  setTimeout(() => process.exit(1), 2000);
  await browser?.close().catch(() => {});
  process.exit(1);
}, TIME_LIMIT_MS);

/** What a person sees, top to bottom, without labels: [kind, text]. */
const transcript = page => page.$$eval('#log .item', items => items.map(item => [
  ['user', 'agent', 'notice'].find(kind => item.classList.contains(kind)), item.querySelector('.text').textContent,
]));
/** How many finished answers with exactly this text stand in the conversation. */
const answers = (page, text) => page.$$eval('.agent[data-reply] .text', (found, wanted) => found.filter(one => one.textContent === wanted).length, text);
const partial = page => page.evaluate(() => document.querySelector('.agent.partial .text')?.textContent ?? '');
const status = page => page.evaluate(async () => {
  const response = await fetch('/v1/status', { headers: { Authorization: `Bearer ${localStorage.getItem('evergate.token')}` } });
  return response.json();
});

async function say(page, text) {
  await page.fill('#text', text);
  await page.press('#text', 'Enter');
}

async function until(what, limitMs, probe) {
  for (const end = Date.now() + limitMs; Date.now() < end;) {
    const found = await probe();
    if (found) return found;
    await new Promise(resolve => setTimeout(resolve, 25));
  }
  throw new Error(`waited ${limitMs} ms in vain for ${what}`);
}

async function photograph(page, name) { if (SHOTS) await page.screenshot({ path: join(SHOTS, `${name}.png`) }); }

async function drive() {
  browser = await chromium.launch({
    executablePath, headless: true, timeout: 20_000,
    args: ['--headless', '--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
  });
  const page = await browser.newPage();
  page.setDefaultTimeout(10_000);
  const complaints = [];
  page.on('pageerror', error => complaints.push(error.message));
  page.on('console', line => { if (line.type() === 'error' && /Content Security Policy|Uncaught/.test(line.text())) complaints.push(line.text()); });
  step(`${browser.browserType().name()} ${browser.version()} started`);

  await page.goto(`${BASE_URL}/#code=${CODE}`);
  await page.waitForSelector('#app:not([hidden]) #text');
  await until('the token in the page\'s storage', 5000, () => page.evaluate(() => localStorage.getItem('evergate.token')));
  hold(!page.url().includes('#'), `the code is still in the address: ${page.url()}`);
  step('signed in by the one-time link, the code is gone from the address');

  const session = `browser-${Date.now().toString(36)}`;
  await page.fill('#open-name', session);
  await page.press('#open-name', 'Enter');
  await page.waitForFunction(name => document.querySelector('#title').textContent === name, session);
  step(`session ${session} opened`);

  const greeting = 'take 2s hello, this is a short question for a slow and patient agent';
  await say(page, greeting);
  const first = await until('a part of the answer', 8000, async () => { const text = await partial(page); return text.length > 10 && text; });
  hold(`You said: ${greeting}`.startsWith(first), `the first words are no beginning of the answer: ${first}`);
  step(`the answer streams: "${first.trim()}…"`);
  await until('the whole answer', 10_000, () => answers(page, `You said: ${greeting}`));
  step('the whole answer came');

  // Every banner is written down: the last one, "back", is only there for a moment.
  await page.evaluate(() => {
    window.banners = [];
    const banner = document.querySelector('#banner');
    new MutationObserver(() => { const text = banner.textContent; if (!banner.hidden && text && window.banners.at(-1) !== text) window.banners.push(text); })
      .observe(banner, { childList: true, subtree: true, attributes: true, characterData: true });
  });
  const before = (await status(page)).generation;
  const long = 'take 8s alpha bravo charlie delta echo foxtrot golf hotel india juliett kilo lima mike november oscar papa quebec romeo sierra tango';
  await say(page, long);
  await until('three words of the long answer', 8000, async () => (await partial(page)).split(' ').length > 5);
  await say(page, '/restart');
  step(`/restart typed in the middle of the long answer, generation ${before}`);
  const banner = await until('the banner', 15_000, () => page.evaluate(() => window.banners[0]));
  await photograph(page, 'restarting');
  step(`banner: "${banner}"`);
  await until('the banner that says a new generation is back', 20_000, () => page.evaluate(() => window.banners.find(text => /^Back, generation \d+$/.test(text))));
  const after = (await status(page)).generation;
  hold(after > before, `the generation is still ${after}`);
  step(`generation ${after} is back; the banners were ${(await page.evaluate(() => window.banners)).map(text => `"${text}"`).join(', ')}`);
  await until('the long answer', 25_000, () => answers(page, `You said: ${long}`));
  const resumed = await page.evaluate(() => [...document.querySelectorAll('.agent .label')].some(label => label.textContent === 'resumed after a restart'));
  step(`the long answer came (${resumed ? 'its turn was resumed after the restart' : 'its turn did not have to be resumed'})`);
  await page.waitForTimeout(1500);
  hold(await answers(page, `You said: ${long}`) === 1, 'the long answer stands there more than once');
  hold(await page.locator('.agent.partial').count() === 0, 'a partial answer is left over');
  hold(await page.locator('.user.unsent').count() === 0, 'a message is still waiting to be sent');
  step('the long answer stands there once, nothing partial and nothing unsent is left');

  const seen = await transcript(page);
  for (const text of [greeting, long, '/restart']) hold(seen.filter(([kind, one]) => kind === 'user' && one === text).length === 1, `"${text}" does not stand there once`);
  await photograph(page, 'before-reload');
  await page.reload();
  await page.waitForFunction(name => document.querySelector('#title').textContent === name, session);
  await until('the history after the reload', 10_000, async () => (await transcript(page)).length >= seen.length);
  await page.waitForTimeout(1000);
  const again = await transcript(page);
  hold(JSON.stringify(again) === JSON.stringify(seen), `the history changed by the reload:\n${JSON.stringify(seen)}\n${JSON.stringify(again)}`);
  await photograph(page, 'after-reload');
  step(`reloaded: the same ${again.length} entries in the same order`);

  hold(complaints.length === 0, `the page complained: ${complaints.join('; ')}`);
  step('no script error, nothing refused by the content policy');
}

let held = false;
try {
  await drive();
  held = true;
} catch (error) {
  console.log(`FAILED: ${error.message}`);
} finally {
  clearTimeout(overdue);
  await browser?.close().catch(() => {});
}
process.exit(held ? 0 : 1);
