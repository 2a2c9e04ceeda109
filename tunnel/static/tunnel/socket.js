// A live socket that comes back by itself: later after each failure, at once when the page wakes up. One that falls
// silent is lost. Every page that is kept true has one.
"use strict";

/**
 * Dial `address()`, a path of this panel, and again whenever the line is lost. Callbacks: `begin` before each dial,
 * `opened` when there is a line, `hear` for each message and `take` for bytes, `lost` when the line is, `ended` when the
 * panel says that this login is over for good. `most` is the longest wait between two dials, in ms.
 */
const yumnaSocket = ({
  address, hear, begin = () => {}, opened = () => {}, take = () => {}, lost = () => {}, ended = () => {}, silence = 12000, most = 15000,
}) => {
  const RETRY_LEAST = 500; // ms; a restarted worker is back by then
  const RETRY_MOST = most; // a page left open must not hammer a panel that is down
  const TICK = 5000; // ms between looks whether it is silent; the panel says a word each 5 s
  const NO_LONGER_WELCOME = 4003;
  let retry = RETRY_LEAST;
  let redial = null; // the timer of the next attempt
  let heard = 0; // when the socket last said something
  let socket = null;
  let over = false;

  const silent = () => Date.now() - heard > silence;

  /** Open the socket anew; the one before is left alone, whatever becomes of it. */
  const dial = () => {
    leave();
    if (over) return;
    begin();
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    const mine = new WebSocket(`${scheme}//${location.host}${address()}`);
    mine.binaryType = "arraybuffer";
    heard = Date.now();
    socket = mine;
    mine.onopen = () => mine === socket && opened();
    mine.onmessage = (event) => {
      if (mine !== socket) return;
      heard = Date.now();
      retry = RETRY_LEAST;
      if (typeof event.data === "string") hear(JSON.parse(event.data));
      else take(new Uint8Array(event.data));
    };
    mine.onclose = (event) => mine === socket && fail(event.code);
  };

  const leave = () => {
    clearTimeout(redial);
    const old = socket;
    socket = null;
    if (old !== null) old.close();
  };

  const fail = (code) => {
    leave();
    if (code === NO_LONGER_WELCOME) {
      over = true;
      ended();
      return;
    }
    lost();
    redial = setTimeout(dial, retry * (0.5 + Math.random() / 2));
    retry = Math.min(RETRY_MOST, retry * 2);
  };

  const end = () => {
    over = true;
    leave();
  };

  /** Send text or bytes if there is a line; false when there is none. */
  const send = (data) => {
    if (socket === null || socket.readyState !== WebSocket.OPEN) return false;
    socket.send(data);
    return true;
  };

  /** The machine slept, the page was hidden or the line was away: do not wait for the next attempt. */
  const wake = () => {
    if (document.hidden || over) return;
    retry = RETRY_LEAST;
    if (socket !== null && !silent()) return;
    lost();
    dial();
  };

  document.addEventListener("visibilitychange", wake);
  window.addEventListener("online", wake);
  window.addEventListener("pageshow", (event) => event.persisted && wake());
  setInterval(() => socket !== null && silent() && fail(0), TICK);
  return {
    dial,
    end,
    send,
    there: () => socket !== null,
    open: () => socket !== null && socket.readyState === WebSocket.OPEN,
  };
};
