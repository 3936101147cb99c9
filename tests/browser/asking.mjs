// Questions and files: an agent asks before it acts, and its chat answers with a button, in this tab or in another, after a reload and
// after a restart; a file that goes with an answer is saved. The gateway has the agent of agent.mjs, which may ask; see stage.mjs.

import { readFile } from 'node:fs/promises';
import { answers, enter, hold, photograph, play, say, status, step, until } from './stage.mjs';

const PHONE = { width: 390, height: 844 };
const DESKTOP = { width: 1280, height: 800 };

const open = page => page.locator('.question:not(.decided) button.allow').count();
const notices = page => page.$$eval('.notice > .text', found => found.map(one => one.textContent));

/** Has the agent ask, and waits until its question can be answered. */
async function asked(page, text) {
  await say(page, text);
  await until('a question with its buttons', 10_000, async () => await open(page) === 1);
}

await play(async page => {
  const session = await enter(page);
  await page.setViewportSize(DESKTOP);

  await say(page, 'Good morning');
  await until('an answer', 10_000, () => answers(page, 'I heard: Good morning'));
  await asked(page, 'Please delete the old downloads');
  const words = await page.textContent('.question > .text');
  hold(words.includes('rm -r ~/Downloads/old'), `it does not say what it is about: ${words}`);
  const [turn] = (await status(page)).turns;
  hold(turn.asks.length === 1 && turn.asks[0].since_ms > 0, `the status does not say that it waits: ${JSON.stringify(turn)}`);
  await until('the list to say so', 10_000, () => page.locator('#sessions [aria-current] .state', { hasText: 'asking' }).count());
  await photograph(page, 'question-desktop');
  await page.setViewportSize(PHONE);
  await photograph(page, 'question-phone');
  await page.setViewportSize(DESKTOP);
  step('the agent asks, and the question has its two buttons');

  await page.reload();
  await until('the question after the reload', 10_000, async () => await open(page) === 1);
  await page.locator('.question button.allow').click();
  await until('the answer of an agent that may', 10_000, () => answers(page, 'The old downloads are gone.'));
  hold(await open(page) === 0, 'the buttons of a decided question are left');
  hold((await notices(page)).some(text => /^Allowed/.test(text)), 'nothing says that it was allowed');
  step('after a reload the buttons are there again; Allow is heard, and they go');

  await asked(page, 'And now delete all of them');
  await page.locator('.question:not(.decided) button.deny').click();
  await until('the answer of an agent that may not', 10_000, () => answers(page, 'Nothing was deleted.'));
  step('Deny is heard');

  const other = await page.context().newPage();
  await other.goto(page.url());
  await other.waitForFunction(name => document.querySelector('#title')?.textContent === name, session);
  await asked(page, 'Will you delete that, too?');
  await until('the question in the other tab', 10_000, async () => await open(other) === 1);
  await other.locator('.question:not(.decided) button.deny').click();
  await until('the second no', 10_000, async () => await answers(page, 'Nothing was deleted.') === 2);
  hold(await open(page) === 0 && await open(other) === 0, 'a question that was answered elsewhere has its buttons');
  await other.close();
  step('what is answered in another tab is answered here');

  await asked(page, 'Once more: delete them');
  const before = (await status(page)).generation;
  await say(page, '/restart');
  await until('a new generation', 20_000, async () => (await status(page).catch(() => ({}))).generation > before);
  await until('the buttons after the restart', 10_000, async () => await open(page) === 1);
  await page.locator('.question:not(.decided) button.allow').click();
  await until('the answer after the restart', 20_000, async () => await answers(page, 'The old downloads are gone.') === 2);
  step(`a restart waits for nobody's word: the question of generation ${before} is answered in the next`);

  await say(page, 'Show me a picture');
  const button = page.locator('.agent .file');
  await button.waitFor();
  await photograph(page, 'file-desktop');
  await page.setViewportSize(PHONE);
  await photograph(page, 'file-phone');
  await page.setViewportSize(DESKTOP);
  const [download] = await Promise.all([page.waitForEvent('download'), button.click()]);
  const bytes = await readFile(await download.path());
  hold(/sunset\.png$/.test(download.suggestedFilename()), `it is called ${download.suggestedFilename()}`);
  hold(bytes.subarray(1, 4).toString() === 'PNG' && bytes.length === 70, `it is not what the agent gave: ${bytes.length} bytes`);
  step(`the file of the answer is saved as ${download.suggestedFilename()}, ${bytes.length} bytes`);

  await page.reload();
  await until('the history after the reload', 10_000, async () => await page.locator('.agent .file').count() === 1);
  hold(await open(page) === 0, 'a reload brings back the buttons of decided questions');
  await photograph(page, 'history-desktop');
  step('after a reload the file is still there, and no question is open');
});
