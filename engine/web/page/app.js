// The page around a Talk.

import { Talk, check } from './talk.js';

const $ = (id) => document.getElementById(id);
const store = globalThis.localStorage;
const query = new URLSearchParams(location.search);
let talk = null;
let rows = new Map();
let last = null;

function state(kind, text) {
  $('state').dataset.state = kind;
  $('state').textContent = text;
}

function tell(title, advice, note = false) {
  const strong = document.createElement('strong');
  strong.textContent = title;
  $('alert').replaceChildren(strong, advice || '');
  $('alert').classList.toggle('note', note);
  $('alert').hidden = false;
}

function shown(person) {
  if (person.id === 0) return 'people at other relays';
  return person.alias || (person.fingerprint ? person.fingerprint.slice(0, 9) : `guest ${person.id}`);
}

// elsewhere names those at other relays, who speak with one meter.
function elsewhere() {
  return (talk.elsewhere || []).map((p) => `${p.alias || p.fingerprint?.slice(0, 9) || 'somebody'} (${p.relay_label})`).join(', ');
}

const COMES = { quic: 'app', ws: 'browser, WebSocket', wt: 'browser, WebTransport' };

function row(person) {
  const li = document.createElement('li');
  li.innerHTML = '<span class="face" aria-hidden="true"></span><span class="who"><b></b><small></small></span>'
    + '<span class="meter" role="meter" aria-valuemin="-60" aria-valuemax="0"><i></i></span><span class="db" aria-hidden="true"></span>';
  const name = shown(person);
  const mine = person.id === talk.you;
  li.querySelector('.face').textContent = name.trim().slice(0, 1).toUpperCase();
  li.querySelector('b').textContent = mine ? `${name} (you)` : name;
  li.querySelector('small').textContent = person.id === 0 ? elsewhere() : COMES[person.transport] || '';
  li.querySelector('.meter').setAttribute('aria-label', `Level of ${name}`);
  return { li, bar: li.querySelector('i'), meter: li.querySelector('.meter'), db: li.querySelector('.db') };
}

function people() {
  if (!talk) return;
  const list = [...talk.people];
  if (talk.voices.has(0) || talk.elsewhere?.length) list.push({ id: 0 });
  rows = new Map(list.map((p) => [p.id, Object.assign(row(p), { at: rows.get(p.id)?.at })]));
  $('people').replaceChildren(...[...rows.values()].map((r) => r.li));
  const n = talk.people.length + (talk.elsewhere?.length || 0);
  $('count').textContent = n === 1 ? 'nobody else is here yet' : `${n} people`;
}

function meters() {
  if (!talk) return;
  const now = new Map(talk.levels().map((l) => [l.id, l.level]));
  for (const [id, r] of rows) {
    const db = r.at = Math.max(now.get(id) ?? -100, (r.at ?? -100) - 1); // falls slowly, for the eye
    r.bar.style.clipPath = `inset(0 ${(100 - 100 * Math.max(0, Math.min(1, (db + 60) / 60))).toFixed(1)}% 0 0)`;
    r.meter.setAttribute('aria-valuenow', Math.round(Math.max(-60, Math.min(0, db))));
    r.db.textContent = db > -70 ? `${db.toFixed(0)} dBFS` : 'silent';
    r.li.classList.toggle('speaks', db > -45);
  }
  requestAnimationFrame(meters);
}

function facts() {
  if (!talk) return;
  const s = talk.stats();
  const got = s.voices.reduce((a, v) => ({ packets: a.packets + v.packets, bytes: a.bytes + v.bytes, lost: a.lost + v.lost }), { packets: 0, bytes: 0, lost: 0 });
  const buffer = Math.max(0, ...s.voices.map((v) => v.buffer?.depth || 0));
  const at = performance.now();
  const rate = (n, o) => last ? `${(8 * (n - o) / (at - last.at)).toFixed(0)} kbit/s` : '';
  const list = [
    ['connection', s.way], ['sent', rate(s.sentBytes, last?.up)], ['received', rate(got.bytes, last?.down)],
    ['packets lost', `${got.lost} of ${got.packets + got.lost}`], ['not sent', s.unsent], ['jitter buffer', `${buffer.toFixed(0)} ms`],
  ];
  $('facts').replaceChildren(...list.map(([k, v]) => {
    const div = document.createElement('div');
    const [dt, dd] = [document.createElement('dt'), document.createElement('dd')];
    dt.textContent = k;
    dd.textContent = v;
    div.append(dt, dd);
    return div;
  }));
  last = { at, up: s.sentBytes, down: got.bytes };
}

function show(inside) {
  $('join').hidden = inside;
  $('talk').hidden = !inside;
}

async function join(event) {
  event?.preventDefault();
  const settings = Object.fromEntries(new FormData($('join')));
  settings.room = settings.room.trim();
  settings.bitrate = Number(settings.bitrate);
  settings.plain = query.has('plain');
  for (const k of ['room', 'alias']) store?.setItem(`signalbox.${k}`, settings[k]);
  $('alert').hidden = true;
  $('enter').disabled = true;
  state('wait', 'connecting');
  const t = talk = new Talk(settings);
  t.onchange = people;
  t.onnote = (title, advice) => tell(title, advice, true);
  t.onend = (trouble) => leave(trouble);
  try {
    await t.open();
    $('title').textContent = settings.room;
    document.title = `${settings.room}: signalbox`;
    state('on', `by ${t.link.name}`);
    show(true);
    mute(settings.source === 'none');
    $('mute').disabled = settings.source === 'none';
    t.volume = $('volume').value / 100;
    people();
    meters();
    $('mute').focus();
  } catch (err) {
    talk = null;
    state('bad', 'not connected');
    tell(err.message, err.advice);
  } finally {
    $('enter').disabled = false;
  }
}

function leave(trouble) {
  talk?.close();
  talk = last = null;
  show(false);
  document.title = 'signalbox: talk';
  state(trouble ? 'bad' : 'off', 'not connected');
  if (trouble) tell(trouble.message, trouble.advice);
  $('enter').focus();
}

function mute(on) {
  if (!talk) return;
  talk.muted = on;
  $('mute').setAttribute('aria-pressed', on);
  $('mute').textContent = on ? 'Unmute' : 'Mute';
}

for (const k of ['room', 'alias']) {
  const v = query.get(k) ?? store?.getItem(`signalbox.${k}`);
  if (v) $(k).value = v;
}
for (const k of ['way', 'source']) if (query.has(k)) $(k).value = query.get(k);
$('join').addEventListener('submit', join);
$('leave').addEventListener('click', () => leave());
$('mute').addEventListener('click', () => mute(!talk?.muted));
$('volume').addEventListener('input', () => { if (talk) talk.volume = $('volume').value / 100; });
document.addEventListener('keydown', (e) => {
  if (talk && e.key === 'm' && !e.ctrlKey && !e.metaKey && !e.altKey && e.target === document.body) mute(!talk.muted);
});
addEventListener('pagehide', () => talk?.close());
setInterval(facts, 1000);
check().catch((err) => {
  tell(err.message, err.advice);
  $('enter').disabled = true;
});

// For a look from the developer tools, and for tests.
globalThis.signalbox = { join, leave, mute, stats: () => talk?.stats() ?? null };
