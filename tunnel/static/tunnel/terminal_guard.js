// What a node may do to the browser that shows its output: nothing is sent back but what kind of terminal this is,
// nothing is opened or copied that the person does not ask for.
"use strict";

/**
 * Guard a terminal. `answer("primary" | "secondary")` sends back what it is, `ask(sentence, detail, yes)` calls `yes`
 * when the person agrees, `offer(text)` shows that the program wants to fill the clipboard.
 */
const yumnaGuard = (term, { answer, ask, offer, words }) => {
  const MOST_COPIED = 100 * 1024; // bytes a program may put into the clipboard
  const SILENT = true; // handled: the terminal's own answer is not given

  /** Answer what the terminal is, and to none of the requests for it that want something else. */
  const attributes = (kind) => (params) => {
    if (params.length === 1 && params[0] === 0) answer(kind);
    return SILENT;
  };
  term.parser.registerCsiHandler({ final: "c" }, attributes("primary"));
  term.parser.registerCsiHandler({ prefix: ">", final: "c" }, attributes("secondary"));

  const silence = () => SILENT;
  for (const id of [
    { final: "n" }, // state, place of the cursor
    { prefix: "?", final: "n" },
    { intermediates: "$", final: "p" }, // modes
    { prefix: "?", intermediates: "$", final: "p" },
    { prefix: ">", final: "q" }, // version
    { final: "t" }, // size, title and place of the window
    { prefix: "=", final: "c" },
    { final: "x" },
  ]) {
    term.parser.registerCsiHandler(id, silence);
  }
  term.parser.registerDcsHandler({ intermediates: "$", final: "q" }, silence); // settings
  term.parser.registerDcsHandler({ intermediates: "+", final: "q" }, silence); // terminfo
  // Colours may be set, not asked for.
  for (const osc of [4, 10, 11, 12]) term.parser.registerOscHandler(osc, (data) => data.includes("?"));

  // The clipboard: it cannot be read, and is written when the person says so.
  term.parser.registerOscHandler(52, (data) => {
    const text = data.slice(data.indexOf(";") + 1);
    if (text !== "?" && text.length <= (MOST_COPIED * 4) / 3) {
      const decoded = decode(text);
      if (decoded) offer(decoded);
    }
    return SILENT;
  });

  const decode = (base64) => {
    try {
      return new TextDecoder().decode(Uint8Array.from(atob(base64), (char) => char.charCodeAt(0)));
    } catch {
      return ""; // not base64
    }
  };

  /** Ask before a link is opened; only links of the web are. */
  const follow = (event, text) => {
    if (event.type === "mouseup" && !event.ctrlKey && !event.metaKey && event.pointerType !== "touch" && !coarse()) return;
    let link;
    try {
      link = new URL(text);
    } catch {
      return;
    }
    if (link.protocol !== "https:" && link.protocol !== "http:") return;
    ask(words.link, link.href, () => window.open(link.href, "_blank", "noopener,noreferrer"));
  };
  const coarse = () => matchMedia("(pointer: coarse)").matches;

  term.options.linkHandler = { activate: follow, allowNonHttpProtocols: false };
  return { follow };
};

/** Text that is pasted, without characters that would be keys: what was copied cannot press Enter twice or Escape. */
const yumnaPasted = (text) => text.replace(/[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f]/g, "");
