// The study's data, what is kept by the filters, which trial is looked at, and small helpers for elements and numbers.
"use strict";

const MISSING = "–";

/** What all parts of the page share. Filters are functions of a row by name; `kept` are the rows that pass them all. */
const study = { name: "", columns: [], rows: [], byRow: new Map(), curves: {}, left_out: [], best: new Set(), filters: new Map(), words: [], kept: [], pinned: null, looked: null };
const listeners = {};

/** Calls `listener` with the value of each later `tell` of this name. */
function on(name, listener) {
  (listeners[name] ??= []).push(listener);
}

function tell(name, value) {
  (listeners[name] ?? []).forEach((listener) => listener(value));
}

/** The state of the page after the `#` of its address, so that a copied address shows the same. */
const address = new URLSearchParams(location.hash.includes("=") ? location.hash.slice(1) : "");
window.addEventListener("hashchange", () => { if (location.hash.includes("=")) location.reload(); });

function keepInAddress(name, value) {
  if (value) address.set(name, value);
  else address.delete(name);
  history.replaceState(null, "", `#${address}`);
}

function readStudy() {
  const data = JSON.parse(document.getElementById("study-data").textContent);
  Object.assign(study, data, { name: data.study, best: new Set(data.best) });
  study.byRow = new Map(study.rows.map((row) => [row.row, row]));
  study.rows.forEach((row, place) => { row.place = place; });
  study.kept = study.rows;
  study.confirmed = study.rows.some((row) => row.run.includes("confirm"));
  const complete = study.rows.filter((row) => row.run === "search" && row.state === "complete" && Number.isFinite(row.objective));
  study.lowest = complete.reduce((low, row) => (row.objective < low.objective ? row : low), complete[0] ?? {}).row;
}

/** The winner is confirmed; the lowest value of the search is no more than the luckiest. */
function titleOf(row) {
  const found = study.best.has(row.row);
  if (found && !study.columns.some((column) => column.name === "objective")) return "★ on the front";
  if (found && study.confirmed) return "★ winner";
  return row.row === study.lowest ? "best in the search" : "";
}

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

function lookAt(row, place = null) {
  if (study.pinned || study.looked === row) return;
  study.looked = row;
  tell("look", { row, place });
}

function pin(row, place = null) {
  study.pinned = study.looked = row;
  keepInAddress("trial", row);
  tell("look", { row, place });
}

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

function numberOf(value) {
  return value === "∞" ? Infinity : value === "−∞" ? -Infinity : typeof value === "number" ? value : NaN;
}

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

function axesOf() {
  const searched = study.columns.filter((column) => column.axis);
  return [...searched.filter((column) => column.group === "settings"), ...searched.filter((column) => column.group === "objective")];
}

function nameOf(row) {
  const again = row.source_trial === undefined ? "" : `, trial ${row.source_trial} again`;
  return row.run === "search" ? `trial ${row.row}` : `run ${row.row}${again}`;
}
