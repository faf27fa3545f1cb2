// The line that filters trials: `adam beta<1 state:complete trial:45`.

/** The part of a name that tells columns apart when typed: no spaces, dashes or capitals. */
function plainName(text) {
  return hyphened(text).toLowerCase().replace(/[\s_-]+/g, "");
}

function hyphened(text) {
  return text.replace(/[−–]/g, "-");
}

function columnNamed(text) {
  const wanted = plainName(text);
  const named = (column) => [column.label, column.name, column.name.split(/[./]/).pop()].map(plainName);
  return study.columns.find((column) => named(column).includes(wanted));
}

function filterOfWord(word) {
  const [, name, sign, value] = word.match(/^([^<>=:]+)(<=|>=|[<>=:])(.+)$/) ?? [];
  if (!name) return { word, keeps: textFilter(word) };
  const equal = ":=".includes(sign);
  if (["trial", "run"].includes(plainName(name)) && equal) return { word, keeps: trialFilter(value) };
  const column = columnNamed(name);
  if (!column) return `no column is called “${name}”`;
  if (equal) return { word, column, values: valuesOf(value), keeps: equalFilter(column, value) };
  const limit = Number(hyphened(value).replaceAll(",", ""));
  if (Number.isNaN(limit)) return `“${value}” is no number`;
  const holds = { "<": (a) => a < limit, "<=": (a) => a <= limit, ">": (a) => a > limit, ">=": (a) => a >= limit }[sign];
  return { word, column, [sign[0] === "<" ? "to" : "from"]: limit, keeps: (row) => holds(numberOf(row[column.name])) };
}

function trialFilter(value) {
  const wanted = value.toLowerCase().split(",");
  return (row) => wanted.includes(row.row.toLowerCase()) || wanted.includes(row.run);
}

/** The values that a list with commas names; a value may have commas itself. */
function valuesOf(value) {
  const wanted = hyphened(value).toLowerCase();
  return [wanted, ...wanted.split(",")];
}

/** Equal values alone, as `adam` is no `adamax`; a message or another long text begins with what was typed. */
function equalFilter(column, value) {
  const wanted = valuesOf(value);
  const same = (own) => wanted.some((each) => hyphened(shown(column, own)).toLowerCase() === each || hyphened(String(own)).toLowerCase() === each || own === Number(each));
  const starts = (own) => column.group === "more" && String(own).toLowerCase().startsWith(wanted[0]);
  return (row) => row[column.name] !== undefined && (same(row[column.name]) || starts(row[column.name]));
}

function textFilter(word) {
  const wanted = word.toLowerCase();
  const texts = study.columns.filter((column) => column.type === "text");
  return (row) => row.row.toLowerCase() === wanted || texts.some((column) => String(row[column.name] ?? "").toLowerCase().includes(wanted));
}

function tidied(line) {
  const spaced = study.columns.map((column) => column.label).filter((label) => label.includes(" "));
  const joined = spaced.reduce((text, label) => {
    const named = new RegExp(`${label.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")}(?=\\s*[<>=:])`, "gi");
    return text.replace(named, label.replaceAll(" ", "_"));
  }, line);
  return joined.replace(/\s*(<=|>=|[<>=:])\s*/g, "$1");
}

/** Reads the line, in which quotes hold a value with spaces together. Returns the filters, and what could not be read. */
function readFilter(line) {
  const words = tidied(line).match(/(?:"[^"]*"|[^\s"])+/g) ?? [];
  const read = words.map((word) => filterOfWord(word.replaceAll('"', "")));
  return { filters: read.filter((each) => each.keeps), wrong: read.filter((each) => !each.keeps) };
}

function filterByLine(line) {
  const { filters, wrong } = readFilter(line);
  document.querySelector(".look-wrong").textContent = wrong.join("; ");
  study.words = filters;
  keepInAddress("filter", line.trim());
  filterBy("words", filters.length ? (row) => filters.every(({ keeps }) => keeps(row)) : null);
}

function refilter(column, ends) {
  const input = document.getElementById("look-filter");
  const rest = readFilter(input.value).filters.filter((each) => each.column !== column).map(({ word }) => word);
  const own = ends.map((end) => `${wordFor(column)}${end}`);
  input.value = [...rest, ...own].map((word) => (/\s/.test(word) ? `"${word}"` : word)).join(" ");
  filterByLine(input.value);
}

function wordFor(column) {
  return columnNamed(column.label) === column ? column.label.replaceAll(" ", "_") : column.name;
}

function filterExamples() {
  const axes = axesOf();
  const number = axes.find((column) => column.group === "settings" && column.type === "number");
  const choice = axes.find((column) => column.axis.choices && column.type === "text");
  const examples = ["state:complete"];
  if (number) examples.push(`${wordFor(number)}<${shown(number, (number.axis.low * number.axis.high) ** 0.5 || number.axis.high / 2)}`);
  if (choice) examples.push(`${wordFor(choice)}:${choice.axis.choices[0]}`);
  return examples;
}
