// Keeps the pills in the list of servers true. While its socket is down they are marked as old.
"use strict";

(() => {
  const config = JSON.parse(document.getElementById("yt-pills").textContent);
  const RETRY_LEAST = 500; // ms; a restarted worker is back by then
  const RETRY_MOST = 15000; // ms; a page left open must not hammer a panel that is down
  const SILENCE = 12000; // ms without a word after which a socket is dead; the panel says one each 5 s
  const TICK = 5000; // ms between looks whether it is
  const NO_LONGER_WELCOME = 4003;
  let retry = RETRY_LEAST;
  let redial = null; // the timer of the next attempt
  let heard = 0; // when the socket last said something
  let socket = null;
  let ended = false;

  const show = (card) => {
    const pill = document.querySelector(`[data-pill="${Number(card.id)}"]`);
    if (!pill || !config.words[card.state]) return;
    pill.dataset.state = card.state;
    pill.textContent = config.words[card.state];
  };

  const mark = (old) => {
    for (const pill of document.querySelectorAll("[data-pill]")) pill.toggleAttribute("data-old", old);
  };

  const hear = (event) => {
    heard = Date.now();
    retry = RETRY_LEAST;
    const message = JSON.parse(event.data);
    for (const card of message.cards || []) show(card);
    if (message.type === "snapshot" || message.type === "beat") mark(message.live === false);
  };

  /** Open the socket anew; the one before is left alone, whatever becomes of it. */
  const dial = () => {
    clearTimeout(redial);
    leave();
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    const mine = new WebSocket(`${scheme}//${location.host}${config.events}`);
    heard = Date.now();
    socket = mine;
    mine.onmessage = (event) => mine === socket && hear(event);
    mine.onclose = (event) => mine === socket && lost(event.code);
  };

  const leave = () => {
    const old = socket;
    socket = null;
    if (old !== null) old.close();
  };

  const lost = (code) => {
    socket = null;
    mark(true);
    ended = code === NO_LONGER_WELCOME;
    if (ended) return;
    redial = setTimeout(dial, retry * (0.5 + Math.random() / 2));
    retry = Math.min(RETRY_MOST, retry * 2);
  };

  const silent = () => socket !== null && Date.now() - heard > SILENCE;

  const tick = () => {
    if (!silent()) return;
    leave();
    lost(0);
  };

  /** The machine slept, the page was hidden or the line was away: do not wait for the next attempt. */
  const wake = () => {
    if (document.hidden || ended || (socket !== null && !silent())) return;
    retry = RETRY_LEAST;
    mark(true);
    dial();
  };

  if (!config.events) return;
  document.addEventListener("visibilitychange", wake);
  window.addEventListener("online", wake);
  window.addEventListener("pageshow", (event) => event.persisted && wake());
  dial();
  setInterval(tick, TICK);
})();
