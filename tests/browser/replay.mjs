// The page that `evergate-sim replay --html` draws: its lanes, how long the gateway lives and turns run in them, what a pointer over
// a moment tells, and the rule that broke, marked where it broke. No gateway takes part; see stage.mjs for the browser.
//
//   PAGE=drawn.html BROKEN=rule LANES=lane,lane,... [BANDS="lane=end end ...,lane=..."] node replay.mjs
//
// The ends of the bands of a lane, in order: `ended`, `cut` (its generation was over before), `open` (the story was).

import { pathToFileURL } from 'node:url';
import { hold, photograph, play, step, until } from './stage.mjs';

const { PAGE, BROKEN, LANES, BANDS } = process.env;

/** What the list of all moments holds of each: where, what, its small print. */
const rows = page => page.$$eval('#told li', all => all.map(row => ({
  lane: row.querySelector('.lane-name').textContent,
  what: row.querySelector('.what span:last-child').textContent,
  detail: row.querySelector('.detail')?.textContent ?? '',
})));
const about = page => page.evaluate(() => ({
  what: document.querySelector('#about-what').textContent,
  where: document.querySelector('#about-where').textContent,
  detail: document.querySelector('#about-detail').textContent,
}));
/** Where something is drawn, if it is. */
const box = async (page, selector) => {
  const found = await page.locator(selector).first().boundingBox();
  hold(found && found.width > 0 && found.height > 0, `${selector} is not to be seen`);
  return found;
};
const middle = ({ x, y, width, height }) => ({ x: x + width / 2, y: y + height / 2 });

await play(async page => {
  await page.setViewportSize({ width: 1400, height: 900 });
  await page.goto(pathToFileURL(PAGE).href);
  const told = await rows(page);
  hold(told.length > 5, `the page tells of ${told.length} moments`);
  hold(await page.locator('.moment').count() === told.length, 'the lanes do not hold as many moments as the list');
  step(`opened: ${await page.title()}, ${told.length} moments`);

  const lanes = await page.$$eval('.lane > .name', names => names.map(name => name.textContent));
  hold(JSON.stringify(lanes) === JSON.stringify(LANES.split(',')), `the lanes are ${lanes.join(', ')}`);
  let above = -1;
  for (const [index, lane] of lanes.entries()) {
    const { y } = await box(page, `.lane:nth-of-type(${index + 3}) > .name`);
    hold(y > above, `${lane} does not stand below the lane before`);
    above = y;
  }
  // Each moment stands in its own lane, and none left of the one before it.
  let left = -Infinity;
  for (const [number, { lane }] of told.entries()) {
    const { x, own } = await page.$eval(`#m${number}`, moment => ({ x: moment.getBoundingClientRect().x, own: moment.closest('.lane').querySelector('.name').textContent }));
    hold(own === lane, `moment ${number + 1} is drawn in the lane ${own}, and is of ${lane}`);
    hold(x >= left, `moment ${number + 1} is drawn before the one that it follows`);
    left = x;
  }
  step(`lanes from top to bottom: ${lanes.join(', ')}; time goes to the right in all of them`);

  const shapes = (lane, kind) => lane.locator(`.moment.${kind} .shape`).all().then(all => Promise.all(all.map(shape => shape.boundingBox())));
  const gatewayEnds = (await shapes(page.locator('.lane.gateway'), 'end')).map(middle);
  for (const [name, ends] of (BANDS?.split(',') ?? []).map(lane => lane.split('='))) {
    const lane = page.locator('.lane').filter({ has: page.locator('.name', { hasText: new RegExp(`^${name}$`) }) });
    const bands = await lane.locator('.band').all();
    const drawn = await Promise.all(bands.map(band => band.evaluate(({ classList }) => ['cut', 'open'].find(end => classList.contains(end)) ?? 'ended')));
    hold(drawn.join(' ') === ends, `the bands of ${name} are ${drawn.join(', ') || 'none'}`);
    const begins = (await shapes(lane, 'begin')).map(middle);
    hold(begins.length === bands.length, `${name} begins ${begins.length} times and has ${bands.length} bands`);
    for (const [index, band] of bands.entries()) {
      const { x, y, width, height } = await band.boundingBox(), row = await lane.boundingBox();
      hold(width > 0 && height > 10 && y >= row.y && y + height <= row.y + row.height, `band ${index + 1} of ${name} is not to be seen in its lane`);
      hold(x <= begins[index].x && begins[index].x - x < 24, `band ${index + 1} of ${name} begins at ${x}, and what it shows at ${begins[index].x}`);
      const right = x + width, near = gatewayEnds.some(end => Math.abs(end.x - right) < 24);
      hold(drawn[index] !== 'cut' || near, `band ${index + 1} of ${name} is cut at ${right}, where no generation ends`);
    }
    step(`${name} has ${bands.length} bands, from where each begins: ${drawn.join(', ')}`);
  }

  const last = told.length - 1;
  hold((await page.textContent('.outcome.broken')).includes(`BROKEN ${BROKEN}`), 'the head does not name the broken rule');
  hold(await page.textContent('.flag') === `${BROKEN} broken`, 'no flag names it');
  await box(page, '.flag');
  const mark = await box(page, '.behind .broken'), moment = middle(await box(page, `#m${last} .shape`));
  hold(Math.abs(middle(mark).x - moment.x) < 12, `the rule is marked at ${middle(mark).x}, and broke at ${moment.x}`);
  hold((await about(page)).what === told[last].what, 'the moment in which it broke is not the one that is told of at first');
  await photograph(page, 'replay-broken');
  step(`${BROKEN} is named, flagged and marked where it broke: "${told[last].what}"`);

  const seen = new Set();
  for (const [number, { lane, what, detail }] of told.entries()) {
    const shape = page.locator(`#m${number} .shape`);
    await shape.scrollIntoViewIfNeeded();
    const { x, y } = middle(await shape.boundingBox());
    await page.mouse.move(x, y);
    await until(`moment ${number + 1} to be told of under the pointer`, 2000, async () => (await about(page)).where.includes(`moment ${number + 1} of ${told.length}`));
    const now = await about(page);
    hold(now.what === what && now.detail === detail && now.where.includes(lane), `under the pointer stands ${JSON.stringify(now)}, and not ${what}`);
    seen.add(now.what);
  }
  await photograph(page, 'replay-hover');
  step(`a pointer over each of ${told.length} moments tells what it is, ${seen.size} different things`);
  await page.mouse.move(2, 2);
  await until('what was kept to be told again', 2000, async () => (await about(page)).what === told[last].what);
  await page.keyboard.press('Home');
  hold((await about(page)).what === told[0].what, 'Home does not lead to the first moment');
  step('without a pointer it tells of the moment that is kept, and keys move that');
});
