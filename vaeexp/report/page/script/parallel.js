// Parallel coordinates of the searched parameters and the objective; a range on an axis filters the trials.
"use strict";

/** Names of choices on an axis; of more so many that stand evenly. */
const MOST_TICKS = 12;
const AXES = { top: 34, height: 210, below: 26, foot: 10, least: 108, edge: 58 };
/** Ranges by column: `from` and `to` of numbers (either may be missing), or the set of choices. */
const brushes = new Map();
/** What is drawn: the axes, the canvas, the width of a step between two axes, the row that is looked at. */
const lines = { axes: [], canvas: null, step: 0, row: null };

function buildParallel(section) {
  lines.axes = axesOf().filter(hasPlaces);
  if (lines.axes.length < 2) return;
  lines.axes.forEach(fitAxis);
  lines.canvas = make("canvas", { role: "img", "aria-label": "Parallel coordinates: a line for each trial through its settings and its value" });
  const plot = make("div", { className: "look-parallel" }, lines.canvas, ...lines.axes.flatMap(axisParts));
  plot.style.minWidth = `${2 * AXES.edge + (lines.axes.length - 1) * AXES.least}px`;
  section.append(make("p", { className: "look-note" }, parallelWords()));
  section.append(make("div", { className: "look-parallel-scroll", tabIndex: 0, role: "region", "aria-label": "Parallel coordinates" }, plot), rangeFields());
  new ResizeObserver(() => arrange(plot)).observe(plot);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawLines);
  on("filter", drawLines);
  on("look", ({ row }) => { lines.row = row; drawLines(); });
  listenToLines(plot);
}

function parallelWords() {
  return `Each line is a trial of the search, from its settings to its value; blue: ${study.best.size > 1 ? "the front" : "the best tenth of the complete ones"}. Drag along an axis to keep a range, click the axis to drop it, or type the range below.`;
}

function hasPlaces(column) {
  if (column.axis.choices) return column.axis.choices.length > 0;
  return study.rows.some((row) => row.run === "search" && Number.isFinite(numberOf(row[column.name])));
}

/** The ends of an axis: the range of the study file; of the objective the values, cut above where a few lie far outside. */
function fitAxis(column) {
  const { axis } = column;
  if (axis.choices || axis.low !== undefined) return;
  const values = study.rows.filter((row) => row.run === "search").map((row) => numberOf(row[column.name])).filter(Number.isFinite).sort((a, b) => a - b);
  const quantile = (share) => values[Math.floor(share * (values.length - 1))];
  const fence = quantile(0.75) + 1.5 * (quantile(0.75) - quantile(0.25));
  Object.assign(axis, { low: values[0], high: Math.min(values.at(-1), fence), log: false });
}

/** The place of a value on its axis, from 0 below to 1 above; null where it has none. */
function placeOn(column, value) {
  const { choices, low, high, log } = column.axis;
  if (choices) {
    const at = choices.indexOf(typeof value === "string" ? value : shown(column, value));
    return at < 0 ? null : choices.length === 1 ? 0.5 : at / (choices.length - 1);
  }
  const number = numberOf(value);
  if (Number.isNaN(number) || (log && number <= 0)) return null;
  if (low === high) return 0.5;
  const share = log ? Math.log(number / low) / Math.log(high / low) : (number - low) / (high - low);
  return Math.max(0, Math.min(1, share));
}

function valueAt(column, place) {
  const { low, high, log } = column.axis;
  return log ? low * (high / low) ** place : low + place * (high - low);
}

/** Pixels from the top; a trial without a value stands below the axis. */
function heightOf(place) {
  return place === null ? AXES.top + AXES.height + AXES.below : AXES.top + (1 - place) * AXES.height;
}

/** The ends of a range and its middle, as words with their places. */
function ticksOf(column) {
  const values = [0, 0.5, 1].map((place) => valueAt(column, place)).map((value) => (column.axis.whole ? Math.round(value) : value));
  return [...new Set(values)].map((value) => [shown(column, value), placeOn(column, value)]);
}

/** The name of an axis, its ticks and the strip on which one drags. */
function axisParts(column) {
  const { choices } = column.axis;
  const every = Math.ceil((choices?.length ?? 0) / MOST_TICKS);
  const ticks = choices ? choices.filter((_, at) => at % every === 0).map((text) => [text, placeOn(column, text)]) : ticksOf(column);
  if (study.rows.some((row) => row.run === "search" && placeOn(column, row[column.name]) === null)) ticks.push(["none", null]);
  const name = make("span", { className: "look-axis-name", title: column.label }, column.label);
  const words = ticks.map(([text, place]) => {
    const tick = make("span", { className: "look-tick", title: text }, text);
    tick.style.top = `${heightOf(place)}px`;
    return tick;
  });
  const strip = make("div", { className: "look-axis" }, make("div", { className: "look-brush", hidden: true }));
  strip.style.top = `${AXES.top}px`;
  strip.style.height = `${AXES.height}px`;
  listenToAxis(strip, column);
  column.parts = [name, ...words, strip];
  column.strip = strip;
  return column.parts;
}

