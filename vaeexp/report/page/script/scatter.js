// Two columns against each other, with a third as colour: settings, the objective or any metric.

const FRAME = { left: 72, right: 14, top: 10, below: 40, height: 360 };
const scatter = { canvas: null, x: null, y: null, points: [] };

function buildScatter(section) {
  const columns = scaledColumns();
  if (columns.length < 2) return;
  const axes = [...axesOf().filter((column) => columns.includes(column) && !column.axis.choices), ...columns];
  const legends = make("p", { className: "look-legend" });
  const redraw = () => { legends.replaceChildren(...legend(), ...early()); drawScatter(); };
  const choose = (name, words, start) => {
    const [column, label] = columnChoice(name, words, start, (chosen) => { scatter[name] = chosen; redraw(); });
    scatter[name] = column;
    return label;
  };
  const [across, up] = [choose("x", "Across", axes[0]), choose("y", "up", axes[1] === axes[0] ? columns.find((column) => column !== axes[0]) : axes[1])];
  const objective = columns.find((column) => column.group === "objective") ?? axes[0];
  const [column, label] = columnChoice("colour", "colour", objective, (chosen) => { tint.column = chosen; redraw(); tell("tint"); });
  tint.column = column;
  scatter.canvas = make("canvas", { role: "img", "aria-label": "Trials by two columns, coloured by a third" });
  const plot = make("div", { className: "look-parallel look-scatter", tabIndex: 0, role: "group", "aria-label": "Scatter of trials; the arrows go from one to the next, Enter pins" }, scatter.canvas);
  section.append(make("p", { className: "look-controls" }, across, up, label), legends, plot);
  listenToPoints(plot);
  new ResizeObserver(redraw).observe(plot);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  ["filter", "look"].forEach((event) => on(event, drawScatter));
}

function early() {
  return study.rows.some(isEarly) ? [make("span", {}, "○ pruned: its value is of an early epoch")] : [];
}

function scatterRows() {
  const both = (row) => [scatter.x, scatter.y].every((column) => placeOn(column, row[column.name]) !== null);
  const rows = study.kept.filter(both);
  return rows.length ? rows : study.rows.filter((row) => passes(row) && both(row));
}

function drawScatter() {
  const { canvas, x, y } = scatter;
  const { left, right, top, below, height } = FRAME;
  const pen = penOf(canvas, height);
  const [width, depth] = [canvas.clientWidth - left - right, height - top - below];
  const [ink, soft, grid] = ["--ink", "--soft", "--grid"].map(colourOf);
  const rows = scatterRows();
  pen.font = "11px system-ui, sans-serif";
  const write = (text, at, down, align) => { pen.textAlign = align; pen.fillText(text, at, down); };
  pen.fillStyle = soft;
  pen.strokeStyle = grid;
  ticksOf(x, 5).forEach(([text, place]) => {
    pen.strokeRect(left + place * width, top, 0, depth);
    write(text, left + place * width, top + depth + 15, "center");
  });
  ticksOf(y, 5).forEach(([text, place]) => {
    pen.strokeRect(left, top + (1 - place) * depth, width, 0);
    write(text.slice(0, 11), left - 6, top + (1 - place) * depth + 4, "end");
  });
  pen.fillStyle = ink;
  write(x.label, left + width / 2, height - 6, "center");
  pen.save();
  pen.translate(11, top + depth / 2);
  pen.rotate(-Math.PI / 2);
  write(y.label, 0, 0, "center");
  pen.restore();
  // Trials with one choice would hide each other.
  const spread = (column, row, step) => (scaleOf(column).choices ? (((row.place * step) % 1) - 0.5) * 26 : 0);
  const place = (column, row) => placeOn(column, row[column.name]);
  scatter.points = tinted(rows).map(([row, colour]) => ({ row, colour, at: [left + place(x, row) * width + spread(x, row, 0.618), top + (1 - place(y, row)) * depth + spread(y, row, 0.755)] }));
  pen.globalAlpha = Math.max(0.1, Math.min(0.9, 400 / rows.length));
  scatter.points.forEach((point) => dot(pen, point, 4));
  pen.globalAlpha = 1;
  const looked = scatter.points.find(({ row }) => row.row === study.looked);
  if (looked) dot(pen, { ...looked, colour: ink, row: { state: "pruned", objective: 0 } }, 7);
}

/** A trial as a dot; open where its value is of an early epoch. */
function dot(pen, { row, colour, at }, radius) {
  pen.beginPath();
  pen.arc(...at, radius, 0, 7);
  Object.assign(pen, { fillStyle: colour, strokeStyle: colour, lineWidth: 1.6 });
  if (isEarly(row)) pen.stroke();
  else pen.fill();
}

/** A small place at the pointer, for the card to stand beside. */
function beside(event) {
  return { getBoundingClientRect: () => new DOMRect(event.clientX - 6, event.clientY - 6, 12, 12) };
}

function listenToPoints(plot) {
  const nearest = (event) => {
    const { left, top } = plot.getBoundingClientRect();
    const away = ({ at }) => Math.hypot(at[0] + left - event.clientX, at[1] + top - event.clientY);
    const found = scatter.points.reduce((best, point) => (away(point) <= away(best) ? point : best), scatter.points[0]);
    return found && away(found) < 10 ? found.row.row : null;
  };
  plot.addEventListener("pointermove", (event) => { if (event.pointerType === "mouse") lookAt(nearest(event), beside(event)); });
  plot.addEventListener("pointerleave", () => lookAt(null));
  plot.addEventListener("click", (event) => pin(nearest(event), beside(event)));
  plot.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    const across = [...scatter.points].sort((a, b) => a.at[0] - b.at[0]).map(({ row }) => row.row);
    if (event.key === "Enter" && study.looked) pin(study.pinned ? null : study.looked, plot);
    if (!step || !across.length) return;
    event.preventDefault();
    const next = across[(across.indexOf(study.looked) + step + across.length) % across.length];
    if (study.pinned) pin(next, plot);
    else lookAt(next, plot);
  });
}
