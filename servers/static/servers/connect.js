// The page that shows a secret once: copy it, save it as a file, and forget it when the page is loaded again.
"use strict";

(() => {
  const page = document.querySelector(".yt-connect");
  const SHOWN_FOR = 2000; // ms the button says "Copied"

  // Loading the page again asks for this address, with neither the form nor the secret.
  if (page.dataset.address) history.replaceState(null, "", page.dataset.address);

  const select = (element) => {
    const range = document.createRange();
    range.selectNodeContents(element);
    getSelection().removeAllRanges();
    getSelection().addRange(range);
  };

  const say = (button, words) => {
    button.dataset.label = button.dataset.label || button.textContent;
    button.textContent = words;
    clearTimeout(Number(button.dataset.timer));
    button.dataset.timer = setTimeout(() => (button.textContent = button.dataset.label), SHOWN_FOR);
  };

  const copy = async (button) => {
    const element = document.getElementById(button.dataset.copy);
    try {
      await navigator.clipboard.writeText(element.textContent); // undefined without TLS, refused without permission
      say(button, button.dataset.done);
    } catch {
      select(element);
      say(button, button.dataset.selected);
    }
  };

  const save = (button) => {
    const file = new Blob([document.getElementById(button.dataset.save).textContent], { type: "text/plain" });
    const link = Object.assign(document.createElement("a"), {
      href: URL.createObjectURL(file),
      download: button.dataset.name,
    });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), SHOWN_FOR);
  };

  for (const [name, act] of [["copy", copy], ["save", save]]) {
    for (const button of page.querySelectorAll(`[data-${name}]`)) {
      button.hidden = false;
      button.setAttribute("aria-live", "polite");
      button.addEventListener("click", () => act(button));
    }
  }
})();
