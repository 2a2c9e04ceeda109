// Keeps the Node Orchestration page true: one socket, patches, and a poll while the socket is down.
// What agents say is set as text, never as markup.
"use strict";

(() => {
  const config = JSON.parse(document.getElementById("yt-config").textContent);
  const words = config.words;
  const page = document.getElementById("yt-nodes");
  const part = (name, root = page) => root.querySelector(`[data-yt="${name}"]`);
  const language = document.documentElement.lang || undefined;

  const TICK = 5000; // ms between looks at what has become old
  const TYPING = 250; // ms without a key before the panel is asked
  const RELIST = 15000; // ms between two looks whether other servers belong on this page
  const NEWCOMERS = 1000; // ms over which new servers are gathered before their rights are asked for
  const TROUBLE = new Set(["offline", "reconnecting"]);
  const FIGURES = ["cpu", "ram", "disk", "rtt", "uptime", "figures_at"]; // what comes each few seconds
  const MAX_OFFERED = 16; // tags offered as chips

  const known = new Map(); // primary key -> what is known of a server
  const elements = new Map(); // primary key -> its card or row, and the parts of it
  let may = new Map(); // permission -> the servers it counts for
  let listing = config.first.listing;
  let skew = 0; // seconds the panel's clock is ahead of this machine's
  let fresh = null; // the servers of a snapshot that comes in several messages
  let ended = false;

  const now = () => Date.now() / 1000 + skew;
  const fill = (text, values) => text.replace(/\{(\w+)\}/g, (_, name) => values[name]);

  // -- words -------------------------------------------------------------------------------------

  const clock = new Intl.DateTimeFormat(language, { hour: "2-digit", minute: "2-digit" });
  const day = new Intl.DateTimeFormat(language, { day: "numeric", month: "long" });
  const long = new Intl.DateTimeFormat(language, { dateStyle: "long", timeStyle: "long" });
  const distance = new Intl.RelativeTimeFormat(language);
  const gibs = new Intl.NumberFormat(language, { maximumFractionDigits: 1 });
  const UNITS = [["day", 86400], ["hour", 3600], ["minute", 60], ["second", 1]];

  const moment = (at) => {
    const time = new Date(at * 1000);
    return (time.toDateString() === new Date().toDateString() ? clock : day).format(time);
  };

  const ago = (at) => {
    const seconds = Math.max(0, now() - at);
    const [unit, size] = UNITS.find(([, length]) => seconds >= length) || UNITS[3];
    return distance.format(-Math.floor(seconds / size), unit);
  };

  const uptime = (seconds) => {
    const days = Math.floor(seconds / 86400);
    const hours = Math.floor((seconds % 86400) / 3600);
    const minutes = Math.floor((seconds % 3600) / 60);
    if (days) return fill(words.uptime.days, { days, hours });
    if (hours) return fill(words.uptime.hours, { hours, minutes });
    return fill(words.uptime.minutes, { minutes });
  };

  const amount = (used, total) =>
    used === null || !total
      ? ""
      : fill(words.amount, { used: gibs.format(used / 1024), total: gibs.format(total / 1024) });

  const pill = (card) =>
    card.state === "offline" && card.since !== null
      ? fill(words.since, { time: moment(card.since) })
      : words.states[card.state] || card.state;

  const refused = ({ reason, address, at, times }) =>
    fill(times === 1 ? words.refusedOnce : words.refusedOften, {
      time: moment(at), reason: words.refusals[reason] || reason, address, times,
    });

  const isOld = (version) => {
    const numbers = (text) => text.split(".").map((number) => (/^\d{1,8}$/.test(number) ? Number(number) : NaN));
    const theirs = numbers(version);
    if (theirs.some(Number.isNaN)) return false;
    const ours = numbers(words.version);
    for (let place = 0; place < Math.max(theirs.length, ours.length); place += 1) {
      const difference = (theirs[place] ?? -1) - (ours[place] ?? -1);
      if (difference) return difference < 0;
    }
    return false;
  };

  // -- cards and rows ----------------------------------------------------------------------------

  const write = (element, text) => {
    if (element && element.textContent !== text) element.textContent = text;
  };

  // Rows far out of sight take fresh figures when they come near: a table is laid out as a whole for each of them.
  // Cards need no such thing, their style sheet tells the browser to skip those out of sight.
  const sight =
    page.dataset.view === "table"
      ? new IntersectionObserver(
          (changes) => {
            for (const { target, isIntersecting } of changes) {
              const id = Number(target.dataset.id);
              if (!elements.has(id)) continue;
              elements.get(id).near = isIntersecting;
              if (isIntersecting && known.has(id)) showFigures(known.get(id));
            }
          },
          { rootMargin: "100% 0px" },
        )
      : null;

  /** Remember the parts of a card or row, so that a patch each second need not look for them. */
  const adopt = (id, element) => {
    const parts = { element };
    for (const one of element.querySelectorAll("[data-yt]")) parts[one.dataset.yt] = one;
    for (const one of element.querySelectorAll("[data-bar]")) {
      parts[one.dataset.bar] = { box: one, meter: one.querySelector("meter"), text: one.querySelector(".yt-percent") };
    }
    parts.links = [...element.querySelectorAll("[data-do]")];
    parts.near = true;
    elements.set(id, parts);
    if (sight !== null) sight.observe(element);
    return parts;
  };

  const address = (name, id) => {
    const ends = config.links[name];
    return ends ? ends[0] + id + ends[1] : "";
  };

  const create = (id) => {
    const parts = adopt(id, part("blank").content.firstElementChild.cloneNode(true));
    parts.element.dataset.id = id;
    for (const name of ["name", "start"]) if (parts[name] && parts[name].href) parts[name].href = address("overview", id);
    for (const link of parts.links) link.href = address(link.dataset.do, id);
    return parts;
  };

  const show = (card) => {
    const parts = elements.get(card.id) || create(card.id);
    parts.element.dataset.state = card.state;
    write(parts.name, card.name);
    write(parts.pill, pill(card));
    write(parts.agent, card.agent_id);
    write(parts.os, card.os);
    write(parts.version, card.version ? `v${card.version}` : "");
    const outdated = isOld(card.version);
    parts.version.toggleAttribute("data-outdated", outdated);
    parts.version.title = outdated ? words.outdated : "";
    write(parts.reason, words.reasons[card.reason] || "");
    write(parts.advice, words.advice[card.reason] || "");
    write(parts["agent-said"], card.agent_reason ? fill(words.agent, { text: card.agent_reason }) : "");
    parts.refused.hidden = card.refused === null;
    if (card.refused !== null) {
      write(parts["refused-words"], refused(card.refused));
      write(parts["refused-advice"], words.refusedAdvice[card.refused.reason] || "");
    }
    parts.actions.setAttribute("aria-label", fill(words.actions, { name: card.name }));
    showTags(parts.tags, card.tags);
    showLinks(parts, card);
    showFigures(card);
  };

  const showTags = (element, tags) => {
    if ([...element.children].map((tag) => tag.textContent).join("\n") === tags.join("\n")) return;
    element.replaceChildren(
      ...tags.map((tag) => Object.assign(document.createElement("span"), { className: "yt-tag", textContent: tag })),
    );
  };

  const showLinks = (parts, card) => {
    for (const link of parts.links) {
      const name = link.dataset.do;
      const permission = config.permissions[name];
      const allowed = permission === "view" || (may.get(permission) || new Set()).has(card.id);
      const fits =
        (name !== "suspend" && name !== "reactivate") || (name === "reactivate") === (card.state === "suspended");
      link.parentElement.hidden = !(allowed && fits);
    }
  };

  const showFigures = (card) => {
    const parts = elements.get(card.id);
    write(parts.rtt, card.rtt === null ? "" : fill(words.rtt, { number: Math.max(1, Math.round(card.rtt * 1000)) }));
    write(parts.uptime, card.uptime === null ? "" : uptime(card.uptime));
    showBar(parts.cpu, card.cpu, "");
    showBar(parts.ram, card.ram, amount(card.ram_used, card.ram_total));
    showBar(parts.disk, card.disk, amount(card.disk_used, card.disk_total));
    showAge(card);
  };

  const showBar = (bar, percent, title) => {
    if (bar.box.title !== title) bar.box.title = title;
    const value = percent === null ? 0 : percent;
    if (bar.meter.value !== value) bar.meter.value = value;
    write(bar.text, percent === null ? "–" : `${Math.round(percent)}%`);
  };

  const showAge = (card) => {
    const parts = elements.get(card.id);
    if (card.since !== null && card.state !== "active") {
      const at = new Date(card.since * 1000);
      if (parts.ago.dateTime !== at.toISOString()) {
        parts.ago.dateTime = at.toISOString();
        parts.ago.title = long.format(at);
      }
      write(parts.ago, ago(card.since));
    }
    const old = card.figures_at !== null && now() - card.figures_at > config.stale;
    parts.element.toggleAttribute("data-old", old);
    const told = old || page.hasAttribute("data-paused");
    if (told) write(parts.age, card.figures_at === null ? "" : fill(words.figures, { ago: ago(card.figures_at) }));
  };

  // -- the list ----------------------------------------------------------------------------------

  const compare = (a, b) =>
    TROUBLE.has(b.state) - TROUBLE.has(a.state) ||
    (a.lower < b.lower ? -1 : a.lower > b.lower ? 1 : 0) ||
    a.id - b.id;

  const ordered = () => {
    if (!listing.whole) return listing.shown.filter((id) => known.has(id));
    const keys = [...known.values()].map((card) => ({ id: card.id, state: card.state, lower: card.name.toLowerCase() }));
    return keys.sort(compare).map((key) => key.id);
  };

  /** Put the cards in order, moving only those that stand wrong; what had the focus keeps it. */
  const arrange = () => {
    const list = part("cards");
    const focused = list.contains(document.activeElement) ? document.activeElement : null;
    let place = list.firstElementChild;
    for (const id of ordered()) {
      const { element } = elements.get(id);
      if (element === place) place = place.nextElementSibling;
      else list.insertBefore(element, place);
    }
    if (focused && document.activeElement !== focused) focused.focus({ preventScroll: true });
  };

  const filters = () => {
    const chosen = (kind) => [...page.querySelectorAll(`input[name=${kind}]:checked`)].map((box) => box.value);
    return { text: part("search").value.trim(), states: chosen("state"), tags: chosen("tag") };
  };

  const query = (number = 1) => {
    const { text, states, tags } = filters();
    const wanted = new URLSearchParams();
    if (text) wanted.append("q", text);
    for (const state of states) wanted.append("state", state);
    for (const tag of tags) wanted.append("tag", tag);
    if (number > 1) wanted.append("page", number);
    return wanted.toString();
  };

  const keepAddress = (number = 1) => {
    const wanted = query(number);
    history.replaceState(history.state, "", wanted ? `?${wanted}` : location.pathname);
    for (const link of page.querySelectorAll('[data-yt="view"]')) {
      const view = new URLSearchParams(link.search).get("view");
      link.search = wanted ? `?view=${view}&${wanted}` : `?view=${view}`;
    }
  };

  /** Hide what nobody looks for, and say so when nothing is left. */
  const filter = () => {
    const { text, states, tags } = filters();
    const wanted = text.toLowerCase();
    let shown = 0;
    for (const card of known.values()) {
      const found =
        !listing.whole ||
        ((!states.length || states.includes(card.state)) &&
          (!tags.length || tags.some((tag) => card.tags.includes(tag))) &&
          (!wanted || [card.name, card.agent_id, ...card.tags].some((word) => word.toLowerCase().includes(wanted))));
      const { element } = elements.get(card.id);
      if (element.hidden === found) element.hidden = !found;
      shown += found;
    }
    const empty = listing.whole ? known.size === 0 : listing.total === 0;
    part("empty").hidden = !empty;
    part("filters").hidden = empty;
    part("none").hidden = empty || shown > 0;
    if (part("sheet")) part("sheet").hidden = shown === 0;
    part("clear").hidden = !(text || states.length || tags.length);
    if (!part("none").hidden) write(part("none"), text ? fill(words.nothing, { text }) : words.nothingChosen);
  };

  const count = (counts) => {
    const [active, total] = counts;
    write(part("count"), fill(words.active, { active, total }));
    page.querySelector(".yt-count").toggleAttribute("data-none", active === 0);
  };

  // -- chips -------------------------------------------------------------------------------------

  /** Offer these values as chips, in this order; `offered` are [value, words, number]. */
  const offer = (kind, box, offered) => {
    const there = new Map([...box.querySelectorAll(".yt-chip")].map((chip) => [chip.dataset.value, chip]));
    let place = box.querySelector("legend").nextElementSibling;
    for (const [value, label, number] of offered) {
      let chip = there.get(value);
      there.delete(value);
      if (!chip) {
        chip = part(`blank-${kind}`).content.firstElementChild.cloneNode(true);
        chip.dataset.value = value;
        chip.querySelector("input").value = value;
        write(chip.querySelector(".yt-word"), label);
      }
      write(chip.querySelector(".yt-many"), String(number));
      if (chip === place) place = place.nextElementSibling;
      else box.insertBefore(chip, place);
    }
    for (const chip of there.values()) chip.remove();
    box.hidden = offered.length === 0;
  };

  const tally = (values) => {
    const numbers = new Map();
    for (const value of values) numbers.set(value, (numbers.get(value) || 0) + 1);
    return numbers;
  };

  const offerAll = () => {
    const cards = [...known.values()];
    const states = listing.whole ? tally(cards.map((card) => card.state)) : new Map(Object.entries(listing.states));
    const tags = listing.whole ? tally(cards.flatMap((card) => card.tags)) : new Map(listing.tags);
    const chosen = filters();
    offer(
      "state",
      part("states"),
      Object.keys(words.states)
        .filter((state) => states.get(state) || chosen.states.includes(state))
        .map((state) => [state, words.states[state], states.get(state) || 0]),
    );
    const common = [...tags.keys()].sort((a, b) => tags.get(b) - tags.get(a) || (a < b ? -1 : 1)).slice(0, MAX_OFFERED);
    const names = [...new Set([...common, ...chosen.tags])].sort();
    offer("tag", part("tags"), names.map((tag) => [tag, tag, tags.get(tag) || 0]));
  };

  // -- what is told ------------------------------------------------------------------------------

  const remove = (id) => {
    known.delete(id);
    if (elements.has(id)) {
      if (sight !== null) sight.unobserve(elements.get(id).element);
      elements.get(id).element.remove();
    }
    elements.delete(id);
  };

  const take = (message) => {
    if (message.now) skew = message.now - Date.now() / 1000;
    if (message.counts) count(message.counts);
    if (message.type === "beat") {
      tell(message.live ? "live" : "behind");
      return;
    }
    if (message.type === "snapshot" && fresh === null) fresh = new Set();
    let moved = false;
    for (const card of message.cards || []) {
      if (fresh !== null) fresh.add(card.id);
      moved = learn(card) || moved;
    }
    const gone = fresh === null || message.more ? [] : [...known.keys()].filter((id) => !fresh.has(id));
    for (const id of [...gone, ...(message.gone || [])]) {
      moved = known.has(id) || moved;
      remove(id);
    }
    if (!message.more) fresh = null;
    if (moved) settle();
  };

  /** Take what is new of a server; return whether its place or its chips may be others now. */
  const learn = (card) => {
    const before = known.get(card.id);
    if (!before && !listing.whole && !listing.shown.includes(card.id)) return false;
    const whole = { ...before, ...card };
    known.set(card.id, whole);
    if (before && elements.has(card.id) && Object.keys(card).every((name) => isFigure(name))) {
      if (elements.get(card.id).near) showFigures(whole);
      return false;
    }
    show(whole);
    if (!before && live.there()) askRights();
    return !before || before.state !== whole.state || before.name !== whole.name || "tags" in card || "agent_id" in card;
  };

  const isFigure = (name) => name === "id" || FIGURES.includes(name) || /^(ram|disk)_/.test(name);

  const settle = () => {
    arrange();
    offerAll();
    filter();
  };

  /** Say whether what is shown is live; `how` is one of live, connecting, paused, behind, ended. */
  const tell = (how) => {
    part("live").dataset.live = how === "live" ? "on" : how === "connecting" ? "off" : "paused";
    write(part("live-words"), words[how]);
    const paused = how !== "live" && how !== "connecting";
    if (page.hasAttribute("data-paused") !== paused) {
      page.toggleAttribute("data-paused", paused);
      for (const card of known.values()) showAge(card);
    }
  };

  // -- other filters, other pages ----------------------------------------------------------------

  let asked = 0; // the number of the last question; late answers to older ones are dropped
  let relisted = Date.now();
  let counts = "";
  let crowded = false; // whether there are more servers than a whole page shows
  let unlisted = false; // whether something changed that may bring other servers to this page

  const ask = async (wanted) => {
    const answer = await fetch(`${config.data}?${wanted}`, { headers: { Accept: "application/json" }, redirect: "manual" });
    if (answer.type === "opaqueredirect") finish(); // to the login page
    return answer.ok ? answer.json() : null;
  };

  /** Ask the panel which servers belong on this page, and show them. */
  const load = async (number) => {
    asked += 1;
    const mine = asked;
    relisted = Date.now();
    unlisted = false;
    page.setAttribute("aria-busy", "true");
    try {
      const told = await ask(query(number));
      if (told === null || mine !== asked) return;
      accept(told);
      keepAddress(listing.page);
    } catch {
      // The line is down: the live words say so, and the poll tries again.
    } finally {
      if (mine === asked) page.removeAttribute("aria-busy");
    }
  };

  const accept = (told) => {
    const before = listing;
    listing = told.listing;
    crowded = false;
    may = new Map(Object.entries(told.may).map(([permission, ids]) => [permission, new Set(ids)]));
    fresh = null;
    take(told);
    for (const card of known.values()) showLinks(elements.get(card.id), card);
    settle();
    showPages();
    const same = before.whole === listing.whole && before.shown.join() === listing.shown.join();
    if (live.there() && !(before.whole && listing.whole) && !same) live.dial();
  };

  const showPages = () => {
    part("pages").hidden = listing.whole;
    part("previous").hidden = listing.page <= 1;
    part("next").hidden = listing.page >= listing.pages;
    part("previous").search = `?${query(listing.page - 1)}`;
    part("next").search = `?${query(listing.page + 1)}`;
    const first = (listing.page - 1) * config.page + 1;
    const last = first + listing.shown.length - 1;
    write(part("range"), listing.shown.length ? fill(words.range, { first, last, found: listing.found }) : "");
  };

  let waiting = null;
  const later = (delay, number) => {
    clearTimeout(waiting);
    waiting = setTimeout(() => load(number), delay);
  };

  /** Somebody looks for something else: on a whole page at once, else by the panel. */
  const look = (delay) => {
    if (listing.whole) {
      keepAddress();
      offerAll();
      filter();
    } else later(delay);
  };

  let asking = null;
  const askRights = () => {
    if (asking === null)
      asking = setTimeout(() => {
        asking = null;
        load(listing.page);
      }, NEWCOMERS);
  };

  // -- socket and poll ---------------------------------------------------------------------------

  const wanted = () => (listing.whole ? "" : `ids=${listing.shown.join(",")}`);

  const hear = (message) => {
    if (message.type === "too_many") {
      crowded = true;
      load(1);
      return;
    }
    if (message.type === "snapshot" && !message.more) tell("live");
    take(message);
    const said = String(message.counts);
    if (message.counts && said !== counts) unlisted = true;
    counts = said;
  };

  const live = yumnaSocket({
    address: () => `${config.events}${wanted() && `?${wanted()}`}`,
    begin: () => { fresh = null; },
    hear,
    lost: () => tell("paused"),
    ended: () => finish(),
    silence: config.silence * 1000,
  });

  const finish = () => {
    ended = true;
    live.end();
    tell("ended");
  };

  const poll = async () => {
    if (live.open() || document.hidden || ended) return;
    try {
      if (listing.whole) {
        const told = await ask("");
        if (told !== null && !live.open()) accept(told);
      } else {
        const told = await ask(wanted());
        fresh = null;
        if (told !== null && !live.open()) take(told);
      }
    } catch {
      // The socket's own words say that nothing is live; the next poll may do better.
    }
  };

  const tick = () => {
    for (const card of known.values()) showAge(card);
    if (crowded) load(1);
    if (!listing.whole && unlisted && !document.hidden && Date.now() - relisted > RELIST) load(listing.page);
  };

  /** The machine slept, the page was hidden or the line was away: trust nothing that is older than a beat. */
  const wake = () => {
    if (document.hidden || ended) return;
    for (const card of known.values()) showAge(card);
    poll(); // the socket, which woke before, is open when it was well
  };

  // -- keys and menus ----------------------------------------------------------------------------

  const nodesShown = () => [...part("cards").children].filter((element) => !element.hidden);

  const focusOn = (element) => {
    const target = element && (element.querySelector('a[data-yt="name"]') || element.querySelector("summary"));
    if (target) target.focus();
    if (target) element.scrollIntoView({ block: "nearest" });
  };

  /** Return the nearest card above or below, in the column of this one. */
  const vertical = (element, all, step) => {
    const from = element.getBoundingClientRect();
    const middle = from.left + from.width / 2;
    let best = null;
    for (const other of all) {
      const box = other.getBoundingClientRect();
      const beyond = step > 0 ? box.top - from.bottom : from.top - box.bottom;
      if (other === element || beyond < -1) continue;
      const far = beyond * 10 + Math.abs(box.left + box.width / 2 - middle);
      if (best === null || far < best.far) best = { other, far };
    }
    return best && best.other;
  };

  const STEPS = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };

  const move = (event) => {
    const step = STEPS[event.key];
    if (!step || event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return;
    const inMenu = event.target.closest(".yt-menu[open]");
    const all = nodesShown();
    const current = event.target.closest(".yt-node");
    if (inMenu) {
      if (event.key === "ArrowLeft" || event.key === "ArrowRight") return;
      const items = [...inMenu.querySelectorAll("li:not([hidden]) a")];
      const next = items[(items.indexOf(event.target) + step + items.length) % items.length] || items[0];
      if (next) next.focus();
    } else if (current) {
      const upright = event.key === "ArrowUp" || event.key === "ArrowDown";
      focusOn(upright ? vertical(current, all, step) : all[all.indexOf(current) + step]);
    } else if (event.target === document.body || (event.target === part("search") && event.key === "ArrowDown")) {
      focusOn(all[0]);
    } else return;
    event.preventDefault();
  };

  const closeMenus = (except) => {
    for (const menu of page.querySelectorAll(".yt-menu[open]")) if (menu !== except) menu.open = false;
  };

  const escape = (event) => {
    if (event.key !== "Escape") return;
    const menu = event.target.closest(".yt-menu[open]");
    closeMenus();
    if (menu) menu.querySelector("summary").focus();
    if (event.target === part("search") && !event.target.value) event.target.blur();
  };

  // -- start -------------------------------------------------------------------------------------

  for (const element of part("cards").children) adopt(Number(element.dataset.id), element);
  part("apply").hidden = true;
  accept(config.first);
  document.getElementById("yt-filter").addEventListener("submit", (event) => {
    event.preventDefault();
    look(0);
  });
  part("search").addEventListener("input", () => look(TYPING));
  part("filters").addEventListener("change", () => look(0));
  part("clear").addEventListener("click", (event) => {
    event.preventDefault();
    part("search").value = "";
    for (const box of page.querySelectorAll(".yt-chip input")) box.checked = false;
    look(0);
  });
  for (const [name, step] of [["previous", -1], ["next", 1]]) {
    part(name).addEventListener("click", (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey) return;
      event.preventDefault();
      load(listing.page + step).then(() => page.scrollIntoView({ block: "start" }));
    });
  }
  document.addEventListener("keydown", move);
  document.addEventListener("keydown", escape);
  document.addEventListener("click", (event) => closeMenus(event.target.closest(".yt-menu")));
  document.addEventListener("visibilitychange", wake);
  window.addEventListener("online", wake);
  window.addEventListener("pageshow", (event) => event.persisted && wake());
  tell("connecting");
  live.dial();
  setInterval(poll, config.poll * 1000);
  setInterval(tick, TICK);
})();
