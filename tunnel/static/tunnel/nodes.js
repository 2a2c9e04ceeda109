// Keeps the Node Orchestration page true: one socket, patches, and a poll while the socket is down.
// What agents say is set as text, never as markup.
"use strict";

(() => {
  const config = JSON.parse(document.getElementById("yt-config").textContent);
  const words = config.words;
  const page = document.getElementById("yt-nodes");
  const part = (name, root = page) => root.querySelector(`[data-yt="${name}"]`);
  const language = document.documentElement.lang || undefined;

  const RETRY_LEAST = 500; // ms; a restarted worker is back by then
  const RETRY_MOST = 15000; // ms; a page left open must not hammer a panel that is down
  const TICK = 5000; // ms between looks at what has become old
  const TROUBLE = new Set(["offline", "reconnecting"]);
  const NO_LONGER_WELCOME = 4003;

  const known = new Map(); // primary key -> what is known of a server
  const elements = new Map(); // primary key -> its card
  let skew = 0; // seconds the panel's clock is ahead of this machine's
  let retry = RETRY_LEAST;
  let heard = 0; // when the socket last said something
  let fresh = null; // the servers of a snapshot that comes in several messages
  let socket = null;

  const now = () => Date.now() / 1000 + skew;
  const fill = (text, values) => text.replace(/\{(\w+)\}/g, (_, name) => values[name]);

  // -- words -------------------------------------------------------------------------------------

  const moment = (at) => {
    const time = new Date(at * 1000);
    const today = time.toDateString() === new Date().toDateString();
    const form = today ? { hour: "2-digit", minute: "2-digit" } : { day: "numeric", month: "long" };
    return new Intl.DateTimeFormat(language, form).format(time);
  };

  const exact = (at) =>
    new Intl.DateTimeFormat(language, { dateStyle: "long", timeStyle: "long" }).format(new Date(at * 1000));

  const ago = (at) => {
    const seconds = Math.max(0, now() - at);
    const units = [["day", 86400], ["hour", 3600], ["minute", 60], ["second", 1]];
    const [unit, size] = units.find(([, length]) => seconds >= length) || units[3];
    return new Intl.RelativeTimeFormat(language).format(-Math.floor(seconds / size), unit);
  };

  const uptime = (seconds) => {
    const days = Math.floor(seconds / 86400);
    const hours = Math.floor((seconds % 86400) / 3600);
    const minutes = Math.floor((seconds % 3600) / 60);
    if (days) return fill(words.uptime.days, { days, hours });
    if (hours) return fill(words.uptime.hours, { hours, minutes });
    return fill(words.uptime.minutes, { minutes });
  };

  const gib = (mib) => new Intl.NumberFormat(language, { maximumFractionDigits: 1 }).format(mib / 1024);
  const amount = (used, total) => (used === null || !total ? "" : fill(words.amount, { used: gib(used), total: gib(total) }));
  const pill = (card) =>
    card.state === "offline" && card.since !== null
      ? fill(words.since, { time: moment(card.since) })
      : words.states[card.state] || card.state;

  // -- cards -------------------------------------------------------------------------------------

  const write = (element, text) => {
    if (element && element.textContent !== text) element.textContent = text;
  };

  const show = (card) => {
    let element = elements.get(card.id);
    if (!element) {
      element = part("blank").content.firstElementChild.cloneNode(true);
      element.dataset.id = card.id;
      for (const name of ["name", "change"]) {
        const link = part(name, element);
        if (link && link.href) link.href = config.change.replace(/\/0\//, `/${card.id}/`);
      }
      elements.set(card.id, element);
    }
    element.dataset.state = card.state;
    write(part("name", element), card.name);
    write(part("pill", element), pill(card));
    write(part("agent", element), card.agent_id);
    write(part("os", element), card.os);
    write(part("version", element), card.version ? `v${card.version}` : "");
    write(part("rtt", element), card.rtt === null ? "" : fill(words.rtt, { number: Math.max(1, Math.round(card.rtt * 1000)) }));
    write(part("uptime", element), card.uptime === null ? "" : uptime(card.uptime));
    write(part("reason", element), words.reasons[card.reason] || "");
    write(part("advice", element), words.advice[card.reason] || "");
    showTags(part("tags", element), card.tags);
    showBar(element, "cpu", card.cpu, "");
    showBar(element, "ram", card.ram, amount(card.ram_used, card.ram_total));
    showBar(element, "disk", card.disk, amount(card.disk_used, card.disk_total));
    showAge(element, card);
  };

  const showTags = (element, tags) => {
    if ([...element.children].map((tag) => tag.textContent).join("\n") === tags.join("\n")) return;
    element.replaceChildren(
      ...tags.map((tag) => Object.assign(document.createElement("span"), { className: "yt-tag", textContent: tag })),
    );
  };

  const showBar = (element, name, percent, title) => {
    const bar = element.querySelector(`[data-bar="${name}"]`);
    bar.title = title;
    bar.querySelector("meter").value = percent === null ? 0 : percent;
    write(bar.querySelector(".yt-percent"), percent === null ? "–" : `${Math.round(percent)}%`);
  };

  const showAge = (element, card) => {
    const time = part("ago", element);
    if (card.since !== null) {
      time.dateTime = new Date(card.since * 1000).toISOString();
      time.title = exact(card.since);
      write(time, ago(card.since));
    }
    element.toggleAttribute("data-old", card.figures_at !== null && now() - card.figures_at > config.stale);
  };

  const ordered = () =>
    [...known.values()].sort(
      (a, b) =>
        TROUBLE.has(b.state) - TROUBLE.has(a.state) || a.name.localeCompare(b.name, language) || a.id - b.id,
    );

  /** Put the cards in order, moving only those that stand wrong, so that the focus stays where it is. */
  const arrange = () => {
    const list = part("cards");
    let place = list.firstElementChild;
    for (const card of ordered()) {
      const element = elements.get(card.id);
      if (element === place) place = place.nextElementSibling;
      else list.insertBefore(element, place);
    }
  };

  const count = () => {
    const tunnels = [...known.values()].filter((card) => card.state !== "direct");
    const active = tunnels.filter((card) => card.state === "active").length;
    write(part("count"), fill(words.active, { active, total: tunnels.length }));
    page.querySelector(".yt-count").toggleAttribute("data-none", active === 0);
  };

  const search = () => {
    const text = part("search").value.trim().toLowerCase();
    let shown = 0;
    for (const card of known.values()) {
      const found = [card.name, card.agent_id, ...card.tags].some((word) => word.toLowerCase().includes(text));
      elements.get(card.id).hidden = !found;
      shown += found;
    }
    part("empty").hidden = known.size > 0;
    part("none").hidden = known.size === 0 || shown > 0;
    if (!part("none").hidden) write(part("none"), fill(words.nothing, { text }));
  };

  const settle = () => {
    arrange();
    count();
    search();
  };

  const remove = (id) => {
    known.delete(id);
    const element = elements.get(id);
    if (element) element.remove();
    elements.delete(id);
  };

  // -- what is told ------------------------------------------------------------------------------

  const take = (message) => {
    heard = Date.now();
    if (message.now) skew = message.now - Date.now() / 1000;
    if (message.type === "beat") {
      tell(message.live ? "live" : "behind");
      return;
    }
    if (message.type === "snapshot" && fresh === null) fresh = new Set();
    for (const card of message.cards || []) {
      if (fresh !== null) fresh.add(card.id);
      const whole = { ...known.get(card.id), ...card };
      known.set(card.id, whole);
      show(whole);
    }
    for (const id of message.gone || []) remove(id);
    if (fresh !== null && !message.more) {
      for (const id of [...known.keys()]) if (!fresh.has(id)) remove(id);
      fresh = null;
    }
    settle();
  };

  /** Say whether what is shown is live; `how` is one of live, connecting, paused, behind, ended. */
  const tell = (how) => {
    part("live").dataset.live = how === "live" ? "on" : how === "connecting" ? "off" : "paused";
    write(part("live-words"), words[how]);
    page.toggleAttribute("data-paused", how !== "live" && how !== "connecting");
  };

  // -- socket and poll ---------------------------------------------------------------------------

  const connect = () => {
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    fresh = null;
    heard = Date.now();
    socket = new WebSocket(`${scheme}//${location.host}${config.events}`);
    socket.onmessage = (event) => {
      retry = RETRY_LEAST;
      const message = JSON.parse(event.data);
      if (message.type === "snapshot" && !message.more) tell("live");
      take(message);
    };
    socket.onclose = (event) => {
      socket = null;
      if (event.code === NO_LONGER_WELCOME) {
        tell("ended");
        return;
      }
      tell("paused");
      setTimeout(connect, retry * (0.5 + Math.random() / 2));
      retry = Math.min(RETRY_MOST, retry * 2);
    };
  };

  const open = () => socket !== null && socket.readyState === WebSocket.OPEN;

  const poll = async () => {
    if (open() || document.hidden) return;
    try {
      const answer = await fetch(config.data, { headers: { Accept: "application/json" }, redirect: "manual" });
      if (answer.type === "opaqueredirect") tell("ended"); // to the login page
      if (answer.ok) {
        fresh = null;
        take(await answer.json());
      }
    } catch {
      // The socket's own words say that nothing is live; the next poll may do better.
    }
  };

  const tick = () => {
    for (const card of known.values()) showAge(elements.get(card.id), card);
    if (open() && Date.now() - heard > config.silence * 1000) socket.close();
  };

  // -- start -------------------------------------------------------------------------------------

  for (const element of page.querySelectorAll(".yt-cards > .yt-card")) elements.set(Number(element.dataset.id), element);
  take(config.snapshot);
  part("search-box").hidden = false;
  part("search").addEventListener("input", search);
  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest("input, textarea, select, [contenteditable]");
    if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
      event.preventDefault();
      part("search").focus();
    }
  });
  tell("connecting");
  connect();
  setInterval(poll, config.poll * 1000);
  setInterval(tick, TICK);
})();
