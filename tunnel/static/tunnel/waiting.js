// Waits for an agent: the live socket rings, the panel then asks what happened and shows it as text.
"use strict";

(() => {
  const config = JSON.parse(document.getElementById("yt-waiting-config").textContent);
  const panel = document.getElementById("yt-waiting");
  const part = (name) => panel.querySelector(`[data-yt="${name}"]`);

  const GAP = 500; // ms between two questions; a connect rings several times

  let asking = false;
  let again = false;
  let timer = null;
  let ended = false;
  let shown = config.shown;
  let seconds = null; // the round trip

  const line = (event) => {
    const item = document.createElement("li");
    item.dataset.kind = event.kind;
    const time = Object.assign(document.createElement("time"), { textContent: event.at, title: event.exact });
    item.append(time, " ", Object.assign(document.createElement("span"), { textContent: event.text }));
    return item;
  };

  /** Say where the wait is; a round trip is known from the socket long before the database has it. */
  const say = () => {
    const trip = seconds ? config.trip.replace("{number}", Math.max(1, Math.round(seconds * 1000))) : shown.trip;
    const words = shown.connected && trip ? `${shown.state}, ${trip}` : shown.state;
    if (part("words").textContent !== words) part("words").textContent = words;
  };

  const show = (now) => {
    shown = now;
    say();
    panel.toggleAttribute("data-connected", shown.connected);
    if (part("open")) part("open").hidden = !shown.connected;
    part("events").replaceChildren(...shown.events.map(line));
  };

  const end = () => {
    ended = true;
    live.end();
    part("words").textContent = config.ended;
  };

  const ask = async () => {
    timer = null;
    if (asking || ended) {
      again = asking;
      return;
    }
    asking = true;
    try {
      const answer = await fetch(config.data, { headers: { Accept: "application/json" }, redirect: "manual" });
      if (answer.ok) show(await answer.json());
      else if (answer.type === "opaqueredirect" || answer.status === 403) end();
    } catch {
      // The panel is away: the next ring or the next poll asks again.
    }
    asking = false;
    if (again) {
      again = false;
      ring();
    }
  };

  const ring = () => {
    if (timer === null) timer = setTimeout(ask, GAP);
  };

  const hear = (message) => {
    const mine = (message.cards || []).find((card) => card.id === config.id);
    if (mine && "rtt" in mine) {
      seconds = mine.rtt;
      say();
    }
    if (mine || (message.gone || []).includes(config.id)) ring();
  };

  const live = yumnaSocket({ address: () => config.events, hear, ended: end });
  live.dial();
  setInterval(() => document.hidden || ring(), config.poll * 1000);
})();
