// Keeps the pills in the list of servers true. While its socket is down they are marked as old.
"use strict";

(() => {
  const config = JSON.parse(document.getElementById("yt-pills").textContent);
  const show = (card) => {
    const pill = document.querySelector(`[data-pill="${Number(card.id)}"]`);
    if (!pill || !config.words[card.state]) return;
    pill.dataset.state = card.state;
    pill.textContent = config.words[card.state];
  };

  const mark = (old) => {
    for (const pill of document.querySelectorAll("[data-pill]")) pill.toggleAttribute("data-old", old);
  };

  const hear = (message) => {
    for (const card of message.cards || []) show(card);
    if (message.type === "snapshot" || message.type === "beat") mark(message.live === false);
  };

  if (!config.events) return;
  const old = () => mark(true);
  yumnaSocket({ address: () => config.events, hear, lost: old, ended: old }).dial();
})();
