// The line that filters trials: `adam beta<1 state:complete trial:45`.
"use strict";

/** The part of a name that tells columns apart when typed: no spaces, dashes or capitals. */
function plainName(text) {
  return text.toLowerCase().replace(/[\s_-]+/g, "");
}

/** The column that somebody means, by its label, by its name in the CSV file or by the last part of that. */
function columnNamed(text) {
  const wanted = plainName(text);
  const named = (column) => [column.label, column.name, column.name.split(/[./]/).pop()].map(plainName);
  return study.columns.find((column) => named(column).includes(wanted));
}

/** The filter of one word, or a sentence that says what is wrong with it. */
function filterOfWord(word) {
  const [, name, sign, value] = word.match(/^([^<>=:]+)(<=|>=|[<>=:])(.+)$/) ?? [];
  if (!name) return textFilter(word);
  if (["trial", "run"].includes(plainName(name)) && ":=".includes(sign)) return trialFilter(value);
  const column = columnNamed(name);
  if (!column) return `no column is called “${name}”`;
  if (":=".includes(sign)) return equalFilter(column, value);
  const limit = Number(value.replace("−", "-").replaceAll(",", ""));
  if (Number.isNaN(limit)) return `“${value}” is no number`;
  const holds = { "<": (a) => a < limit, "<=": (a) => a <= limit, ">": (a) => a > limit, ">=": (a) => a >= limit }[sign];
  return (row) => holds(numberOf(row[column.name]));
}

function trialFilter(value) {
  const wanted = value.toLowerCase().split(",");
  return (row) => wanted.includes(row.row.toLowerCase()) || wanted.includes(row.run);
}

function equalFilter(column, value) {
  const wanted = value.toLowerCase();
  const number = Number(value);
  const same = (own) => shown(column, own).toLowerCase() === wanted || String(own).toLowerCase() === wanted || own === number;
  const starts = (own) => column.type === "text" && String(own).toLowerCase().startsWith(wanted);
  return (row) => row[column.name] !== undefined && (same(row[column.name]) || starts(row[column.name]));
}

function textFilter(word) {
  const wanted = word.toLowerCase();
  const texts = study.columns.filter((column) => column.type === "text");
  return (row) => row.row.toLowerCase() === wanted || texts.some((column) => String(row[column.name] ?? "").toLowerCase().includes(wanted));
}

/** The line with names such as `learning rate` in one word, and without spaces around signs. */
function tidied(line) {
  const spaced = study.columns.map((column) => column.label).filter((label) => label.includes(" "));
  const joined = spaced.reduce((text, label) => {
    const named = new RegExp(`${label.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")}(?=\\s*[<>=:])`, "gi");
    return text.replace(named, label.replaceAll(" ", "_"));
  }, line);
  return joined.replace(/\s*(<=|>=|[<>=:])\s*/g, "$1");
}

/** Reads the line; a part in quotes is one word. Returns the filter, or null for none, and what could not be read. */
function readFilter(line) {
  const words = [...tidied(line).matchAll(/"([^"]+)"|(\S+)/g)].map((match) => match[1] ?? match[2]);
  const read = words.map(filterOfWord);
  const wrong = read.filter((each) => typeof each === "string");
  const filters = read.filter((each) => typeof each === "function");
  return { keeps: filters.length ? (row) => filters.every((filter) => filter(row)) : null, wrong };
}

/** A few examples made of the study's own columns. */
function filterExamples() {
  const axes = axesOf();
  const number = axes.find((column) => column.group === "settings" && column.type === "number");
  const choice = axes.find((column) => column.axis.choices && column.type === "text");
  const examples = ["state:complete"];
  if (number) examples.push(`${number.label.replaceAll(" ", "_")}<${shown(number, (number.axis.low * number.axis.high) ** 0.5 || number.axis.high / 2)}`);
  if (choice) examples.push(`${choice.label.replaceAll(" ", "_")}:${choice.axis.choices[0]}`);
  return examples;
}
