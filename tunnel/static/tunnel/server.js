// Keeps the page of one server true: patches from the socket, the rest read again when something happened, and a poll
// while the socket is down. What agents say is set as text, never as markup.
"use strict";

(() => {
  const { now, setNow, fill, moment, uptime, write, writeAgo, refresh } = yumnaTimes;
  const config = JSON.parse(document.getElementById("yt-config").textContent);
  const words = config.words;
  const page = document.getElementById("yt-server");
  const part = (name, root = page) => root.querySelector(`[data-yt="${name}"]`);

  const TICK = 5000; // ms between looks at what has become old
  const SETTLE = 300; // ms; several things change at once when an agent connects
  const OTHERS = 60000; // ms between two looks at what other people ran
  const FIGURES = ["cpu", "ram", "ram_used", "ram_total", "disk", "disk_used", "disk_total", "uptime", "rtt", "figures_at"];
  const STEADY = new Set(["id", ...FIGURES]);

  const gibibytes = new Intl.NumberFormat(document.documentElement.lang || undefined, { maximumFractionDigits: 1 });

  let card = config.seen.card;
  let snapshots = 0; // whether this server was in the snapshot that comes in several messages
  let inSnapshot = false;
  let reading = null; // a timer that reads the page's data again
  let lastRead = Date.now();
  let unread = false; // the last reading failed
  let over = false; // nothing more comes: deleted, or logged out

  // -- what is shown -----------------------------------------------------------------------------

  const pill = () =>
    card.state === "offline" && card.since !== null
      ? fill(words.since, { time: moment(card.since) })
      : words.states[card.state] || card.state;

  const showCard = () => {
    const live = card.state === "active";
    page.dataset.state = card.state;
    write(part("pill"), pill());
    write(part("agent"), card.agent_id);
    write(part("version"), card.version);
    write(part("os"), card.os);
    write(part("rtt"), live && card.rtt !== null ? fill(words.rtt, { number: Math.max(1, Math.round(card.rtt * 1000)) }) : "");
    write(part("uptime"), live && card.uptime !== null ? uptime(card.uptime, words.uptime) : "");
    if (card.since !== null) writeAgo(part("since"), card.since);
    else write(part("since"), "");
    refresh(page);
    writeAmount("ram", card.ram_used, card.ram_total);
    writeAmount("disk", card.disk_used, card.disk_total);
    const tags = card.tags.map((tag) => Object.assign(document.createElement("span"), { className: "yt-tag", textContent: tag }));
    part("tags").replaceChildren(...tags);
  };

  const writeAmount = (name, used, total) => {
    const gib = (mib) => gibibytes.format(mib / 1024);
    const known = card.state === "active" && used !== null && total;
    write(part("amount", page.querySelector(`[data-chart="${name}"]`)), known ? fill(words.amount, { used: gib(used), total: gib(total) }) : "");
  };

  const showLink = (link) => {
    for (const name of ["session", "worker", "address", "protocol", "hostname", "arch", "reason", "detail", "advice"]) {
      write(part(name), link[name]);
    }
    part("no-events").hidden = link.events.length > 0;
    part("events").replaceChildren(...link.events.map(event));
  };

  const event = (told) => {
    const element = part("blank-event").content.firstElementChild.cloneNode(true);
    element.dataset.kind = told.kind;
    write(part("what", element), told.what);
    write(part("detail", element), told.detail);
    write(part("address", element), told.address);
    write(part("times", element), told.times);
    write(part("by-agent", element), told.by_agent);
    writeAgo(part("at", element), told.at);
    return element;
  };

  const showCommands = (commands) => {
    const list = part("commands");
    part("no-commands").hidden = commands.length > 0;
    list.replaceChildren(...commands.map(command));
  };

  const command = (told) => {
    const element = part("blank-command").content.firstElementChild.cloneNode(true);
    element.dataset.commandState = told.state;
    for (const name of ["what", "line", "code", "who", "took"]) write(part(name, element), told[name]);
    write(part("state", element), told.state_words);
    writeAgo(part("at", element), told.at);
    if (told.url) part("link", element).href = told.url;
    return element;
  };

  // -- what is told ------------------------------------------------------------------------------

  const take = (changed) => {
    card = { ...card, ...changed };
    showCard();
    charts.append(card);
    if (Object.keys(changed).some((name) => !STEADY.has(name))) readSoon();
  };

  /** Return the figures that came faster by push than through the database, if they did. */
  const newerFigures = (read) =>
    (card.figures_at || 0) > (read.figures_at || 0) ? Object.fromEntries(FIGURES.map((name) => [name, card[name]])) : {};

  const takeAll = (seen) => {
    setNow(seen.now);
    card = { ...seen.card, ...newerFigures(seen.card) };
    showCard();
    showLink(seen.link);
    showCommands(seen.commands);
    charts.replace(seen.samples);
    charts.append(card);
    box.allow(seen.disabled, seen.confirm);
  };

  const hear = (message) => {
    if (message.now) setNow(message.now);
    if (message.type === "beat") {
      tell(message.live ? "live" : "behind");
      return;
    }
    for (const one of message.cards || []) if (one.id === config.id) take(one);
    if (message.type === "snapshot") hearSnapshot(message);
    if ((message.gone || []).includes(config.id)) end("gone");
  };

  const hearSnapshot = (message) => {
    inSnapshot ||= message.cards.some((one) => one.id === config.id);
    if (message.more) return;
    if (inSnapshot) {
      tell("live");
      if (snapshots > 0) readSoon(); // what happened while the socket was down
      snapshots += 1;
    } else {
      end("gone");
    }
    inSnapshot = false;
  };

  /** Say whether what is shown is live; `how` is one of live, connecting, paused, behind, ended, gone. */
  const tell = (how) => {
    part("live").dataset.live = how === "live" ? "on" : how === "connecting" ? "off" : "paused";
    write(part("live-words"), words[how]);
    page.toggleAttribute("data-paused", how !== "live" && how !== "connecting");
  };

  const end = (how) => {
    over = true;
    tell(how);
    box.allow(words[how]);
    live.end();
  };

  // -- reading, socket and poll ------------------------------------------------------------------

  const readSoon = () => {
    if (reading === null && !over) reading = setTimeout(read, SETTLE);
  };

  const read = async () => {
    clearTimeout(reading);
    reading = null;
    lastRead = Date.now();
    try {
      const answer = await fetch(config.data, { headers: { Accept: "application/json" }, redirect: "manual" });
      if (answer.type === "opaqueredirect") end("ended"); // to the login page
      else if (answer.status === 404) end("gone");
      else if (answer.ok) takeAll(await answer.json());
      else unread = true;
    } catch {
      unread = true; // the next poll may do better
    }
  };

  /** Read again what the socket does not tell: all of it while it is down, what others ran now and then. */
  const poll = () => {
    if (document.hidden || over) return;
    if (live.open() && !unread && Date.now() - lastRead < OTHERS) return;
    unread = false;
    read();
  };

  const tick = () => {
    refresh(page);
    charts.advance();
    page.toggleAttribute("data-old", card.figures_at !== null && now() - card.figures_at > config.gap);
  };

  // -- start -------------------------------------------------------------------------------------

  const charts = yumnaCharts(page, config);
  const box = yumnaCommand(page, config, readSoon);
  yumnaShells(page, config.shells);
  const live = yumnaSocket({
    address: () => config.events,
    begin: () => { inSnapshot = false; },
    hear,
    lost: () => tell("paused"),
    ended: () => end("ended"),
    silence: config.silence * 1000,
  });
  takeAll(config.seen);
  tell("connecting");
  live.dial();
  setInterval(poll, config.poll * 1000);
  setInterval(tick, TICK);
})();
