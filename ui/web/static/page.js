// What the page does by itself. Everything works without it, only less so.
'use strict';
const say = document.body.dataset;

// Times as the owner's own clock shows them, or those in the zone that was chosen.
const local = root => root.querySelectorAll('time[datetime]').forEach(t => {
  const d = new Date(t.dateTime);
  if (!isNaN(d)) t.textContent = d.toLocaleString([], {dateStyle: 'medium', timeStyle: 'short', timeZone: say.zone || undefined});
});
local(document);

// A part of the page that follows the box. The server escapes all that is in it.
let events;
const follow = () => {
  events?.close();
  const live = document.getElementById('live');
  if (!live || !window.EventSource) return;
  events = new EventSource('/events?page=' + encodeURIComponent(live.dataset.page));
  events.onmessage = e => {
    const fresh = new DOMParser().parseFromString(e.data, 'text/html').body;
    local(fresh);
    if (fresh.innerHTML === live.innerHTML) return;
    const at = document.activeElement && live.contains(document.activeElement) ? document.activeElement.id : '';
    live.replaceChildren(...fresh.childNodes);
    if (at) document.getElementById(at)?.focus();
  };
};
follow();
addEventListener('pagehide', () => events?.close());

// After a restart: go on as soon as the box answers again, and is not the one that is about to stop.
const wait = document.getElementById('wait');
if (wait) {
  const begun = Date.now(), again = () => setTimeout(ask, 700);
  const ask = () => fetch('/alive', {cache: 'no-store'}).then(r => r.ok ? r.text() : '').then(run => {
    if (run && run !== wait.dataset.run && Date.now() - begun > 2500) location.replace('/?back=1');
    else again();
  }, again);
  setTimeout(ask, 1500);
}

// A port that is set otherwise is looked for at its new address.
const trying = document.getElementById('trying');
if (trying?.dataset.to) setTimeout(() => { location.href = trying.dataset.to; }, 6000);

// What the panel shows.
const panel = document.getElementById('panel');
if (panel) setInterval(() => { panel.src = '/panel.png?' + Date.now(); }, 2000);

// The setup learns where its owner is, for the panel's clock.
const zone = document.getElementById('zone');
if (zone) zone.value = Intl.DateTimeFormat().resolvedOptions().timeZone || '';

// A device that is being paired looks whether the owner has answered.
const asked = document.getElementById('follow');
if (asked) {
  const look = () => fetch('/pair/state', {cache: 'no-store'}).then(r => r.json()).then(s => {
    if (s.phase !== asked.dataset.phase) location.reload();
    else setTimeout(look, 1500);
  }, () => setTimeout(look, 3000));
  setTimeout(look, 1000);
}

// Buttons that were pressed once are not pressed twice, and large files show how far they are.
addEventListener('submit', e => {
  const form = e.target, bar = form.querySelector('progress.up');
  setTimeout(() => form.querySelectorAll('button').forEach(b => { b.disabled = true; }));
  setTimeout(() => form.querySelectorAll('button').forEach(b => { b.disabled = false; }), 8000);
  if (!bar) return;
  e.preventDefault();
  bar.hidden = false;
  const r = new XMLHttpRequest();
  r.open('POST', form.action);
  r.upload.onprogress = p => { if (p.lengthComputable) bar.value = 100 * p.loaded / p.total; };
  r.onload = () => {
    const page = new DOMParser().parseFromString(r.responseText, 'text/html');
    document.querySelector('main').replaceWith(page.querySelector('main'));
    document.querySelector('main').focus();
    local(document);
    follow(); // what came meanwhile was for the part that is gone
  };
  r.onerror = () => location.reload();
  r.send(new FormData(form));
});

// Copying, where the browser lets us.
document.querySelectorAll('[data-copy]').forEach(b => {
  if (!navigator.clipboard) return;
  b.hidden = false;
  b.onclick = () => navigator.clipboard.writeText(document.getElementById(b.dataset.copy).textContent).then(() => { b.textContent = say.sayCopied; });
});

// What went wrong, or was done, is read out and seen.
document.querySelector('[role=alert]')?.scrollIntoView({block: 'center'});
