// The command box: runs one command at a time without leaving the page, and shows its answer as text.
"use strict";

const yumnaCommand = (page, config, afterwards) => {
  const box = page.querySelector("#yt-command");
  if (!box) return { allow: () => {} };

  const { fill, write } = yumnaTimes;
  const part = (name, root = box) => root.querySelector(`[data-yt="${name}"]`);
  const MOST_REPLIES = 20; // kept on the page, the newest ones
  const MOST_LINES = 100; // command lines that come back with the arrow key

  const form = part("form");
  const fields = part("fields");
  const lines = []; // what was run from this page, oldest first; forgotten with it
  let place = 0; // in `lines`; its length stands for what is being typed
  let draft = "";
  let running = null; // the AbortController of the command under way
  let why = part("disabled").textContent;

  // -- what may be done --------------------------------------------------------------------------

  /** Allow commands, or say why none can be sent now; `confirm` is the page that asks for a second factor. */
  const allow = (reason, confirm = "") => {
    why = reason;
    part("confirm").hidden = confirm === "";
    if (confirm) part("confirm-link").href = confirm;
    const focused = document.activeElement;
    part("disabled").hidden = reason === "";
    write(part("disabled"), reason);
    fields.disabled = reason !== "" && running === null;
    if (reason === "" && lastFocus && document.activeElement === document.body) lastFocus.focus();
    lastFocus = reason !== "" && box.contains(focused) ? focused : lastFocus;
  };
  let lastFocus = null; // a field that was being typed in when the node went away

  const show = (isRunning) => {
    part("run").disabled = isRunning;
    part("stop").hidden = !isRunning;
    write(part("run"), isRunning ? config.words.running : config.words.run);
  };

  // -- running -----------------------------------------------------------------------------------

  const said = (data) => {
    if (data.get("mode") === "action") return `${data.get("service")}.${data.get("action")} ${data.get("params")}`.trim();
    return data.get("line");
  };

  const complain = (problems) => {
    for (const place of box.querySelectorAll("[data-wrong]")) {
      const sentences = problems[place.dataset.wrong] || [];
      place.hidden = sentences.length === 0;
      write(place, sentences.join(" "));
    }
    const first = Object.keys(problems)[0];
    if (first && form.elements[first] && form.elements[first].focus) form.elements[first].focus();
  };

  /** Show an answer above the earlier ones. */
  const tell = (reply, command) => {
    const element = part("blank-reply").content.firstElementChild.cloneNode(true);
    element.dataset.good = reply.good ? "yes" : "no";
    write(part("said", element), command);
    for (const name of ["headline", "took", "error", "code", "ran", "stdout", "stderr", "data", "note"]) {
      write(part(name, element), reply[name] || "");
    }
    const replies = part("replies");
    replies.prepend(element);
    while (replies.children.length > MOST_REPLIES) replies.lastElementChild.remove();
  };

  const fail = (sentence) => ({ good: false, headline: config.words.failed, error: sentence });

  /** Ask the panel; returns what to show, or null when the form was at fault. */
  const ask = async (data, signal) => {
    const options = { method: "POST", body: data, headers: { Accept: "application/json" }, redirect: "manual", signal };
    const answer = await fetch(config.command, options);
    if (answer.type === "opaqueredirect") return fail(config.words.ended);
    const isJson = (answer.headers.get("Content-Type") || "").startsWith("application/json");
    if (!isJson) return fail(fill(config.words.broken, { status: answer.status }));
    const told = await answer.json();
    if (told.confirm !== undefined) return fail(config.words.confirm); // the page is read again after this
    if (told.problems) {
      complain(told.problems);
      return null;
    }
    return told.reply || fail(told.refused);
  };

  const run = async () => {
    if (running !== null || why !== "") return;
    const data = new FormData(form);
    if (data.get("mode") === "program" && !data.get("line").trim()) {
      complain({ line: [config.words.program] });
      return;
    }
    const command = said(data);
    complain({});
    remember(data);
    running = new AbortController();
    show(true);
    try {
      const reply = await ask(data, running.signal);
      if (reply !== null) tell(reply, command);
    } catch (error) {
      tell(fail(error.name === "AbortError" ? config.words.stopped : config.words.lost), command);
    }
    running = null;
    show(false);
    afterwards();
  };

  // -- keys --------------------------------------------------------------------------------------

  const remember = (data) => {
    if (data.get("mode") === "program" && lines[lines.length - 1] !== data.get("line")) lines.push(data.get("line"));
    if (lines.length > MOST_LINES) lines.shift();
    place = lines.length;
    draft = "";
  };

  const recall = (step) => {
    const to = place + step;
    if (to < 0 || to > lines.length) return false;
    if (place === lines.length) draft = form.elements.line.value;
    place = to;
    form.elements.line.value = to === lines.length ? draft : lines[to];
    return true;
  };

  /** Tell whether the cursor stands on the first, or for `step` 1 on the last line of the field. */
  const atEdge = (field, step) => {
    if (field.selectionStart !== field.selectionEnd) return false;
    const beyond = step < 0 ? field.value.slice(0, field.selectionStart) : field.value.slice(field.selectionEnd);
    return !beyond.includes("\n");
  };

  form.elements.line.addEventListener("keydown", (event) => {
    const step = { ArrowUp: -1, ArrowDown: 1 }[event.key];
    if (!step || event.ctrlKey || event.altKey || event.metaKey || event.shiftKey) return;
    if (atEdge(event.target, step) && recall(step)) event.preventDefault();
  });
  form.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
    event.preventDefault();
    run();
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    run();
  });
  part("stop").addEventListener("click", () => running && running.abort());
  part("keys").hidden = false;

  return { allow };
};