function arrange(plot) {
  const width = plot.clientWidth;
  lines.step = (width - 2 * AXES.edge) / (lines.axes.length - 1);
  const height = AXES.top + AXES.height + AXES.below + AXES.foot;
  const dense = window.devicePixelRatio || 1;
  Object.assign(lines.canvas, { width: Math.round(width * dense), height: Math.round(height * dense) });
  lines.canvas.style.height = `${height}px`;
  lines.axes.forEach((column, at) => column.parts.forEach((part) => {
    part.style.left = `${AXES.edge + at * lines.step}px`;
    if (part !== column.strip && at < lines.axes.length - 1) part.style.maxWidth = `${lines.step - 12}px`;
  }));
  drawLines();
}

function pointsAcross(row) {
  return lines.axes.map((column, at) => [AXES.edge + at * lines.step, heightOf(placeOn(column, row[column.name]))]);
}

/** Trials that are kept stand over the others; the best tenth and the trial that is looked at over all. */
function drawLines() {
  const pen = lines.canvas.getContext("2d");
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const dense = lines.canvas.width / Math.max(1, lines.canvas.clientWidth);
  pen.setTransform(dense, 0, 0, dense, 0, 0);
  pen.clearRect(0, 0, lines.canvas.width, lines.canvas.height);
  const rows = study.rows.filter((row) => row.run === "search");
  const kept = rows.filter(passes);
  const best = bestLines(rows);
  const alpha = Math.max(0.08, Math.min(0.6, 40 / rows.length));
  stroke(pen, kept.length < rows.length ? rows.filter((row) => !passes(row)) : [], colour("--line"), alpha, 1);
  stroke(pen, kept.filter((row) => !best.has(row)), colour("--soft"), kept.length < rows.length ? 0.6 : alpha, 1);
  stroke(pen, kept.filter((row) => best.has(row)), colour("--link"), Math.max(0.15, Math.min(0.8, 40 / best.size)), 1.5);
  stroke(pen, rows.filter((row) => row.row === lines.row), colour("--ink"), 1, 2.5);
  pen.globalAlpha = 1;
  pen.strokeStyle = colour("--soft");
  pen.lineWidth = 1;
  lines.axes.forEach((_, at) => pen.strokeRect(AXES.edge + at * lines.step, AXES.top, 0, AXES.height));
}

/** The front, or the best tenth of the complete trials. */
function bestLines(rows) {
  if (study.best.size > 1) return new Set(rows.filter((row) => study.best.has(row.row)));
  const complete = rows.filter((row) => row.state === "complete");
  return new Set(complete.slice(0, Math.ceil(complete.length / 10)));
}

function stroke(pen, rows, colour, alpha, width) {
  Object.assign(pen, { strokeStyle: colour, globalAlpha: alpha, lineWidth: width, lineJoin: "round" });
  for (const row of rows) {
    pen.beginPath();
    pointsAcross(row).forEach(([x, y]) => pen.lineTo(x, y));
    pen.stroke();
  }
}

/** Dragging sets a range, a click drops it; fingers drag up and down, and scroll sideways. */
function listenToAxis(strip, column) {
  let from = null;
  const placeOf = (event) => 1 - (event.clientY - strip.getBoundingClientRect().top) / AXES.height;
  strip.addEventListener("pointerdown", (event) => {
    from = placeOf(event);
    strip.setPointerCapture(event.pointerId);
  });
  strip.addEventListener("pointermove", (event) => {
    if (from !== null && Math.abs(placeOf(event) - from) > 0.02) brushPlaces(column, from, placeOf(event));
  });
  strip.addEventListener("pointerup", (event) => {
    if (Math.abs(placeOf(event) - from) <= 0.02) brush(column, null);
    from = null;
  });
}

/** Keeps the values between two places. A range to an end of the axis has no limit there, so what lies outside the axis is in it. */
function brushPlaces(column, one, other) {
  const [low, high] = [Math.max(0, Math.min(one, other)), Math.min(1, Math.max(one, other))];
  const { choices, whole } = column.axis;
  if (choices) return brush(column, new Set(choices.filter((text) => placeOn(column, text) >= low - 0.04 && placeOn(column, text) <= high + 0.04)));
  const limit = (place) => (whole ? Math.round(valueAt(column, place)) : Number(valueAt(column, place).toPrecision(3)));
  return brush(column, { from: low > 0 ? limit(low) : undefined, to: high < 1 ? limit(high) : undefined });
}

