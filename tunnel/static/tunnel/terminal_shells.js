// The list of a node's live shells: read again and again, on the node's page and beside its terminal.
"use strict";

/** Keep the list in `page` true; `hide` is a shell that is not listed, for it is the one on this page. */
const yumnaShells = (page, { url, poll, hide = () => "" }) => {
  const { write, writeAgo, refresh } = yumnaTimes;
  const part = (name, root = page) => root.querySelector(`[data-yt="${name}"]`);
  const section = part("shells");

  const item = (shell) => {
    const element = part("blank-shell").content.firstElementChild.cloneNode(true);
    for (const name of ["who", "program", "viewers"]) write(part(name, element), shell[name]);
    writeAgo(part("at", element), shell.at);
    for (const name of ["open", "watch"]) {
      if (shell[name]) part(name, element).href = shell[name];
      else part(name, element).remove();
    }
    return element;
  };

  const show = (shells) => {
    const others = shells.filter((shell) => shell.id !== hide());
    section.hidden = others.length === 0;
    part("shells-list").replaceChildren(...others.map(item));
  };

  const read = async () => {
    if (document.hidden) return;
    try {
      const answer = await fetch(url, { headers: { Accept: "application/json" }, redirect: "manual" });
      if (answer.ok) show((await answer.json()).shells);
    } catch {
      refresh(section); // the next reading may do better
    }
  };

  setInterval(read, poll * 1000);
  return { show, read };
};
