// Parallel coordinates of the searched parameters and the objective; a range on an axis is written into the filter.

/** Names of choices on an axis; of more so many that stand evenly. */
const MOST_TICKS = 12;
const AXES = { top: 34, height: 210, below: 26, foot: 10, least: 108, edge: 66 };
const lines = { axes: [], canvas: null, step: 0 };

function buildParallel(section) {
  lines.axes = axesOf().filter(hasPlaces);
  if (lines.axes.length < 2) return;
  lines.canvas = make("canvas", { role: "img", "aria-label": "Parallel coordinates: a line for each trial through its settings and its value" });
  const plot = make("div", { className: "look-parallel" }, lines.canvas, ...lines.axes.flatMap(axisParts));
  plot.style.minWidth = `${2 * AXES.edge + (lines.axes.length - 1) * AXES.least}px`;
  const words = "Each line is a trial of the search, from its settings to its value. Drag along an axis to filter by a range, click it to drop that.";
  section.append(make("p", { className: "look-note" }, words), make("div", { className: "look-parallel-scroll", tabIndex: 0, role: "region", "aria-label": "Parallel coordinates" }, plot));
  new ResizeObserver(() => arrange(plot)).observe(plot);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawLines);
  ["filter", "look", "tint"].forEach((event) => on(event, drawLines));
  on("filter", () => lines.axes.forEach(showRange));
}

function hasPlaces(column) {
  if (column.axis.choices) return column.axis.choices.length > 0;
  return study.rows.some((row) => row.run === "search" && Number.isFinite(numberOf(row[column.name])));
}

/** Pixels from the top; a trial without a value stands below the axis. */
function heightOf(place) {
  return place === null ? AXES.top + AXES.height + AXES.below : AXES.top + (1 - place) * AXES.height;
}

function axisParts(column) {
  const ticks = ticksOf(column, column.axis.choices ? MOST_TICKS : 3);
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
  lines.step = (plot.clientWidth - 2 * AXES.edge) / (lines.axes.length - 1);
  lines.axes.forEach((column, at) => column.parts.forEach((part) => {
    part.style.left = `${AXES.edge + at * lines.step}px`;
    if (part !== column.strip && at < lines.axes.length - 1) part.style.maxWidth = `${lines.step - 12}px`;
  }));
  drawLines();
}

/** Trials that are kept stand over the others, low values over high ones, and the trial that is looked at over all. */
function drawLines() {
  const pen = penOf(lines.canvas, AXES.top + AXES.height + AXES.below + AXES.foot);
  const rows = study.rows.filter((row) => row.run === "search");
  const kept = rows.filter(passes);
  const opacity = (count) => Math.max(0.08, Math.min(0.6, 40 / count));
  rows.filter((row) => !passes(row)).forEach((row) => stroke(pen, row, colourOf("--line"), opacity(rows.length), 1));
  tinted(kept).forEach(([row, colour, place]) => {
    const near = tint.column.group === "objective" ? 3 * (1 - place) ** 8 : 0;
    stroke(pen, row, colour, Math.min(0.9, opacity(kept.length) * (1 + near)), 1.2);
  });
  const looked = study.byRow.get(study.looked);
  if (looked?.run === "search") stroke(pen, looked, colourOf("--ink"), 1, 2.5);
  Object.assign(pen, { globalAlpha: 1, strokeStyle: colourOf("--soft"), lineWidth: 1 });
  lines.axes.forEach((_, at) => pen.strokeRect(AXES.edge + at * lines.step, AXES.top, 0, AXES.height));
}

/** A line through the axes, which ends in a ring where its value is of an early epoch. */
function stroke(pen, row, colour, alpha, width) {
  Object.assign(pen, { strokeStyle: colour, fillStyle: colour, globalAlpha: alpha, lineWidth: width, lineJoin: "round" });
  pen.beginPath();
  lines.axes.forEach((column, at) => pen.lineTo(AXES.edge + at * lines.step, heightOf(placeOn(column, row[column.name]))));
  pen.stroke();
  const at = lines.axes.findIndex((column) => column.group === "objective");
  if (at >= 0 && isEarly(row)) dot(pen, { row, colour, at: [AXES.edge + at * lines.step, heightOf(placeOn(lines.axes[at], row.objective))] }, 3);
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
    if (Math.abs(placeOf(event) - from) <= 0.02) refilter(column, []);
    from = null;
  });
}

/** Keeps the values between two places. A range to an end of the axis has no limit there, so what lies outside the axis is in it. */
function brushPlaces(column, one, other) {
  const [low, high] = [Math.max(0, Math.min(one, other)), Math.min(1, Math.max(one, other))];
  const { choices } = column.axis;
  const kept = choices?.filter((text) => placeOn(column, text) >= low - 0.04 && placeOn(column, text) <= high + 0.04);
  if (choices) return refilter(column, kept.length ? [`:${kept.join(",")}`] : []);
  const limit = (place) => Number(valueAt(column, place).toPrecision(3));
  return refilter(column, [...(low > 0 ? [`>=${limit(low)}`] : []), ...(high < 1 ? [`<=${limit(high)}`] : [])]);
}

function showRange(column) {
  const own = study.words.filter((word) => word.column === column);
  const bar = column.strip.firstChild;
  const { choices } = column.axis;
  const last = (end) => own.findLast((word) => end in word)?.[end];
  const named = choices?.filter((text) => last("values")?.includes(hyphened(text).toLowerCase())).map((text) => placeOn(column, text));
  const places = named ?? [placeOn(column, last("from")) ?? 0, placeOn(column, last("to")) ?? 1];
  bar.hidden = !places.length || (!choices && last("from") === undefined && last("to") === undefined);
  const [low, high] = [Math.min(...places), Math.max(...places)];
  const edge = choices ? 6 : 0;
  bar.style.top = `${(1 - high) * AXES.height - edge}px`;
  bar.style.height = `${Math.max(3, (high - low) * AXES.height + 2 * edge)}px`;
}
