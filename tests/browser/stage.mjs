// What the scenes share: a real browser on a running gateway's chat page, steps that are printed, a limit in time. It starts no
// gateway; it owns only the browser it launches.
//
// A scene on a page that needs no gateway is given that page instead (PAGE=FILE).
//
//   BASE_URL=http://127.0.0.1:8787 CODE=... [PLAYWRIGHT_CORE=folder of the package] [CHROMIUM=program] [SHOTS=folder] node SCENE.mjs
//
// Prints one line a step; exit status 0: everything held (or skipped, and says so), 1: something did not, or 60 s were over.

import { accessSync, constants } from 'node:fs';
import { createRequire } from 'node:module';
import { delimiter, join } from 'node:path';

const TIME_LIMIT_MS = 60_000;
const { CODE, PAGE, PLAYWRIGHT_CORE, CHROMIUM, SHOTS } = process.env;
export const { BASE_URL } = process.env;

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

const begun = Date.now();
export const step = text => console.log(`ok ${String(Date.now() - begun).padStart(6)} ms  ${text}`);
export function hold(condition, text) { if (!condition) throw new Error(text); }

/** What a person sees, top to bottom, without labels and buttons: [kind, text]. */
export const transcript = page => page.$$eval('#log .item', items => items.map(item => [
  ['user', 'agent', 'notice'].find(kind => item.classList.contains(kind)), item.querySelector('.text').textContent,
]));
/** How many finished answers with exactly this text stand in the conversation. */
export const answers = (page, text) => page.$$eval('.agent[data-reply] .text', (found, wanted) => found.filter(one => one.textContent === wanted).length, text);
export const status = page => page.evaluate(async () => {
  const response = await fetch('/v1/status', { headers: { Authorization: `Bearer ${localStorage.getItem('evergate.token')}` } });
  return response.json();
});

export async function say(page, text) {
  await page.fill('#text', text);
  await page.press('#text', 'Enter');
}

export async function until(what, limitMs, probe) {
  for (const end = Date.now() + limitMs; Date.now() < end;) {
    const found = await probe();
    if (found) return found;
    await new Promise(resolve => setTimeout(resolve, 25));
  }
  throw new Error(`waited ${limitMs} ms in vain for ${what}`);
}

export async function photograph(page, name) {
  if (!SHOTS) return;
  await page.waitForTimeout(400); // a change of the width slides the list of sessions away
  await page.screenshot({ path: join(SHOTS, `${name}.png`) });
}

/** Comes in by the one-time link and opens a session that nobody has used. */
export async function enter(page) {
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
  return session;
}

/** Plays a scene on a fresh page, and ends the process with what came of it. */
export async function play(scene) {
  if (!PAGE && (!BASE_URL || !CODE)) {
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
  let browser, held = false;
  const overdue = setTimeout(async () => {
    console.log(`FAILED: not done after ${TIME_LIMIT_MS / 1000} s`);
    setTimeout(() => process.exit(1), 2000);
    await browser?.close().catch(() => {});
    process.exit(1);
  }, TIME_LIMIT_MS);
  try {
    browser = await chromium.launch({
      executablePath, headless: true, timeout: 20_000,
      args: ['--headless', '--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
    });
    const page = await (await browser.newContext()).newPage();
    page.setDefaultTimeout(10_000);
    const complaints = [];
    page.on('pageerror', error => complaints.push(error.message));
    page.on('console', line => { if (line.type() === 'error' && /Content Security Policy|Uncaught/.test(line.text())) complaints.push(line.text()); });
    step(`${browser.browserType().name()} ${browser.version()} started`);
    await scene(page);
    hold(complaints.length === 0, `the page complained: ${complaints.join('; ')}`);
    step('no script error, nothing refused by the content policy');
    held = true;
  } catch (error) {
    console.log(`FAILED: ${error.message}`);
  } finally {
    clearTimeout(overdue);
    await browser?.close().catch(() => {});
  }
  process.exit(held ? 0 : 1);
}
