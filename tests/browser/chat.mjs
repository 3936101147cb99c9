// The conversation: a streamed answer, a restart from the chat in the middle of a long answer, and the same history after a reload.
// The gateway has the demo agent; see stage.mjs for how it is started.

import { answers, enter, hold, photograph, play, say, status, step, transcript, until } from './stage.mjs';

const partial = page => page.evaluate(() => document.querySelector('.agent.partial .text')?.textContent ?? '');

await play(async page => {
  const session = await enter(page);

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
});
