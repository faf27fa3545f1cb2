// The card of a trial: its settings, its value, its learning curve, its picture.

const CURVE = { width: 260, height: 84 };
const card = { element: null };

function buildCard() {
  card.element = make("aside", { id: "look-card", hidden: true, "aria-label": "The trial that you look at" });
  document.body.append(card.element);
  on("look", ({ row, place }) => showCard(study.byRow.get(row), place));
}

function showCard(row, place) {
  card.element.hidden = !row;
  if (!row) return;
  const pinned = study.pinned === row.row;
  card.element.classList.toggle("look-pinned", pinned);
  card.element.replaceChildren(cardHead(row, pinned), cardFigures(row), cardSettings(row), curveOf(row));
  if (pinned) card.element.append(reproduced(row));
  if (row.message) card.element.append(make("p", { className: "look-note" }, String(row.message).slice(0, 300)));
  tell("card", { row, element: card.element, pinned });
  if (place) stand(card.element, place.getBoundingClientRect());
}

function cardHead(row, pinned) {
  const name = nameOf(row);
  const head = make("p", { className: "look-card-head" }, make("b", {}, name[0].toUpperCase() + name.slice(1)));
  head.append(make("span", { className: "look-best" }, titleOf(row)));
  const free = make("button", { type: "button", "aria-label": "Close the card", onclick: () => pin(null) }, "×");
  head.append(pinned ? free : make("span", { className: "look-hint" }, "click to pin"));
  return head;
}

function cardFigures(row) {
  const objectives = study.columns.filter((column) => column.group === "objective");
  const values = objectives.map((column) => `${column.label} ${shown(column, row[column.name])}`);
  if (isEarly(row)) values[0] += ` at epoch ${row.epochs}`;
  const state = row.failure ? `${row.state} (${row.failure})` : row.state;
  return make("p", { className: "look-card-figures" }, [...values, state, `${grouped(row.epochs, 0)} ${row.epochs === 1 ? "epoch" : "epochs"}`].join(" · "));
}

function reproduced(row) {
  const command = `vaeexp reproduce ${study.name}/${row.row}`;
  const copy = make("button", { type: "button", className: "look-copy", onclick: async () => {
    await navigator.clipboard.writeText(command);
    copy.textContent = "copied";
  } }, "copy");
  const line = make("p", { className: "look-command" }, make("code", {}, command), " ", copy);
  const run = study.mlflow[row.row];
  if (run) line.append(make("a", { href: run, target: "_blank", rel: "noopener" }, "MLflow"));
  return line;
}

function cardSettings(row) {
  const list = make("dl");
  for (const column of study.columns.filter((each) => each.group === "settings" && row[each.name] !== undefined)) {
    list.append(make("dt", {}, column.label), make("dd", {}, shown(column, row[column.name])));
  }
  return list;
}

function pointsOf(name) {
  const flat = study.curves[name] ?? [];
  const points = [];
  for (let at = 0; at < flat.length; at += 2) if (flat[at + 1] !== null) points.push([flat[at], flat[at + 1]]);
  return points;
}

/** The curve of a trial, over that of the best one in grey. The first epochs may lie above the scale. */
function curveOf(row) {
  const own = pointsOf(row.row);
  const best = study.best.has(row.row) ? [] : pointsOf([...study.best][0]);
  const drawing = make("svg:svg", { viewBox: `0 0 ${CURVE.width} ${CURVE.height}`, class: "look-curve", role: "img" });
  drawing.setAttribute("aria-label", `Learning curve of ${nameOf(row)}`);
  if (own.length < 2) return make("p", { className: "look-note" }, "Its curve is not in this page.");
  const all = [...own, ...best];
  const settled = (points) => points.slice(Math.floor(points.length / 10)).map(([, value]) => value);
  const scale = { last: Math.max(...all.map(([epoch]) => epoch)), low: Math.min(...all.map(([, value]) => value)), high: Math.max(...settled(own), ...settled(best)) };
  if (best.length > 1) drawing.append(make("svg:path", { d: pathOf(best, scale), class: "look-curve-best" }));
  drawing.append(make("svg:path", { d: pathOf(own, scale), class: "look-curve-own" }), ...curveWords(scale));
  return drawing;
}

function pathOf(points, { last, low, high }) {
  const x = (epoch) => 40 + ((epoch - 1) / Math.max(1, last - 1)) * (CURVE.width - 48);
  const y = (value) => 8 + (1 - (Math.min(value, high) - low) / (high - low || 1)) * (CURVE.height - 26);
  return points.map(([epoch, value], at) => `${at ? "L" : "M"}${x(epoch).toFixed(1)} ${y(value).toFixed(1)}`).join("");
}

function curveWords({ last, low, high }) {
  const digits = high - low < 1 ? 2 : high - low < 20 ? 1 : 0;
  const words = (text, x, y, anchor) => make("svg:text", { x, y, "text-anchor": anchor }, text);
  return [
    words(grouped(high, digits), 35, 12, "end"),
    words(grouped(low, digits), 35, CURVE.height - 15, "end"),
    words(`validation ${study.columns.find((column) => column.name === "objective")?.label ?? "−ELBO"}`, CURVE.width - 8, 12, "end"),
    words("epoch 1", 40, CURVE.height - 2, "start"),
    words(String(last), CURVE.width - 8, CURVE.height - 2, "end"),
  ];
}

function stand(element, beside) {
  const { width, height } = element.getBoundingClientRect();
  const room = { x: document.documentElement.clientWidth - width - 8, y: window.innerHeight - height - 8 };
  const wide = beside.width > window.innerWidth / 2;
  let left = beside.right + 14;
  if (wide) left = room.x;
  else if (left > room.x) left = beside.left - width - 14;
  const top = wide ? (beside.top > height + 24 ? beside.top - height - 8 : beside.bottom + 8) : beside.top - height / 3;
  element.style.left = `${Math.max(8, Math.min(left, room.x))}px`;
  element.style.top = `${Math.max(8, Math.min(top, room.y))}px`;
}
