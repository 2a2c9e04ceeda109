// Keeps the pills in the list of servers true. Without its socket they stay as they were when the page was made.
"use strict";

(() => {
  const config = JSON.parse(document.getElementById("yt-pills").textContent);
  const RETRY_LEAST = 500; // ms; a restarted worker is back by then
  const RETRY_MOST = 15000; // ms; a page left open must not hammer a panel that is down
  const NO_LONGER_WELCOME = 4003;
  let retry = RETRY_LEAST;

  const show = (card) => {
    const pill = document.querySelector(`[data-pill="${Number(card.id)}"]`);
    if (!pill || !config.words[card.state]) return;
    pill.dataset.state = card.state;
    pill.textContent = config.words[card.state];
  };

  const connect = () => {
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(`${scheme}//${location.host}${config.events}`);
    socket.onmessage = (event) => {
      retry = RETRY_LEAST;
      for (const card of JSON.parse(event.data).cards || []) show(card);
    };
    socket.onclose = (event) => {
      if (event.code === NO_LONGER_WELCOME) return;
      setTimeout(connect, retry * (0.5 + Math.random() / 2));
      retry = Math.min(RETRY_MOST, retry * 2);
    };
  };

  if (config.events) connect();
})();
