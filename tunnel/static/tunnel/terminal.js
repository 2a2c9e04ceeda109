// A terminal on a node. The panel's socket brings its bytes; the page says which it has shown, and only then more come.
// When the line is lost the page dials again and goes on where it was: the shell runs on the node, not here.
"use strict";

(() => {
  const { fill, write } = yumnaTimes;
  const config = JSON.parse(document.getElementById("yt-config").textContent);
  const words = config.words;
  const page = document.getElementById("yt-terminal");
  const part = (name) => page.querySelector(`[data-yt="${name}"]`);

  const ACK = 64 * 1024; // bytes shown after which the panel is told
  const ACK_LATE = 50; // ms after which it is told of less
  const PING = 5000; // ms
  const PIECE = 32 * 1024; // bytes typed in one message
  const SETTLE = 100; // ms; a window that is dragged has many sizes
  const SLOW = 5000; // ms without a shell after which the page says what it waits for
  const DENIED_AFTER = 2; // dials without an answer, after which the page asks whether its login still counts

  // This person may have no terminal here now; the shell may well run on.
  const SHUT = new Set(["logged_out", "not_allowed", "revoked", "suspended", "deleted", "second_factor"]);

  const query = new URLSearchParams(location.search);
  let shell = query.get("shell") || "";
  let wantsToType = !query.has("watch"); // whether this page wants to type
  let state = "connecting"; // opening, live, lost (the tunnel), cut (the panel), ended
  let types = false;
  let mine = true; // this person opened the shell
  let received = 0; // position in the shell's output of what came here
  let shown = 0; // and of what the screen shows
  let acked = 0;
  let past = 0; // up to this position it is output of before, which answers to nothing
  let fresh = true; // nothing of the shell is on the screen yet
  let typedBefore = false;
  let lostAt = 0;
  let since = Date.now(); // when this state began
  let waitsFor = ""; // what the panel said of why there is no shell yet
  let trips = { panel: null, node: null };
  let pinged = new Map();
  let pings = 0;
  let failures = 0;
  let asked = { cols: 0, rows: 0 };
  let told = null; // the size of the shell's terminal
  let viewers = [];
  let enter = false; // Enter opens a new shell

  const theme = yumnaTheme(page);
  const term = new Terminal({
    allowProposedApi: true, // for Unicode 11 and the marks of the search
    cursorBlink: true,
    fontFamily: 'ui-monospace, "Cascadia Mono", "SFMono-Regular", Menlo, Consolas, "DejaVu Sans Mono", "Liberation Mono", monospace',
    fontSize: matchMedia("(pointer: coarse)").matches ? 13 : 14,
    lineHeight: 1.12, // without it an underscore lies below its row
    minimumContrastRatio: 4.5,
    scrollback: 10000,
    theme: theme.theme(),
  });
  const fitting = new FitAddon.FitAddon();
  term.loadAddon(fitting);
  term.loadAddon(new Unicode11Addon.Unicode11Addon());
  term.unicode.activeVersion = "11";

  // -- what is said in the bar ---------------------------------------------------------------------

  const why = (code, text) => words.why[code] || text || code || "";

  const liveWords = () => {
    if (trips.panel === null) return types ? words.live : words.watches;
    return fill(types ? words.trip : words.watchesTrip, { number: Math.max(1, Math.round(trips.panel + (trips.node || 0))) });
  };

  const lostWords = () => {
    const seconds = Math.round((Date.now() - lostAt) / 1000);
    return fill(state === "cut" ? words.panelLost : words.lost, { seconds });
  };

  /** What a page says that never had a shell; after a while, what it waits for. */
  const openingWords = () => {
    const node = config.name;
    const seconds = Math.round((Date.now() - since) / 1000);
    if (state === "opening" && waitsFor) return fill(words.waiting, { node, why: why(waitsFor) });
    if (seconds * 1000 < SLOW) return state !== "opening" ? words.connecting : fill(shell ? words.joining : words.opening, { node });
    return fill(state === "opening" ? words.slowNode : words.slowPanel, { node, seconds });
  };

  const say = (text) => write(part("state"), text);
  const show = () => {
    page.dataset.state = state === "connecting" ? "opening" : state;
    part("share").hidden = fresh || state === "ended";
    if (state === "live") say(liveWords());
    else if (state === "ended") return;
    else if (fresh) say(openingWords());
    else say(lostWords());
  };

  const become = (next) => {
    if ((next === "lost" || next === "cut") && state !== "lost" && state !== "cut") lostAt = Date.now();
    if (next !== state) since = Date.now();
    state = next;
    show();
  };

  const showPeople = () => {
    const others = viewers.filter((one) => !one.you);
    const named = others.map((one) => fill(one.writes ? words.typist : words.viewer, { name: one.name }));
    write(part("people"), viewers.length ? named.join(", ") || words.alone : "");
    part("people").title = part("people").textContent;
    part("type-too").hidden = types || wantsToType || !(config.mayChange || mine) || state === "ended";
  };

  const showSize = () => {
    if (told === null) return;
    const smaller = told.cols < asked.cols || told.rows < asked.rows;
    write(part("size"), fill(words.size, told));
    part("size").title = smaller ? words.smaller : "";
  };

  // -- the screen ----------------------------------------------------------------------------------

  const proposed = () => fitting.proposeDimensions() || { cols: term.cols, rows: term.rows };

  /** Give the screen the room that the window has; the keyboard of a phone takes a part of it. */
  const makeRoom = () => {
    const top = part("frame").getBoundingClientRect().top + window.scrollY;
    const height = window.visualViewport ? window.visualViewport.height : window.innerHeight;
    page.style.setProperty("--yt-room", `${Math.max(260, Math.round(height - Math.min(top, height / 2) - 12))}px`);
  };

  let fitTimer = null;
  const fit = () => {
    clearTimeout(fitTimer);
    fitTimer = setTimeout(() => {
      makeRoom();
      if (state === "lost" || state === "cut") return; // what is said meanwhile takes a line; the shell need not know
      const { cols, rows } = proposed();
      if (!cols || !rows || (cols === asked.cols && rows === asked.rows)) return;
      asked = { cols, rows };
      if (state === "live") send({ t: "resize", cols, rows });
      else if (told === null) term.resize(cols, rows);
      showSize();
    }, SETTLE);
  };

  const takeSize = (size) => {
    told = { cols: size.cols, rows: size.rows };
    if (term.cols !== told.cols || term.rows !== told.rows) term.resize(told.cols, told.rows);
    showSize();
  };

  /** Mark in the output that some of it is missing, but not in the middle of a program that fills the screen. */
  const mark = (text) => {
    if (term.buffer.active.type === "normal") term.write(`\x1b[0m\r\n\x1b[2m── ${text} ──\x1b[0m\r\n`);
  };

  // -- bytes ---------------------------------------------------------------------------------------

  let ackTimer = null;
  const ack = () => {
    clearTimeout(ackTimer);
    ackTimer = null;
    if (shown > acked && send({ t: "ack", position: shown })) acked = shown;
  };

  const put = (bytes, line) => {
    term.write(bytes, () => {
      if (line !== lines) return; // of a line that is gone
      shown += bytes.length;
      if (shown - acked >= ACK) ack();
      else ackTimer ||= setTimeout(ack, ACK_LATE);
    });
  };

  let lines = 0; // lines that opened; what is counted belongs to one of them

  const take = (bytes) => {
    // Where the past ends a piece ends: what comes after it may be answered.
    const old = Math.max(0, Math.min(bytes.length, past - received));
    received += bytes.length;
    if (old > 0) put(bytes.subarray(0, old), lines);
    if (old < bytes.length) put(bytes.subarray(old), lines);
  };

  const send = (message) => live.send(JSON.stringify(message));

  const type = (data) => {
    if (state === "ended") return;
    if (state !== "live") {
      if (shell) tools.notice(words.notSent);
    } else if (!types) tools.notice(words.watching);
    else for (let at = 0; at < data.length; at += PIECE) live.send(data.subarray(at, at + PIECE));
  };

  const encoder = new TextEncoder();
  const FOCUS = new Set(["\x1b[I", "\x1b[O"]); // that the window came to the front is nobody's business on the node
  term.onData((data) => !FOCUS.has(data) && type(encoder.encode(transform(data))));
  term.onBinary((data) => type(Uint8Array.from(data, (char) => char.charCodeAt(0) & 255)));

  // -- what a reload must not lose -----------------------------------------------------------------

  const MOUSE = { x10: 9, vt200: 1000, drag: 1002, any: 1003 };

  /** Return what sets the modes in which the program has put the screen; of its output nothing is kept here. */
  const modes = () => {
    const { modes: now } = term;
    const on = [
      term.buffer.active.type === "alternate" && 1049,
      now.applicationCursorKeysMode && 1,
      now.bracketedPasteMode && 2004,
      now.mouseTrackingMode !== "none" && MOUSE[now.mouseTrackingMode],
      now.mouseTrackingMode !== "none" && 1006, // how places are written; whoever tracks the mouse today asks for it
    ].filter(Boolean);
    return on.map((mode) => `\x1b[?${mode}h`).join("") + (now.applicationKeypadMode ? "\x1b=" : "");
  };

  const MODES = "yt-terminal-modes";
  window.addEventListener("pagehide", () => {
    if (state === "ended" || !shell) return;
    try {
      sessionStorage.setItem(MODES, JSON.stringify({ shell, set: modes() }));
    } catch {
      // private browsing: a program that has run for long shows its keys wrongly until it is started again
    }
  });

  /** Set the modes that a program switched on before the first byte that is still kept, if this tab knows them. */
  const restoreModes = () => {
    try {
      const kept = JSON.parse(sessionStorage.getItem(MODES) || "{}");
      if (kept.shell === shell) term.write(kept.set);
    } catch {
      // nothing to restore
    }
  };

  // -- what the panel says -------------------------------------------------------------------------

  const opened = (said) => {
    const again = shell === said.shell && !fresh;
    const right = again && state === "live"; // nothing was lost: this person may type now, or no more
    shell = said.shell;
    mine = said.mine;
    types = said.write;
    lines += 1;
    received = shown = acked = said.offset;
    past = Math.max(past, said.end);
    history.replaceState(null, "", `?${new URLSearchParams(wantsToType ? { shell } : { shell, watch: "1" })}`);
    write(part("called"), said.mine ? "" : fill(words.opener, { name: said.opener || "?" }));
    become("live");
    part("recorded").hidden = !said.recorded;
    if (said.gap > 0) mark(again ? fill(words.gap, { size: tools.size(said.gap) }) : words.earlier);
    if (said.gap > 0 && fresh) restoreModes();
    if (right && !said.gap) tools.notice(types ? words.mayType : words.mayWatch);
    else if (again) tools.notice(said.gap ? fill(words.backGap, { size: tools.size(said.gap) }) : typedBefore ? words.backTyped : words.back);
    fresh = false;
    typedBefore = false;
    show();
    takeSize(said);
    fit();
    if (asked.cols !== told.cols || asked.rows !== told.rows) send({ t: "resize", ...asked });
    showPeople();
    shells.read();
  };

  const ended = (said) => {
    live.end();
    become("ended");
    types = false;
    enter = !SHUT.has(said.why);
    if (said.why === "exited" && Number.isInteger(said.exit)) {
      say(`${fill(said.exit < 0 ? words.killed : words.ended, { code: Math.abs(said.exit) })} ${words.again}`);
    } else if (fresh) say(`${fill(words.noShell, { why: why(said.why, said.text) })}. ${enter ? words.again : ""}`.trim());
    else if (SHUT.has(said.why)) say(`${fill(words.closed, { why: why(said.why) })}.`);
    else say(`${words.over} ${why(said.why, said.text)}. ${words.again}`);
    if (said.why === "second_factor" && config.confirm) confirm();
    viewers = [];
    showPeople();
    shells.read();
  };

  /** Go to the page that asks for the second factor, and from there back to this shell. */
  const confirm = () => {
    const page = new URL(config.confirm, location.href);
    page.searchParams.set("next", location.pathname + location.search);
    location.assign(page);
  };

  const hearState = (said) => {
    if (said.state === "ended") ended(said);
    else if (said.state === "lost") {
      typedBefore = said.typed === true;
      become("lost");
    } else if (said.why) {
      waitsFor = said.why;
      show();
    }
  };

  const hears = {
    opened,
    state: hearState,
    size: (said) => takeSize(said),
    rtt: (said) => {
      trips.node = said.seconds === null ? null : said.seconds * 1000;
      show();
    },
    pong: (said) => {
      if (pinged.has(said.n)) trips.panel = performance.now() - pinged.get(said.n);
      pinged.clear();
      show();
    },
    viewers: (said) => {
      viewers = said.viewers;
      types = said.write;
      show();
      showPeople();
    },
    notice: (said) => tools.notice(said.notice === "not_read" ? words.notRead : fill(words.notEnded, { why: said.text })),
  };

  const hear = (said) => {
    failures = 0;
    (hears[said.t] || (() => {}))(said);
  };

  /** Say what this page wants: a new shell, or to go on in the one it had. */
  const wish = () => {
    const size = { ...asked };
    if (shell) {
      become(fresh ? "opening" : "lost");
      send({ t: "attach", shell, offset: fresh ? 0 : received, write: wantsToType, ...size });
    } else {
      become("opening");
      send({ t: "open", lang: navigator.language || "", ...size });
    }
    ping();
  };

  const lost = () => {
    if (state === "ended") return;
    lines += 1; // what is still on its way into the screen was counted when it came
    waitsFor = "";
    become("cut");
    failures += 1;
    if (failures >= DENIED_AFTER) askWhetherWelcome();
  };

  /** A refused socket looks like a panel that is away: ask over HTTP which it is. */
  const askWhetherWelcome = async () => {
    failures = 0;
    try {
      const answer = await fetch(location.href, { headers: { Accept: "application/json" }, redirect: "manual" });
      if (answer.type === "opaqueredirect") ended({ why: "logged_out" });
      else if (answer.status === 403) ended({ why: await reasonOf(answer) });
      else if (answer.status === 404) ended({ why: "deleted" });
    } catch {
      // it is away
    }
  };

  /** Return why the panel refuses; where it gives no reason the right is missing. */
  const reasonOf = async (answer) => {
    try {
      return (await answer.json()).why;
    } catch {
      return "not_allowed";
    }
  };

  const ping = () => {
    pings += 1;
    pinged.set(pings, performance.now());
    send({ t: "ping", n: pings });
  };

  // -- start ---------------------------------------------------------------------------------------

  const live = yumnaSocket({
    address: () => config.socket,
    opened: wish,
    hear,
    take,
    lost,
    ended: () => state !== "ended" && ended({ why: "logged_out" }),
    silence: config.silence * 1000,
    most: 1000,
  });
  const resume = () => {
    if (state !== "ended" || !enter) return false;
    location.assign(config.page);
    return true;
  };
  const tools = yumnaTools(page, term, config, { fit, resume });
  const guard = yumnaGuard(term, {
    answer: (to) => shown >= past && types && state === "live" && send({ t: "answer", to }),
    ask: tools.ask,
    offer: (text) =>
      shown >= past && tools.notice(fill(words.wantsToCopy, { size: tools.size(encoder.encode(text).length) }), () => tools.copy(text)),
    words,
  });
  const transform = yumnaKeys(part("keys"), term, { send: (keys) => type(encoder.encode(keys)), paste: tools.pasteFromClipboard });
  const shells = yumnaShells(page, { url: config.list, poll: config.poll, hide: () => shell });

  term.loadAddon(new WebLinksAddon.WebLinksAddon(guard.follow));
  term.onTitleChange((title) => {
    const text = yumnaPasted(title).slice(0, 120);
    write(part("called"), text);
    document.title = text ? `${text} – ${config.name}` : config.name;
  });
  theme.follow(() => { term.options.theme = theme.theme(); });

  part("type-too").addEventListener("click", () => {
    wantsToType = true;
    location.assign(`${config.page}?${new URLSearchParams({ shell })}`);
  });
  part("share").addEventListener("click", () => {
    const page = new URL(`${config.page}?${new URLSearchParams({ shell, watch: "1" })}`, location.href);
    tools.copy(page.href, words.shared);
  });
  part("end").addEventListener("click", () => tools.ask(part("end-words").content.textContent, "", () => send({ t: "end" })));

  const useWebgl = async () => {
    page.dataset.renderer = "dom";
    if (!theme.hasGpu()) return;
    try {
      await tools.later("webgl");
      const addon = new WebglAddon.WebglAddon();
      addon.onContextLoss(() => {
        addon.dispose();
        page.dataset.renderer = "dom";
      });
      term.loadAddon(addon);
      page.dataset.renderer = "webgl";
    } catch {
      page.dataset.renderer = "dom"; // slower, but right
    }
  };

  term.open(part("screen"));
  term.focus();
  makeRoom();
  asked = { cols: proposed().cols, rows: proposed().rows };
  term.resize(asked.cols, asked.rows);
  useWebgl();
  shells.show(config.shells);
  new ResizeObserver(fit).observe(part("screen"));
  window.addEventListener("resize", fit);
  if (window.visualViewport) window.visualViewport.addEventListener("resize", fit);
  live.dial();
  setInterval(() => live.open() && ping(), PING);
  setInterval(() => state !== "live" && show(), 1000);
})();
