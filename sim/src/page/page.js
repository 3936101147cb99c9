// Makes the page answer: which moment is looked at, and how wide a column is. It creates no markup and reads no text but
// what the list already holds. Hovering looks; a click, a key or the list keeps.
'use strict';
(() => {
  const find = (id) => document.getElementById(id);
  const lanes = find('lanes'), sheet = find('sheet'), guide = find('guide'), about = find('about'), told = find('told'), all = find('all');
  const rows = [...told.children];
  const moments = rows.map((_, number) => find('m' + number));
  const gaps = moments.map((moment) => Number(moment.style.getPropertyValue('--g')));
  const NARROWEST = 0.05, WIDEST = 260, UNIT = 14;
  const rowHeight = rows[0].offsetHeight;
  let step = 0, kept = -1, seen = -1;

  // The same sum as --x in the style, from the left edge of the tracks.
  const unit = () => Math.min(UNIT, step * 0.6);
  const place = (number) => (number + 0.5) * step + gaps[number] * unit();
  const names = () => sheet.querySelector('.name').offsetWidth;
  const room = () => lanes.clientWidth - names();
  const tail = parseFloat(getComputedStyle(lanes).getPropertyValue('--tail'));

  function look(number) {
    if (number === seen) return;
    if (seen >= 0) { moments[seen].classList.remove('seen'); rows[seen].classList.remove('seen'); rows[seen].removeAttribute('aria-current'); }
    seen = number;
    const row = rows[number], text = (name) => row.querySelector(name).textContent;
    moments[number].classList.add('seen');
    row.classList.add('seen');
    row.setAttribute('aria-current', 'true');
    guide.style.setProperty('--c', number);
    guide.style.setProperty('--g', gaps[number]);
    about.className = row.className.replace('seen', '').trim();
    find('about-what').replaceChildren(row.querySelector('.shape').cloneNode(true), text('.what span:last-child'));
    const time = document.createElement('b');
    time.textContent = text('time');
    const after = number > 0 && row.dataset.after !== '0 ms' ? ` (${row.dataset.after} after the moment before)` : '';
    const generation = text('.generation'), lane = text('.lane-name');
    find('about-where').replaceChildren(time, `${after} · ${lane} · ${generation} · ${about.className} · moment ${number + 1} of ${rows.length}`);
    find('about-detail').textContent = row.querySelector('.detail')?.textContent ?? '';
    find('about-detail').scrollTop = 0;
    const top = number * rowHeight, height = all.clientHeight;
    if (top < all.scrollTop + 24 || top > all.scrollTop + height - 72) all.scrollTop = top - height / 2;
  }

  function keep(number, focus) {
    if (kept >= 0) moments[kept].tabIndex = -1;
    kept = number;
    moments[number].tabIndex = 0;
    look(number);
    if (focus) moments[number].focus({ preventScroll: true });
    const x = place(number), left = lanes.scrollLeft, margin = Math.min(tail, room() / 3);
    if (x < left + margin) lanes.scrollLeft = x - margin;
    if (x > left + room() - margin) lanes.scrollLeft = x - room() + margin;
    const lane = moments[number].closest('.lane'), head = sheet.querySelector('.axis').offsetHeight;
    if (lane.offsetTop < lanes.scrollTop + head) lanes.scrollTop = lane.offsetTop - head;
    if (lane.offsetTop + lane.offsetHeight > lanes.scrollTop + lanes.clientHeight) lanes.scrollTop = lane.offsetTop + lane.offsetHeight - lanes.clientHeight;
  }

  // Writes only those times and pauses that have room and do not run into the flag; the times behind gaps first, since
  // they say most.
  function thin() {
    lanes.classList.toggle('dense', step < 6);
    const taken = { tick: [], pause: [] };
    const letter = 6.9, between = 10, flag = sheet.querySelector('.flag') ? place(moments.length - 1) : Infinity;
    const show = (mark, kind, from, width) => {
      const list = taken[kind];
      let at = list.findLastIndex((other) => other.from <= from);
      const fits = (from >= flag || from + width < flag) && (at < 0 || list[at].to + between <= from) && (at + 1 >= list.length || from + width + between <= list[at + 1].from);
      if (fits) list.splice(at + 1, 0, { from, to: from + width });
      mark.classList.toggle('shown', fits);
    };
    const x = (mark) => (Number(mark.style.getPropertyValue('--c')) + 0.5) * step + Number(mark.style.getPropertyValue('--g')) * unit();
    const width = (mark) => mark.textContent.length * letter;
    for (const wanted of ['.tick.after-gap', '.tick:not(.after-gap)']) {
      for (const tick of sheet.querySelectorAll(wanted)) show(tick, 'tick', x(tick), width(tick));
    }
    for (const pause of sheet.querySelectorAll('.pause')) show(pause, 'pause', x(pause) - step / 2 + Number(pause.style.getPropertyValue('--gs')) * unit() / 2 - width(pause) / 2, width(pause));
  }

  // What stands at `anchor` pixels from the left edge of the view stays there.
  function zoom(wanted, number = kept, anchor = place(number) - lanes.scrollLeft) {
    step = Math.min(WIDEST, Math.max(NARROWEST, wanted));
    lanes.style.setProperty('--step', step + 'px');
    lanes.scrollLeft = place(number) - Math.min(Math.max(anchor, 0), room());
    thin();
  }

  // How wide a column is when the whole story is in view.
  function whole() {
    const last = gaps.length - 1, width = room() - tail;
    const wide = (width - gaps[last] * UNIT) / moments.length;
    return wide * 0.6 >= UNIT ? wide : width / (moments.length + gaps[last] * 0.6);
  }

  function under(event) {
    const own = event.target.closest('.moment');
    if (own) return Number(own.id.slice(1));
    const x = event.clientX - lanes.getBoundingClientRect().left - names() + lanes.scrollLeft;
    if (event.target.closest('.name') || x < 0) return kept;
    let low = 0, high = moments.length - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((place(middle) + place(middle + 1)) / 2 < x) low = middle + 1; else high = middle;
    }
    return low;
  }

  function next(from, by, wanted) {
    for (let number = from + by; number >= 0 && number < moments.length; number += by) if (wanted(number)) return number;
    return from;
  }

  lanes.addEventListener('pointermove', (event) => look(under(event)));
  lanes.addEventListener('pointerleave', () => look(kept));
  lanes.addEventListener('click', (event) => keep(under(event), true));
  lanes.addEventListener('focusin', (event) => { if (event.target.id[0] === 'm') look(Number(event.target.id.slice(1))); });
  lanes.addEventListener('wheel', (event) => {
    if (!event.ctrlKey) return;
    event.preventDefault();
    const number = under(event);
    zoom(step * Math.exp(-event.deltaY / 300), number, place(number) - lanes.scrollLeft);
  }, { passive: false });
  told.addEventListener('click', (event) => {
    const row = event.target.closest('li');
    if (row) keep(rows.indexOf(row), true);
  });
  find('narrower').addEventListener('click', () => zoom(step / 1.5));
  find('wider').addEventListener('click', () => zoom(step * 1.5));
  find('fit').addEventListener('click', () => zoom(whole()));
  document.addEventListener('keydown', (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.id === 'about-detail') return;
    const by = event.key === 'ArrowLeft' ? -1 : 1;
    const lane = (number) => moments[number].parentNode;
    const goes = {
      ArrowLeft: () => next(kept, by, (number) => !event.shiftKey || lane(number) === lane(kept)),
      ArrowRight: () => next(kept, by, (number) => !event.shiftKey || lane(number) === lane(kept)),
      Home: () => 0,
      End: () => moments.length - 1,
      f: () => next(kept, 1, (number) => rows[number].classList.contains('fault')),
      F: () => next(kept, -1, (number) => rows[number].classList.contains('fault')),
    }[event.key];
    if (goes) keep(goes(), true);
    else if (event.key === '+' || event.key === '=') zoom(step * 1.5);
    else if (event.key === '-') zoom(step / 1.5);
    else if (event.key === '0') zoom(whole());
    else return;
    event.preventDefault();
  });

  // A short story fills the view; a long one begins wide enough to be read. A broken rule is looked at where it broke.
  step = Math.min(150, Math.max(34, whole()));
  lanes.style.setProperty('--step', step + 'px');
  thin();
  keep(sheet.querySelector('.flag') ? moments.length - 1 : 0, false);
})();
