// The keys that a phone's keyboard has not got, in a row below the screen.
"use strict";

/** `send` takes what a key types; `paste` is called for the clipboard. Returns what turns the next letter into Ctrl+letter. */
const yumnaKeys = (row, term, { send, paste }) => {
  const FIXED = { Escape: "\x1b", Tab: "\t", PageUp: "\x1b[5~", PageDown: "\x1b[6~" };
  const MOVES = { ArrowUp: "A", ArrowDown: "B", ArrowRight: "C", ArrowLeft: "D", Home: "H", End: "F" };
  const control = row.querySelector('[data-key="Control"]');

  const hold = (held) => control.setAttribute("aria-pressed", String(held));
  const held = () => control.getAttribute("aria-pressed") === "true";

  const sequence = (key) => {
    if (FIXED[key]) return FIXED[key];
    if (held()) return `\x1b[1;5${MOVES[key]}`;
    return (term.modes.applicationCursorKeysMode ? "\x1bO" : "\x1b[") + MOVES[key];
  };

  const press = (key) => {
    if (key === "Control") hold(!held());
    else if (key === "Paste") paste();
    else {
      send(sequence(key));
      hold(false);
    }
  };

  row.addEventListener("mousedown", (event) => event.preventDefault()); // the keyboard stays open
  row.addEventListener("click", (event) => {
    const button = event.target.closest("[data-key]");
    if (!button) return;
    press(button.dataset.key);
    term.focus();
  });

  /** Return what is typed while Ctrl is held in the row: one letter becomes its control character. */
  return (data) => {
    if (!held() || data.length !== 1) return data;
    hold(false);
    const code = data.toUpperCase().charCodeAt(0);
    return code >= 64 && code < 96 ? String.fromCharCode(code - 64) : data;
  };
};
