// The figures of the last hour: one chart a figure, one cursor over all, gaps where nothing was told, and a table.
"use strict";

const yumnaCharts = (page, config) => {
  const { now, fill, clock, hour, exact, write } = yumnaTimes;
  const part = (name, root = page) => root.querySelector(`[data-yt="${name}"]`);
  const NAMES = config.charts.map((chart) => chart.name);
  const HEIGHT = 120; // px of a chart
  const AFTER = 0.001; // seconds after the last point at which a gap begins: the times of a chart must rise
  const FACTOR = { rtt: 1000 }; // what is told in seconds and shown in milliseconds

  const colour = (name) => getComputedStyle(page).getPropertyValue(name).trim();
  const drawn = new Map(); // name -> its chart
  let columns = { at: [], cpu: [], ram: [], disk: [], rtt: [] };

  const shown = (name, value) => (value === null || value === undefined ? null : value * (FACTOR[name] || 1));
  const worded = (chart, value) => {
    if (value === null) return "–";
    const number = chart.name === "rtt" ? Math.max(1, Math.round(value)) : Math.round(value);
    return chart.unit === "%" ? `${number}%` : `${number} ${chart.unit}`;
  };

  // -- charts ------------------------------------------------------------------------------------

  const options = (chart, width) => ({
    width,
    height: HEIGHT,
    legend: { show: false },
    cursor: { y: false, drag: { x: false, y: false }, sync: { key: "yt-server" }, points: { size: 7 } },
    scales: {
      x: { range: () => [now() - config.window, now()] },
      y: { range: (_, least, most) => [0, Math.max(chart.top, (most || 0) * 1.15)] },
    },
    axes: [
      { ...axis(), size: 24, space: 60, values: (_, times) => times.map(hour) },
      { ...axis(), size: 44, space: 30, values: (_, ticks) => ticks.map((tick) => worded(chart, tick || null).replace("–", "0")) },
    ],
    series: [
      {},
      { stroke: () => colour("--yt-curve"), fill: () => colour("--yt-under"), width: 1.5, points: { show: false }, spanGaps: false },
    ],
    hooks: { setCursor: [(plot) => say(chart, plot.cursor.idx)] },
  });

  const axis = () => ({
    stroke: () => colour("--yt-soft"),
    font: "11px system-ui, sans-serif",
    grid: { stroke: () => colour("--yt-grid"), width: 1 },
    ticks: { show: false },
  });

  /** Say the value under the cursor, else the newest one. */
  const say = (chart, index) => {
    const place = page.querySelector(`[data-chart="${chart.name}"]`);
    const values = columns[chart.name];
    const under = index !== null && index !== undefined && index < values.length;
    const at = under ? index : values.length - 1;
    const value = at < 0 ? null : shown(chart.name, values[at]);
    const words = worded(chart, value);
    write(part("value", place), under ? fill(config.words.at, { value: words, time: clock(columns.at[at]) }) : words);
  };

  const data = (name) => [columns.at, columns[name].map((value) => shown(name, value))];

  const draw = () => {
    const any = columns.at.length > 0;
    part("charts").hidden = !any;
    part("no-samples").hidden = any;
    if (!any) return;
    for (const chart of config.charts) {
      const place = page.querySelector(`[data-chart="${chart.name}"]`);
      const plot = part("plot", place);
      if (!drawn.has(chart.name)) {
        plot.setAttribute("aria-label", fill(config.words.chart, { name: chart.label }));
        drawn.set(chart.name, new uPlot(options(chart, plot.clientWidth), data(chart.name), plot));
        sizes.observe(plot);
      } else {
        drawn.get(chart.name).setData(data(chart.name));
      }
      say(chart, drawn.get(chart.name).cursor.idx);
    }
  };

  const sizes = new ResizeObserver((entries) => {
    for (const { target } of entries) {
      const chart = drawn.get(target.closest("[data-chart]").dataset.chart);
      if (target.clientWidth > 0 && chart.width !== target.clientWidth) chart.setSize({ width: target.clientWidth, height: HEIGHT });
    }
  });

  /** Draw again in the colours of the day or the night. */
  const recolour = () => {
    for (const chart of drawn.values()) chart.redraw(false);
  };
  new MutationObserver(recolour).observe(document.documentElement, {
    attributeFilter: ["class", "data-theme", "data-bs-theme"],
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", recolour);

  // -- table -------------------------------------------------------------------------------------

  const row = (index) => {
    const made = document.createElement("tr");
    const head = document.createElement("th");
    const time = document.createElement("time");
    head.scope = "row";
    time.dateTime = new Date(columns.at[index] * 1000).toISOString();
    time.title = exact(columns.at[index]);
    time.dataset.clock = "";
    time.textContent = clock(columns.at[index]);
    head.append(time);
    const cells = config.charts.map((chart) =>
      Object.assign(document.createElement("td"), { textContent: worded(chart, shown(chart.name, columns[chart.name][index])) }),
    );
    made.append(head, ...cells);
    return made;
  };

  const isGap = (index) => NAMES.every((name) => columns[name][index] === null);

  const tabulate = () => {
    const rows = columns.at.map((_, index) => index).filter((index) => !isGap(index));
    part("rows").replaceChildren(...rows.reverse().map(row));
  };

  // -- what is told ------------------------------------------------------------------------------

  const push = (at, card) => {
    columns.at.push(at);
    for (const name of NAMES) columns[name].push(card === null ? null : card[name]);
  };

  const forgetOld = () => {
    const first = columns.at.findIndex((at) => at >= now() - config.window);
    const old = first === -1 ? columns.at.length : first;
    if (!old) return;
    for (const name of ["at", ...NAMES]) columns[name].splice(0, old);
    const rows = part("rows");
    while (rows.children.length > columns.at.length) rows.lastElementChild.remove();
  };

  /** Take all samples of the last hour. */
  const replace = (samples) => {
    columns = { at: [...samples.at], ...Object.fromEntries(NAMES.map((name) => [name, [...samples[name]]])) };
    tabulate();
    draw();
  };

  /** Take the newest figures of a card, unless they are known already. */
  const append = (card) => {
    const last = columns.at.length ? columns.at[columns.at.length - 1] : null;
    const at = card.figures_at;
    if (at === null || (last !== null && at <= last) || at < now() - config.window) return;
    if (last !== null && at - last > config.gap) push(last + AFTER, null);
    push(at, card);
    part("rows").prepend(row(columns.at.length - 1));
    draw();
  };

  /** Let time go on: the charts end now. */
  const advance = () => {
    if (document.hidden || !columns.at.length) return;
    forgetOld();
    draw();
  };

  return { replace, append, advance };
};
