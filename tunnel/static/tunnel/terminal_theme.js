// The look of the terminal: the colours follow the admin's theme by day and night, and the renderer fits the machine.
"use strict";

const yumnaTheme = (page) => {
  const LIGHT = {
    background: "#ffffff", foreground: "#1f2328", cursor: "#1f2328", cursorAccent: "#ffffff",
    selectionBackground: "#b6d7f5", selectionInactiveBackground: "#dde6ee",
    black: "#24292f", red: "#b3141f", green: "#116329", yellow: "#7a4b00", blue: "#0a58b8", magenta: "#7b2fc0", cyan: "#106570", white: "#5f6770",
    brightBlack: "#57606a", brightRed: "#a0111f", brightGreen: "#1a7f37", brightYellow: "#8a5a00", brightBlue: "#0969da", brightMagenta: "#8250df",
    brightCyan: "#2a7580", brightWhite: "#3b4248",
  };
  const DARK = {
    background: "#0c0f13", foreground: "#e2e8ee", cursor: "#e2e8ee", cursorAccent: "#0c0f13",
    selectionBackground: "#2f5c85", selectionInactiveBackground: "#33414f",
    black: "#4a5561", red: "#ff7b84", green: "#6bd27f", yellow: "#e3b341", blue: "#6cb6ff", magenta: "#d2a8ff", cyan: "#5fd3e0", white: "#c6cfd8",
    brightBlack: "#8b98a5", brightRed: "#ffa1a8", brightGreen: "#94e5a4", brightYellow: "#f2cc60", brightBlue: "#9ccbff", brightMagenta: "#e2c5ff",
    brightCyan: "#8ee6ef", brightWhite: "#ffffff",
  };
  const SLOW = /SwiftShader|llvmpipe|software|Basic Render/i; // drawn by the processor, ten times slower than the DOM

  const isDark = () => getComputedStyle(page).getPropertyValue("--yt-night").trim() === "1";
  const theme = () => (isDark() ? DARK : LIGHT);

  /** Tell whether the machine draws WebGL itself. */
  const hasGpu = () => {
    const gl = document.createElement("canvas").getContext("webgl2");
    if (!gl) return false;
    const info = gl.getExtension("WEBGL_debug_renderer_info");
    const name = String(gl.getParameter(info ? info.UNMASKED_RENDERER_WEBGL : gl.RENDERER));
    const lose = gl.getExtension("WEBGL_lose_context");
    if (lose) lose.loseContext();
    return !SLOW.test(name);
  };

  /** Call `change` whenever the admin turns to day or night. */
  const follow = (change) => {
    let dark = isDark();
    const look = () => {
      if (isDark() === dark) return;
      dark = !dark;
      change();
    };
    new MutationObserver(look).observe(document.documentElement, { attributes: true, attributeFilter: ["class", "data-theme", "data-bs-theme"] });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", look);
  };

  return { theme, hasGpu, follow };
};
