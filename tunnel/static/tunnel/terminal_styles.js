// Lets xterm.js style itself under a policy that allows no inline styles: what it writes into <style> elements goes into
// sheets that the page adopts, and style attributes of its cells are set through the object model. Load before xterm.js.
"use strict";

(() => {
  const make = document.createElement.bind(document);

  /** Return an element that is no style, but whose text becomes a sheet of this page as long as it is not removed. */
  const standIn = () => {
    const sheet = new CSSStyleSheet();
    const element = make("span");
    element.hidden = true;
    Object.defineProperty(element, "textContent", { set: (text) => sheet.replaceSync(text) });
    element.remove = () => {
      document.adoptedStyleSheets = document.adoptedStyleSheets.filter((one) => one !== sheet);
      HTMLElement.prototype.remove.call(element);
    };
    document.adoptedStyleSheets = [...document.adoptedStyleSheets, sheet];
    return element;
  };

  document.createElement = (name, ...options) => (name === "style" ? standIn() : make(name, ...options));

  // A cell in a colour of its own: the attribute would be refused, the property is not.
  HTMLSpanElement.prototype.setAttribute = function (name, value) {
    if (name === "style") this.style.cssText = value;
    else Element.prototype.setAttribute.call(this, name, value);
  };
})();