function brush(column, range) {
  if (range) brushes.set(column, range);
  else brushes.delete(column);
  filterBy("ranges", brushes.size ? (row) => [...brushes].every(([each, own]) => within(each, own, row[each.name])) : null);
  showBrush(column, range);
}

function within(column, range, value) {
  if (range instanceof Set) return value !== undefined && range.has(typeof value === "string" ? value : shown(column, value));
  const number = numberOf(value);
  return !Number.isNaN(number) && number >= (range.from ?? -Infinity) && number <= (range.to ?? Infinity);
}

/** Shows a range on its axis and in its fields. */
function showBrush(column, range) {
  const bar = column.strip.firstChild;
  bar.hidden = !range || (range instanceof Set && !range.size);
  if (range) {
    const places = range instanceof Set ? [...range].map((text) => placeOn(column, text)) : [placeOn(column, range.from) ?? 0, placeOn(column, range.to) ?? 1];
    const [low, high] = [Math.min(...places), Math.max(...places)];
    const edge = range instanceof Set ? 6 : 0;
    bar.style.top = `${(1 - high) * AXES.height - edge}px`;
    bar.style.height = `${Math.max(3, (high - low) * AXES.height + 2 * edge)}px`;
  }
  column.show?.(range);
}

/** The same ranges as fields: two numbers for each axis, or its choices. */
function rangeFields() {
  const drop = make("button", { type: "button", onclick: () => lines.axes.forEach((column) => brush(column, null)) }, "Drop all ranges");
  const fields = lines.axes.map((column) => (column.axis.choices ? choiceField(column) : numberField(column)));
  return make("details", { className: "look-ranges" }, make("summary", {}, "Ranges as numbers"), make("div", { className: "look-fields" }, ...fields), drop);
}

function numberField(column) {
  const input = (end, words) => make("input", { type: "number", step: "any", "aria-label": `${column.label}, ${words}`, placeholder: words, "data-range": `${column.name} ${end}` });
  const [from, to] = [input("from", "at least"), input("to", "at most")];
  const read = (field) => (field.value === "" ? undefined : Number(field.value));
  const changed = () => brush(column, read(from) === undefined && read(to) === undefined ? null : { from: read(from), to: read(to) });
  [from, to].forEach((field) => field.addEventListener("change", changed));
  column.show = (range) => {
    from.value = range?.from ?? "";
    to.value = range?.to ?? "";
  };
  return make("fieldset", {}, make("legend", {}, column.label), from, " ", to);
}

function choiceField(column) {
  const boxes = column.axis.choices.map((text) => make("input", { type: "checkbox", value: text, checked: true }));
  const changed = () => brush(column, boxes.every((box) => box.checked) ? null : new Set(boxes.filter((box) => box.checked).map((box) => box.value)));
  boxes.forEach((box) => box.addEventListener("change", changed));
  column.show = (range) => boxes.forEach((box) => { box.checked = !range || range.has(box.value); });
  return make("fieldset", {}, make("legend", {}, column.label), ...boxes.map((box) => make("label", {}, box, ` ${box.value} `)));
}

/** The line nearest to the pointer is looked at; a click pins it. */
function listenToLines(plot) {
  const nearest = (event) => {
    const { left, top } = plot.getBoundingClientRect();
    return rowAt(event.clientX - left, event.clientY - top);
  };
  const beside = (event) => ({ getBoundingClientRect: () => new DOMRect(event.clientX - 6, event.clientY - 6, 12, 12) });
  plot.addEventListener("pointermove", (event) => {
    if (event.pointerType === "mouse" && !event.buttons) lookAt(nearest(event), beside(event));
  });
  plot.addEventListener("pointerleave", () => lookAt(null));
  lines.canvas.addEventListener("click", (event) => pin(nearest(event), beside(event)));
}

function rowAt(x, y) {
  const at = Math.max(0, Math.min(lines.axes.length - 2, Math.floor((x - AXES.edge) / lines.step)));
  const share = (x - AXES.edge) / lines.step - at;
  let [found, distance] = [null, 7];
  for (const row of study.rows.filter((each) => each.run === "search" && passes(each))) {
    const [left, right] = [lines.axes[at], lines.axes[at + 1]].map((column) => heightOf(placeOn(column, row[column.name])));
    const away = Math.abs(left + share * (right - left) - y);
    if (away < distance) [found, distance] = [row.row, away];
  }
  return found;
}
