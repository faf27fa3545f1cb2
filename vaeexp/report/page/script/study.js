// The study's data, what is kept by the filters, which trial is looked at, and small helpers for elements and numbers.
"use strict";

const MISSING = "–";

/** What all parts of the page share. Filters are functions of a row by name; `kept` are the rows that pass them all. */
const study = { name: "", columns: [], rows: [], byRow: new Map(), curves: {}, left_out: [], best: new Set(), filters: new Map(), kept: [], pinned: null, looked: null };
const listeners = {};

/** Calls `listener` with the value of each later `tell` of this name. */
function on(name, listener) {
  (listeners[name] ??= []).push(listener);
}

function tell(name, value) {
  (listeners[name] ?? []).forEach((listener) => listener(value));
}

function readStudy() {
  const data = JSON.parse(document.getElementById("study-data").textContent);
  Object.assign(study, data, { name: data.study, best: new Set(data.best) });
  study.byRow = new Map(study.rows.map((row) => [row.row, row]));
  study.rows.forEach((row, place) => { row.place = place; });
  study.kept = study.rows;
}

/** Sets or drops a filter, and tells what is kept then. */
function filterBy(name, keeps) {
  if (keeps) study.filters.set(name, keeps);
  else study.filters.delete(name);
  const filters = [...study.filters.values()];
  study.kept = study.rows.filter((row) => filters.every((filter) => filter(row)));
  tell("filter");
}

/** Whether a row passes all filters but the one that leaves runs with new seeds out of the table. */
function passes(row) {
  return [...study.filters].every(([name, keeps]) => name === "repeats" || keeps(row));
}

/** Looks at a row, or at none; a pinned row stays until it is freed. `place` is the element beside which its card stands. */
function lookAt(row, place = null) {
  if (study.pinned || study.looked === row) return;
  study.looked = row;
  tell("look", { row, place });
}

/** Pins a row, or frees the pinned one. */
function pin(row, place = null) {
  study.pinned = study.looked = row;
  tell("look", { row, place });
}

/** Makes an element; texts become text, never markup. A property `on…` is a listener, one with a dash an attribute. */
function make(tag, properties = {}, ...children) {
  const element = tag.includes(":") ? document.createElementNS("http://www.w3.org/2000/svg", tag.slice(4)) : document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (tag.includes(":") || name.includes("-") || name === "role" || name === "for" || name === "list") element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...children);
  return element;
}

/** The value of a cell as a number; NaN where it has none. */
function numberOf(value) {
  return value === "∞" ? Infinity : value === "−∞" ? -Infinity : typeof value === "number" ? value : NaN;
}

/** A cell as the report writes it: figures with fixed decimals, settings with three digits, a dash where there is none. */
function shown(column, value) {
  if (value === undefined || value === null) return MISSING;
  if (typeof value !== "number") return String(value);
  if (column.digits !== undefined) return grouped(value, column.digits);
  if (Number.isInteger(value)) return grouped(value, 0);
  const short = Number(value.toPrecision(3));
  if (Math.abs(value) >= 1000) return grouped(value, 0);
  return minus(Math.abs(short) < 1e-4 ? short.toExponential() : String(short));
}

function grouped(value, most) {
  // Of more than three decimals, fewer by each digit before the point after the first, as in the report.
  const large = most > 3 && Math.abs(value) >= 10;
  const digits = large ? Math.max(0, most - Math.floor(Math.log10(Math.abs(value)))) : most;
  return minus(value.toLocaleString("en-GB", { minimumFractionDigits: digits, maximumFractionDigits: digits }));
}

function minus(text) {
  return text.replace(/^-/, "−");
}

/** The columns of the searched parameters, and of the objectives, in the order of the study file. */
function axesOf() {
  const searched = study.columns.filter((column) => column.axis);
  return [...searched.filter((column) => column.group === "settings"), ...searched.filter((column) => column.group === "objective")];
}

/** How a row is called in a sentence: `trial 45`, `r3, again trial 45`. */
function nameOf(row) {
  const again = row.source_trial === undefined ? "" : `, trial ${row.source_trial} again`;
  return row.run === "search" ? `trial ${row.row}` : `run ${row.row}${again}`;
}

/** The settings of a row as the report writes them beside pictures. */
function settingsOf(row) {
  const own = study.columns.filter((column) => column.group === "settings" && row[column.name] !== undefined);
  return own.map((column) => `${column.label} = ${shown(column, row[column.name])}`).join(", ");
}
