// Scales: where a value stands between the ends of its axis, and which colour it has.

const tint = { column: null };

/** The columns that can be an axis or a colour: choices, and numbers of which there are two at least. */
function scaledColumns() {
  const differ = (column) => new Set(study.rows.map((row) => row[column.name]).filter(Number.isFinite)).size > 1;
  return study.columns.filter((column) => column.axis?.choices || (column.type === "number" && !/trial|duplicate/.test(column.name) && differ(column)));
}

/** The ends of a column's axis: the range of the study file, else those of its values, cut above where a few lie far outside. */
function scaleOf(column) {
  if (column.scale || column.axis?.choices || column.axis?.low !== undefined) return column.scale ?? column.axis;
  const finite = (rows) => rows.map((row) => numberOf(row[column.name])).filter(Number.isFinite).sort((a, b) => a - b);
  const searched = finite(study.rows.filter((row) => row.run === "search"));
  const values = searched.length > 1 ? searched : finite(study.rows);
  const quantile = (share) => values[Math.floor(share * (values.length - 1))];
  const fence = quantile(0.75) + 1.5 * (quantile(0.75) - quantile(0.25));
  column.scale = { low: values[0], high: Math.min(values.at(-1), fence), log: false, whole: values.every(Number.isInteger), cut: fence < values.at(-1) };
  return column.scale;
}

/** The place of a value on its axis, from 0 below to 1 above; null where it has none. */
function placeOn(column, value) {
  const { choices, low, high, log } = scaleOf(column);
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
  const { low, high, log, whole } = scaleOf(column);
  const value = log ? low * (high / low) ** place : low + place * (high - low);
  return whole ? Math.round(value) : value;
}

/** Words on an axis with their places: at most `most` choices, or so many values that stand evenly. */
function ticksOf(column, most) {
  const { choices, cut } = scaleOf(column);
  const every = Math.ceil((choices?.length ?? 0) / most);
  const values = choices ? choices.filter((_, at) => at % every === 0) : Array.from({ length: most }, (_, at) => valueAt(column, at / (most - 1)));
  return [...new Set(values)].map((value, at, all) => [`${cut && at === all.length - 1 ? "≥ " : ""}${shown(column, value)}`, placeOn(column, value)]);
}

/** The colours of places, from 0 to 1 in 64 steps; low values stand out from the page, light or dark. */
function shades() {
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  const shade = (place) => `oklch(${dark ? 0.9 - 0.4 * place : 0.38 + 0.4 * place} 0.15 ${280 - 200 * place})`;
  return Array.from({ length: 65 }, (_, step) => shade(step / 64));
}

/** Rows with their colours, those of low values last, so that they stand over the others. */
function tinted(rows) {
  const colours = shades();
  const placed = rows.map((row) => [row, tint.column && placeOn(tint.column, row[tint.column.name])]).sort((a, b) => (b[1] ?? 2) - (a[1] ?? 2));
  return placed.map(([row, place]) => [row, place === null ? colourOf("--axis") : colours[Math.round(64 * place)], place ?? 1]);
}

function colourOf(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

function fullLabel(column) {
  return ["validation", "test"].includes(column.group) ? `${column.label} (${column.group})` : column.label;
}

function columnChoice(name, words, start, changed) {
  const columns = scaledColumns();
  const chosen = columns.find((column) => column.name === address.get(name)) ?? start;
  const choice = make("select", { id: `look-${name}` }, ...columns.map((column) => make("option", { value: column.name, selected: column === chosen }, fullLabel(column))));
  choice.addEventListener("change", () => {
    keepInAddress(name, choice.value);
    changed(columns.find((column) => column.name === choice.value));
  });
  return [chosen, make("label", {}, `${words} `, choice)];
}

function legend() {
  const colours = shades();
  const marks = ticksOf(tint.column, 5).map(([text, place]) => {
    const swatch = make("i", { "aria-hidden": "true" });
    swatch.style.background = colours[Math.round(64 * place)];
    return make("span", {}, swatch, text);
  });
  return [make("b", {}, fullLabel(tint.column)), ...marks];
}

function penOf(canvas, height) {
  const dense = window.devicePixelRatio || 1;
  canvas.style.height = `${height}px`;
  Object.assign(canvas, { width: Math.round(canvas.clientWidth * dense), height: Math.round(height * dense) });
  const pen = canvas.getContext("2d");
  pen.setTransform(dense, 0, 0, dense, 0, 0);
  return pen;
}
