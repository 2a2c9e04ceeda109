// The keys that every page of ours knows: "/" searches, "?" lists the keys, "g n" goes to Node Orchestration.
"use strict";

(() => {
  const dialog = document.getElementById("yt-keys");
  const SEQUENCE = 1500; // ms between the two keys of "g n"
  let went = 0; // when "g" was pressed

  const isTyping = (target) => target.closest("input, textarea, select, [contenteditable]") !== null;

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    if (isTyping(event.target) || dialog.open) return;
    const search = document.querySelector(".yt input[type=search]");
    const after = Date.now() - went < SEQUENCE;
    went = event.key === "g" ? Date.now() : 0;
    if (event.key === "/" && search) search.focus();
    else if (event.key === "?") dialog.showModal();
    else if (event.key === "n" && after) location.assign(dialog.dataset.home);
    else return;
    event.preventDefault();
  });

  for (const button of document.querySelectorAll("[data-yt-keys]")) {
    button.hidden = false;
    button.addEventListener("click", () => dialog.showModal());
  }
})();
