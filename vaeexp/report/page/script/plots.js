// The plots of the report: a mark with `data-row` shows its trial, and the trial that is looked at stands out in all of them.

/** Units of a drawing from which a mark is a line, which becomes wider; a smaller one gets a ring. */
const LINE_SIZE = 30;

function linkPlots() {
  document.addEventListener("pointerover", (event) => {
    if (event.pointerType !== "mouse") return;
    const mark = markOf(event.target);
    if (mark) lookAt(mark.dataset.row, mark);
    else if (!event.target.closest?.("#look-card, .look-parallel")) lookAt(null);
  });
  document.addEventListener("click", (event) => {
    const mark = markOf(event.target);
    if (mark) pin(study.pinned === mark.dataset.row ? null : mark.dataset.row, mark);
  });
  document.addEventListener("focusin", (event) => {
    const mark = markOf(event.target);
    if (mark) lookAt(mark.dataset.row, mark);
  });
  document.addEventListener("focusout", () => lookAt(null));
  document.addEventListener("keydown", pressed);
  plotsOfTrials().forEach((plot) => { if (!plot.closest("[tabindex]")) plot.setAttribute("tabindex", "0"); });
  on("look", ({ row }) => highlight(row));
  on("filter", fadeOthers);
}

function markOf(target) {
  const mark = target.closest?.("[data-row]");
  return mark && study.byRow.has(mark.dataset.row) ? mark : null;
}

function plotsOfTrials() {
  return [...document.querySelectorAll("main svg")].filter((plot) => plot.querySelector("[data-row]"));
}

/** Enter pins, Escape frees; with the arrows one goes from mark to mark in the plot that has the focus. */
function pressed(event) {
  if (event.key === "Escape") pin(null);
  const mark = markOf(event.target);
  if (mark && event.key === "Enter" && event.target === mark) pin(study.pinned === mark.dataset.row ? null : mark.dataset.row, mark);
  const inside = [...(event.target.querySelectorAll?.(":scope > svg, :scope > .whole > svg") ?? [])];
  const plot = inside.find((each) => each.checkVisibility()) ?? event.target.closest?.("svg");
  const marks = event.target.matches?.(".plot, svg") && plot ? [...plot.querySelectorAll("[data-row]")] : [];
  if (!marks.length) return;
  if (event.key === "Enter" && plot.at) return pin(study.pinned === plot.at.dataset.row ? null : plot.at.dataset.row, plot.at);
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (!step) return;
  event.preventDefault();
  const across = marks.map((each) => [each, each.getBoundingClientRect().left]).sort((a, b) => a[1] - b[1]).map(([each]) => each);
  plot.at = across[(across.indexOf(plot.at) + step + across.length) % across.length];
  if (study.pinned) pin(plot.at.dataset.row, plot.at);
  else lookAt(plot.at.dataset.row, plot.at);
}

function highlight(row) {
  document.querySelectorAll(".look-ring").forEach((ring) => ring.remove());
  document.querySelectorAll("svg .look-line").forEach((line) => line.classList.remove("look-line"));
  if (!row) return;
  for (const mark of document.querySelectorAll(`main svg [data-row="${CSS.escape(row)}"]`)) {
    const box = mark.getBBox();
    if (Math.max(box.width, box.height) > LINE_SIZE) mark.classList.add("look-line");
    else mark.after(make("svg:circle", { class: "look-ring", cx: box.x + box.width / 2, cy: box.y + box.height / 2, r: Math.max(box.width, box.height) / 2 + 3 }));
  }
}

function fadeOthers() {
  for (const mark of document.querySelectorAll("main svg [data-row]")) {
    const row = study.byRow.get(mark.dataset.row);
    mark.classList.toggle("look-off", Boolean(row) && !passes(row));
  }
}
