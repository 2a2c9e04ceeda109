// A plain player for where WebAssembly is refused: the file's events are written into xterm.js at their times.
"use strict";

const yumnaPlain = (find, words) => {
  const SPEEDS = [0.5, 1, 1.5, 2, 4, 8];
  const IDLE = 2; // seconds; longer pauses are cut to this
  const STEP = 5; // seconds an arrow goes
  const LOOK = 40; // milliseconds between two looks at the clock
  const CHUNK = 64 * 1024; // characters written at once while seeking

  /** Read a file: `broken` when its last line is not whole, which is then left out. */
  const read = (text) => {
    const lines = text.split("\n").filter((line) => line);
    const head = JSON.parse(lines[0]);
    const events = [];
    let broken = false;
    let before = 0;
    let shift = 0;
    for (const line of lines.slice(1)) {
      try {
        const [at, kind, data] = JSON.parse(line);
        shift += Math.max(0, at - before - IDLE);
        before = at;
        events.push({ at: at - shift, kind, data });
      } catch {
        broken = true;
        break;
      }
    }
    return { head, events, broken, seconds: events.length ? events[events.length - 1].at : 0 };
  };

  const clock = (seconds) => `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;

  /** Show the player for a file that was read. */
  const show = (cast) => {
    const term = new Terminal({ cols: cast.head.width, rows: cast.head.height, disableStdin: true, scrollback: 0, cursorInactiveStyle: "block", theme: { background: "#0c0f13" } });
    find("plain").hidden = false;
    term.open(find("screen"));
    const seek = find("seek");
    const button = find("play");
    let next = 0; // event
    let now = 0; // seconds
    let speed = 1;
    let since = null; // when `now` was that, while it plays

    const put = (one) => {
      if (one.kind === "o") term.write(one.data);
      if (one.kind === "r") {
        const [cols, rows] = one.data.split("x").map(Number);
        if (cols > 0 && rows > 0) term.resize(cols, rows);
      }
    };
    const paint = () => {
      seek.value = now;
      find("now").textContent = clock(now);
      find("speed").textContent = words.speed.replace("{speed}", speed);
      button.textContent = since === null ? words.play : words.pause;
    };
    const run = (to) => {
      let text = "";
      for (; next < cast.events.length && cast.events[next].at <= to; next += 1) {
        const one = cast.events[next];
        if (one.kind === "o") text += one.data;
        if (text && (one.kind === "r" || text.length > CHUNK)) {
          term.write(text);
          text = "";
        }
        if (one.kind === "r") term.write("", () => put(one)); // after what was written before
      }
      if (text) term.write(text);
      now = to;
    };
    const go = (to) => {
      const at = Math.max(0, Math.min(cast.seconds, to));
      if (at < now) {
        term.reset();
        term.resize(cast.head.width, cast.head.height);
        next = 0;
      }
      run(at);
      if (since !== null) since = performance.now();
      paint();
    };
    const pause = () => {
      since = null;
      paint();
    };
    const play = () => {
      if (now >= cast.seconds) go(0);
      since = performance.now();
      paint();
    };
    const toggle = () => (since === null ? play() : pause());
    const faster = (by) => {
      speed = SPEEDS[Math.max(0, Math.min(SPEEDS.length - 1, SPEEDS.indexOf(speed) + by))];
      paint();
    };

    setInterval(() => {
      if (since === null) return;
      const at = performance.now();
      const to = Math.min(cast.seconds, now + ((at - since) / 1000) * speed);
      since = at;
      run(to);
      if (to >= cast.seconds) since = null;
      paint();
    }, LOOK);

    seek.max = cast.seconds;
    find("whole").textContent = clock(cast.seconds);
    button.addEventListener("click", toggle);
    seek.addEventListener("input", () => go(Number(seek.value)));
    find("slower").addEventListener("click", () => faster(-1));
    find("faster").addEventListener("click", () => faster(1));
    document.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.altKey || event.metaKey || /^(INPUT|BUTTON|A|TEXTAREA|SELECT)$/.test(event.target.tagName)) return;
      const deed = {
        " ": toggle,
        ArrowLeft: () => go(now - (event.shiftKey ? cast.seconds / 10 : STEP)),
        ArrowRight: () => go(now + (event.shiftKey ? cast.seconds / 10 : STEP)),
        "<": () => faster(-1),
        ">": () => faster(1),
        ".": () => { if (next < cast.events.length) go(cast.events[next].at); },
      }[event.key] || (/^[0-9]$/.test(event.key) ? () => go((cast.seconds * Number(event.key)) / 10) : null);
      if (!deed) return;
      event.preventDefault();
      deed();
    });
    paint();
    return { go, seconds: cast.seconds };
  };

  return { read, show };
};
