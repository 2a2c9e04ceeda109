// What stands around the screen of a terminal: questions, notices, search, font, full screen, and what the menu does.
"use strict";

const yumnaTools = (page, term, config, { fit, resume }) => {
  const { fill, write } = yumnaTimes;
  const words = config.words;
  const part = (name) => page.querySelector(`[data-yt="${name}"]`);
  const LEAST_FONT = 8;
  const MOST_FONT = 32;
  const NOTICE = 6000; // ms a notice stays that asks nothing

  // -- what is kept in this browser ----------------------------------------------------------------

  const keep = (name, value) => {
    try {
      localStorage.setItem(`yt-terminal-${name}`, value);
    } catch {
      // private browsing: it counts for this page
    }
  };
  const kept = (name) => {
    try {
      return localStorage.getItem(`yt-terminal-${name}`);
    } catch {
      return null;
    }
  };

  // -- questions and notices -----------------------------------------------------------------------

  const dialog = part("ask");

  /** Ask a question; `yes` is called when the person agrees. */
  const ask = (question, detail, yes) => {
    if (dialog.open) return; // a node that asks again and again asks once
    write(part("ask-words"), question);
    write(part("ask-detail"), detail);
    part("ask-detail").hidden = detail === "";
    dialog.returnValue = "";
    dialog.onclose = () => {
      if (dialog.returnValue === "yes") yes();
      term.focus();
    };
    dialog.showModal();
  };

  let hush = null;

  /** Say something for a moment; with `act` it stays until the person does it or closes it. */
  const notice = (text, act = null) => {
    clearTimeout(hush);
    write(part("notice-text"), text);
    part("notice").hidden = false;
    part("notice-do").hidden = act === null;
    part("notice-do").onclick = () => {
      part("notice").hidden = true;
      act();
    };
    if (act === null) hush = setTimeout(() => { part("notice").hidden = true; }, NOTICE);
  };
  part("notice-close").addEventListener("click", () => {
    part("notice").hidden = true;
    term.focus();
  });

  const size = (bytes) => {
    if (bytes < 1024) return fill(words.bytes, { number: bytes });
    if (bytes < 1024 * 1024) return fill(words.kib, { number: Math.round(bytes / 1024) });
    return fill(words.mib, { number: (bytes / 1024 / 1024).toFixed(1) });
  };

  // -- copy and paste ------------------------------------------------------------------------------

  /** Copy through a field of the page, for a page that is not served over TLS has no clipboard. */
  const copyByField = (text) => {
    const field = Object.assign(document.createElement("textarea"), { value: text, className: "yt-unseen" });
    page.append(field);
    field.select();
    const done = document.execCommand("copy");
    field.remove();
    term.focus();
    return done;
  };

  const copy = async (text, said = words.copied) => {
    try {
      await navigator.clipboard.writeText(text);
      notice(said);
    } catch {
      notice(copyByField(text) ? said : words.notCopied);
    }
  };

  const GUARD_LINES = 5;
  const GUARD_BYTES = 4096;
  const MOST_PASTED = 512 * 1024;

  /** Paste text, after a question if it is long: a shell runs each line at once. */
  const paste = (given) => {
    const text = yumnaPasted(given);
    const bytes = new TextEncoder().encode(text).length;
    const lines = text.replace(/\r?\n$/, "").split(/\r\n|\r|\n/).length;
    if (bytes > MOST_PASTED) {
      notice(fill(words.pasteTooLong, { size: size(bytes), most: size(MOST_PASTED) }));
    } else if (lines > GUARD_LINES || bytes > GUARD_BYTES) {
      const question = lines > GUARD_LINES ? fill(words.pasteLines, { lines }) : fill(words.pasteSize, { size: size(bytes) });
      ask(question, text.slice(0, 2000), () => term.paste(text));
    } else {
      term.paste(text);
    }
  };

  const pasteFromClipboard = async () => {
    try {
      paste(await navigator.clipboard.readText());
    } catch {
      notice(words.noClipboard);
    }
  };

  part("screen").addEventListener(
    "paste",
    (event) => {
      event.preventDefault();
      event.stopPropagation();
      paste((event.clipboardData || { getData: () => "" }).getData("text/plain"));
    },
    true,
  );

  // -- search --------------------------------------------------------------------------------------

  let search = null; // the addon, once somebody searches
  const DECORATIONS = { matchBackground: "#ffe58f", activeMatchBackground: "#ff9f43", matchOverviewRuler: "#d98e04", activeMatchColorOverviewRuler: "#ff9f43" };

  const openSearch = async () => {
    part("find").hidden = false;
    part("search").setAttribute("aria-expanded", "true");
    part("find-text").focus();
    part("find-text").select();
    if (search !== null) return;
    await later("search");
    if (search !== null) return;
    search = new SearchAddon.SearchAddon();
    term.loadAddon(search);
    search.onDidChangeResults(({ resultIndex, resultCount }) => {
      write(part("found"), resultCount ? fill(words.found, { index: resultIndex + 1, count: resultCount }) : words.notFound);
    });
    find(false); // what was typed meanwhile
  };

  const find = (forwards) => {
    const text = part("find-text").value;
    if (search === null) return;
    if (text === "") {
      search.clearDecorations();
      write(part("found"), "");
    } else if (forwards) search.findNext(text, { decorations: DECORATIONS });
    else search.findPrevious(text, { decorations: DECORATIONS });
  };

  const closeSearch = () => {
    if (search !== null) search.clearDecorations();
    part("find").hidden = true;
    part("search").setAttribute("aria-expanded", "false");
    write(part("found"), "");
    term.focus();
  };

  part("search").addEventListener("click", () => (part("find").hidden ? openSearch() : closeSearch()));
  part("find-close").addEventListener("click", closeSearch);
  part("find-after").addEventListener("click", () => find(true));
  part("find").addEventListener("submit", (event) => {
    event.preventDefault();
    find(false); // upwards: what was written last is what one looks for first
  });
  part("find-text").addEventListener("input", () => find(false));
  part("find").addEventListener("keydown", (event) => {
    if (event.key === "Escape") closeSearch();
    else if (event.key === "Enter" && event.shiftKey) find(true);
    else return;
    event.preventDefault();
  });

  const loading = {};

  /** Fetch a script that most pages never need. */
  const later = (name) => {
    loading[name] ||= new Promise((done, failed) => {
      const script = document.createElement("script");
      script.src = config.later[name];
      script.onload = done;
      script.onerror = failed;
      document.head.append(script);
    });
    return loading[name];
  };

  // -- font, full screen, screen reader ------------------------------------------------------------

  const setFont = (pixels) => {
    const font = Math.min(MOST_FONT, Math.max(LEAST_FONT, pixels));
    term.options.fontSize = font;
    keep("font", String(font));
    fit();
  };
  part("smaller").addEventListener("click", () => setFont(term.options.fontSize - 1));
  part("larger").addEventListener("click", () => setFont(term.options.fontSize + 1));

  const toggleFull = async () => {
    try {
      if (document.fullscreenElement) await document.exitFullscreen();
      else await part("frame").requestFullscreen();
    } catch {
      part("frame").toggleAttribute("data-full"); // a phone that has no full screen of its own
      fit();
    }
    term.focus();
  };
  part("full").addEventListener("click", toggleFull);
  document.addEventListener("fullscreenchange", fit);

  const setReader = (on) => {
    term.options.screenReaderMode = on;
    part("reader").setAttribute("aria-pressed", String(on));
    keep("reader", on ? "1" : "");
  };
  part("reader").addEventListener("click", () => setReader(!term.options.screenReaderMode));

  // -- menu ----------------------------------------------------------------------------------------

  const text = () => {
    const buffer = term.buffer.active;
    const lines = [];
    for (let y = 0; y < buffer.length; y += 1) {
      const line = buffer.getLine(y);
      const said = line.translateToString(true);
      if (line.isWrapped && lines.length) lines[lines.length - 1] += said;
      else lines.push(said);
    }
    while (lines.length && lines[lines.length - 1] === "") lines.pop();
    return `${lines.join("\n")}\n`;
  };

  const download = () => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text()], { type: "text/plain" }));
    link.download = `${config.name.replace(/[^\w.-]+/g, "-")}.txt`;
    link.click();
    URL.revokeObjectURL(link.href);
  };

  part("copy-all").addEventListener("click", () => copy(text()));
  part("download").addEventListener("click", download);
  const menu = part("more");
  menu.addEventListener("click", (event) => {
    if (event.target.closest(".yt-menu")) menu.open = false;
  });
  document.addEventListener("click", (event) => {
    if (!menu.contains(event.target)) menu.open = false;
  });
  menu.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !menu.open) return;
    menu.open = false;
    menu.querySelector("summary").focus();
  });

  // -- keys ----------------------------------------------------------------------------------------

  /** Take the keys that are the page's own; everything else is the shell's. */
  const key = (event) => {
    if (event.type !== "keydown") return true;
    const mine = own(event);
    if (mine) event.preventDefault();
    return !mine;
  };

  const own = (event) => {
    const control = (event.ctrlKey || event.metaKey) && !event.altKey;
    if (event.key === "Enter" && event.altKey && !control) toggleFull();
    else if (event.key === "Enter" && resume()) return true;
    else if (control && event.shiftKey && event.code === "KeyC") copy(term.getSelection());
    else if (control && event.shiftKey && event.code === "KeyF") openSearch();
    else if (control && !event.shiftKey && event.code === "KeyC" && term.hasSelection()) {
      copy(term.getSelection());
      term.clearSelection();
    } else return false;
    return true;
  };

  term.attachCustomKeyEventHandler((event) => {
    // Ctrl+Shift+V, and Cmd+V on a Mac: the browser's own paste, which comes here as an event.
    if ((event.ctrlKey || event.metaKey) && event.code === "KeyV" && (event.shiftKey || event.metaKey)) return false;
    return key(event);
  });

  if (kept("font")) term.options.fontSize = Math.min(MOST_FONT, Math.max(LEAST_FONT, Number(kept("font")) || 14));
  setReader(kept("reader") === "1");

  return { ask, notice, copy, paste, pasteFromClipboard, later, size };
};
