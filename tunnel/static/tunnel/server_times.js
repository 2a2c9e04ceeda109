// Times and amounts as people read them, for the page of one server.
"use strict";

const yumnaTimes = (() => {
  const language = document.documentElement.lang || undefined;
  let skew = 0; // seconds the panel's clock is ahead of this machine's

  const now = () => Date.now() / 1000 + skew;
  const fill = (text, values) => text.replace(/\{(\w+)\}/g, (_, name) => values[name]);
  const format = (options) => {
    const made = new Intl.DateTimeFormat(language, options);
    return (at) => made.format(new Date(at * 1000));
  };

  const exact = format({ dateStyle: "long", timeStyle: "long" });
  const time = format({ hour: "2-digit", minute: "2-digit" });
  const day = format({ day: "numeric", month: "long" });
  const clock = format({ hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
  const hour = format({ hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
  const relative = new Intl.RelativeTimeFormat(language);
  const UNITS = [["day", 86400], ["hour", 3600], ["minute", 60], ["second", 1]];

  const moment = (at) =>
    new Date(at * 1000).toDateString() === new Date().toDateString() ? time(at) : day(at);

  const ago = (at) => {
    const seconds = Math.max(0, now() - at);
    const [unit, size] = UNITS.find(([, length]) => seconds >= length) || UNITS[3];
    return relative.format(-Math.floor(seconds / size), unit);
  };

  const uptime = (seconds, words) => {
    const days = Math.floor(seconds / 86400);
    const hours = Math.floor((seconds % 86400) / 3600);
    const minutes = Math.floor((seconds % 3600) / 60);
    if (days) return fill(words.days, { days, hours });
    if (hours) return fill(words.hours, { hours, minutes });
    return fill(words.minutes, { minutes });
  };

  const write = (element, text) => {
    if (element && element.textContent !== text) element.textContent = text;
  };

  /** Show how long ago something was, and keep that true with `refresh`. */
  const writeAgo = (element, at) => {
    element.dateTime = new Date(at * 1000).toISOString();
    element.title = exact(at);
    write(element, ago(at));
  };

  /** Bring every time under `root` that was written as an age up to date. */
  const refresh = (root) => {
    for (const element of root.querySelectorAll("time[datetime]:not([data-clock])")) {
      write(element, ago(Date.parse(element.dateTime) / 1000));
    }
  };

  const setNow = (at) => {
    skew = at - Date.now() / 1000;
  };

  return { now, setNow, fill, exact, moment, ago, clock, hour, uptime, write, writeAgo, refresh };
})();
