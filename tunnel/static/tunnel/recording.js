// Plays a recording: by asciinema-player, or by the plain player where the page may run no WebAssembly.
"use strict";

(() => {
  const page = document.getElementById("yt-recording");
  const config = JSON.parse(document.getElementById("yt-config").textContent);
  const find = (name) => page.querySelector(`[data-yt="${name}"]`);
  const IDLE = 2; // seconds; longer pauses are cut to this
  const EMPTY_MODULE = Uint8Array.of(0, 97, 115, 109, 1, 0, 0, 0);

  const say = (words) => {
    find("note").textContent = words;
    find("note").hidden = false;
  };

  /** Tell whether WebAssembly is there and the page's policy lets it run. */
  const mayRunWasm = async () => {
    try {
      await WebAssembly.compile(EMPTY_MODULE);
      return true;
    } catch {
      return false;
    }
  };

  const load = async () => {
    const answer = await fetch(config.cast, { credentials: "same-origin" });
    if (!answer.ok) throw new Error(`${answer.status} ${answer.statusText}`);
    return answer.text();
  };

  const start = async () => {
    const text = await load();
    const plain = yumnaPlain(find, config.words);
    const cast = plain.read(text);
    if (cast.broken) say(config.words.broken);
    if (await mayRunWasm()) {
      const whole = cast.broken ? text.slice(0, text.lastIndexOf("\n") + 1) : text;
      const player = AsciinemaPlayer.create({ data: whole }, find("player"), {
        idleTimeLimit: IDLE, fit: "width", controls: true, terminalFontSize: "14px", theme: "asciinema", preload: true, poster: `npt:${Math.min(2, cast.seconds)}`,
      });
      page.yumnaPlayer = player; // for who looks into the page
      page.dataset.state = "player";
      return;
    }
    find("player").hidden = true;
    say(config.words.plain);
    plain.show(cast).go(0);
    page.dataset.state = "plain";
  };

  if (page.dataset.state === "out-of-reach") return;
  start().catch((error) => {
    page.dataset.state = "failed";
    say(config.words.failed.replace("{why}", error.message));
  });
})();
