// All trials in one table: sorted by any column, filtered, a hundred rows at a time.

const PAGE_ROWS = 100;
const PRINTED_ROWS = 200;
const SHOWN_GROUPS = new Set(["run", "objective", "settings"]);
const GROUP_NAMES = { validation: "validation, best epoch" };
const view = { by: null, down: false, first: 0, groups: SHOWN_GROUPS, repeats: false, row: null, printing: false };

function buildTable(section) {
  const body = make("tbody");
  const parts = { section, body, head: make("thead"), count: make("p", { className: "look-count", role: "status" }), pages: make("p", { className: "look-pages" }) };
  const table = make("table", { className: "look-table" }, parts.head, body);
  const [, down, by] = (address.get("sort") ?? "").match(/^(-?)(.*)$/);
  Object.assign(view, { by: by || null, down: Boolean(down), repeats: address.has("repeats") });
  section.append(filterLine(), groupLine(parts), parts.count);
  section.append(make("div", { className: "look-scroll", tabIndex: 0, role: "region", "aria-label": "Table of all trials" }, table), parts.pages);
  filterBy("repeats", view.repeats ? null : (row) => row.run === "search");
  on("filter", () => { view.first = 0; drawTable(parts); });
  on("look", ({ row }) => markRows(body, row));
  listenToRows(body);
  for (const [event, printing] of [["beforeprint", true], ["afterprint", false]]) {
    window.addEventListener(event, () => { view.printing = printing; drawTable(parts); });
  }
  filterByLine(address.get("filter") ?? "");
}

function heading(text) {
  const id = plainName(text);
  const list = document.querySelector("nav ul");
  const before = [...(list?.children ?? [])].find((item) => item.firstChild?.hash === "#can-this-study-be-trusted") ?? null;
  list?.insertBefore(make("li", { className: "h2" }, make("a", { href: `#${id}` }, text)), before);
  return make("h2", { id }, text);
}

function filterLine() {
  const wrong = make("span", { className: "look-wrong", role: "status" });
  const input = make("input", { type: "search", id: "look-filter", placeholder: filterExamples().join(" "), spellcheck: false, value: address.get("filter") ?? "" });
  input.addEventListener("input", () => filterByLine(input.value));
  const line = make("p", { className: "look-controls" }, make("label", { for: "look-filter" }, "Filter"), input);
  if (study.rows.some((row) => row.run !== "search")) line.append(repeatsSwitch());
  const help = `${filterExamples().map((each) => `“${each}”`).join(" or ")} compare a column; “trial:4,7” names trials; any other word must occur in a row.`;
  return make("div", {}, line, make("p", { className: "look-help" }, help, " ", wrong));
}

function repeatsSwitch() {
  const box = make("input", { type: "checkbox", id: "look-repeats", checked: view.repeats });
  box.addEventListener("change", () => {
    view.repeats = box.checked;
    keepInAddress("repeats", box.checked ? "shown" : "");
    filterBy("repeats", box.checked ? null : (row) => row.run === "search");
  });
  return make("label", {}, box, " runs with new seeds, too");
}

function groupLine(parts) {
  const groups = [...new Set(study.columns.map((column) => column.group))];
  const boxes = groups.map((group) => {
    const box = make("input", { type: "checkbox", checked: view.groups.has(group), value: group });
    box.addEventListener("change", () => {
      if (box.checked) view.groups.add(group);
      else view.groups.delete(group);
      drawTable(parts);
    });
    return make("label", {}, box, ` ${GROUP_NAMES[group] ?? group}`);
  });
  return make("fieldset", { className: "look-controls" }, make("legend", {}, "Columns"), ...boxes);
}

/** The columns of the open groups; what only runs with new seeds have is shown with these. */
function openColumns() {
  const ofRepeats = ["run", "source_trial"];
  return study.columns.filter((column) => view.groups.has(column.group) && (view.repeats || !ofRepeats.includes(column.name)));
}

/** The kept rows in the order of the table: numbers as numbers, missing values last either way, equal rows as they stood. */
function sortedRows() {
  const column = view.by === "row" ? { name: "row", type: "row" } : study.columns.find((each) => each.name === view.by);
  if (!column) return study.kept;
  const keyed = study.kept.map((row) => ({ row, key: sortKey(column, row[column.name]) }));
  const missing = (key) => key === undefined || Number.isNaN(key);
  const present = keyed.filter(({ key }) => !missing(key));
  const compare = column.type === "text" ? (a, b) => a.localeCompare(b, "en") : (a, b) => a - b || (a === b ? 0 : a < b ? -1 : 1);
  present.sort((a, b) => (view.down ? compare(b.key, a.key) : compare(a.key, b.key)));
  return [...present, ...keyed.filter(({ key }) => missing(key))].map(({ row }) => row);
}

function sortKey(column, value) {
  if (column.type === "row") return value.startsWith("r") ? 1e9 + Number(value.slice(1)) : Number(value);
  return column.type === "text" ? value && String(value) : numberOf(value);
}

function drawTable(parts) {
  const columns = openColumns();
  const rows = sortedRows();
  const searched = study.rows.filter((row) => view.repeats || row.run === "search").length;
  parts.count.textContent = `${grouped(rows.length, 0)} of ${grouped(searched, 0)} ${view.repeats ? "trials and runs with new seeds" : "trials"}`;
  if (view.printing) parts.count.textContent += `; printed: ${rows.length > PRINTED_ROWS ? `the first ${PRINTED_ROWS}` : "all"}`;
  parts.head.replaceChildren(...headRows(parts, columns));
  const printed = view.printing && [0, PRINTED_ROWS];
  parts.body.replaceChildren(...rows.slice(...(printed || [view.first, view.first + PAGE_ROWS])).map((row) => bodyRow(row, columns)));
  const current = [...parts.body.rows].find((line) => line.dataset.row === view.row) ?? parts.body.rows[0];
  if (current) current.tabIndex = 0;
  drawPages(parts, rows.length);
  markRows(parts.body, study.pinned);
}

function headRows(parts, columns) {
  const spans = [...new Set(columns.map((column) => column.group))];
  const groups = spans.map((group) => make("th", { scope: "colgroup", colSpan: columns.filter((column) => column.group === group).length }, GROUP_NAMES[group] ?? group));
  const heads = [{ name: "row", label: "trial" }, ...columns].map((column) => columnHead(parts, column));
  return [make("tr", { className: "look-groups" }, make("td"), ...groups), make("tr", {}, ...heads)];
}

function columnHead(parts, column) {
  const sorted = view.by === column.name;
  const button = make("button", { type: "button" }, column.label, make("span", { "aria-hidden": "true" }, sorted ? (view.down ? " ↓" : " ↑") : ""));
  button.addEventListener("click", () => {
    // A third press brings the order of the report back.
    if (!sorted) Object.assign(view, { by: column.name, down: false });
    else Object.assign(view, view.down ? { by: null, down: false } : { down: true });
    view.first = 0;
    keepInAddress("sort", view.by && `${view.down ? "-" : ""}${view.by}`);
    drawTable(parts);
    parts.head.querySelector(`[data-column="${CSS.escape(column.name)}"] button`).focus();
  });
  const aligned = column.type === "number" ? "look-number" : "";
  return make("th", { scope: "col", className: aligned, "data-column": column.name, "aria-sort": sorted ? (view.down ? "descending" : "ascending") : "none" }, button);
}

function bodyRow(row, columns) {
  const title = titleOf(row);
  const star = title.startsWith("★") ? [make("span", { className: "look-best" }, " ★")] : [];
  const cells = columns.map((column) => {
    const text = shown(column, row[column.name]);
    const early = column.group === "objective" && isEarly(row) ? { "data-early": `epoch ${row.epochs}` } : {};
    return make("td", { className: column.type === "number" ? "look-number" : "", title: text.length > 24 ? text : "", ...early }, text);
  });
  return make("tr", { "data-row": row.row, tabIndex: -1, className: star.length ? "look-winner" : "" }, make("th", { scope: "row", title }, row.row, ...star), ...cells);
}

function isEarly(row) {
  return row.state === "pruned" && row.objective !== undefined;
}

function drawPages(parts, count) {
  parts.pages.hidden = view.printing || count <= PAGE_ROWS;
  const last = Math.min(view.first + PAGE_ROWS, count);
  const turn = (text, first, disabled) => make("button", { type: "button", disabled, onclick: () => { view.first = first; drawTable(parts); } }, text);
  parts.pages.replaceChildren(
    turn(`previous ${PAGE_ROWS}`, Math.max(0, view.first - PAGE_ROWS), view.first === 0),
    ` rows ${grouped(view.first + 1, 0)} to ${grouped(last, 0)} `,
    turn(`next ${PAGE_ROWS}`, view.first + PAGE_ROWS, last >= count),
  );
}

/** One row of the table is in the order of Tab; the arrows go from row to row. */
function listenToRows(body) {
  body.addEventListener("keydown", (event) => {
    const line = event.target.closest("tr");
    const next = { ArrowDown: line?.nextElementSibling, ArrowUp: line?.previousElementSibling }[event.key];
    if (!next) return;
    event.preventDefault();
    next.focus();
  });
  body.addEventListener("focusin", (event) => {
    const line = event.target.closest("tr");
    body.querySelectorAll('[tabindex="0"]').forEach((each) => { each.tabIndex = -1; });
    line.tabIndex = 0;
    view.row = line.dataset.row;
  });
}

function markRows(body, row) {
  body.querySelectorAll(".look-on").forEach((line) => line.classList.remove("look-on"));
  const line = row && [...body.rows].find((each) => each.dataset.row === row);
  if (line) line.classList.add("look-on");
  for (const each of body.rows) each.setAttribute("aria-current", String(each.dataset.row === study.pinned));
}
