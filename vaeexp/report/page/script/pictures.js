// Pictures of trials side by side: reconstructions of the same images, samples from the same seed, and traversals.
"use strict";

const MOST_PANELS = 6;
/** Pixels of a picture beyond which a row has fewer, and of a row of pictures that is never shown larger than it is. */
const WIDE = 80;
const ROW = 480;
/** What is compared: the rows, the epoch (Infinity: the last), the parameter to slide along, the trial on the slide, the dimension. */
const compared = { rows: [], epoch: Infinity, along: null, slide: 0, dimension: 0, kind: "both" };
const album = { data: null, strips: new Map() };

function buildPictures(section) {
  album.data = study.pictures;
  if (!album.data?.rows) return;
  if (!withPictures().length) return section.append(...album.data.notes.map((note) => make("p", { className: "look-note" }, note)));
  compared.rows = startRows();
  const parts = { controls: make("div", { className: "look-controls" }), sliders: make("div", { className: "look-sliders" }), panels: make("div", { className: "look-panels" }), traversals: make("div", { className: "look-traversals" }) };
  section.append(heading("Pictures side by side"), make("p", { className: "look-note" }, pictureWords()), parts.controls, parts.sliders, parts.panels, parts.traversals);
  on("compare", (row) => { addRow(row); drawAll(parts); });
  on("card", ({ row, element, pinned }) => cardPicture(row, element, pinned));
  drawAll(parts);
}

function pictureWords() {
  const words = "Reconstructions are of the same images in every trial. Samples are drawn from each trial's prior with the same seed: trials with one latent size and one kind of prior share their noise.";
  return [words, ...album.data.notes].join(" ");
}

function withPictures() {
  return study.rows.filter((row) => album.data.rows[row.row]);
}

/** The best two trials and the middle one: something to compare at once. */
function startRows() {
  const rows = withPictures().filter((row) => row.run === "search");
  const picked = [rows[0], rows[1], rows[Math.floor(rows.length / 2)]].filter(Boolean);
  return [...new Set(picked.map((row) => row.row))];
}

function addRow(row) {
  if (!album.data.rows[row] || compared.rows.includes(row)) return;
  compared.rows = [...compared.rows, row].slice(-MOST_PANELS);
}

function drawAll(parts) {
  drawControls(parts);
  drawSliders(parts);
  drawPanels(parts);
  drawTraversals(parts);
}

/** A short description in a list: `47 · 167.74 · β = 0.195, latent size = 3 …`. */
function described(row) {
  const objective = study.columns.find((column) => column.group === "objective");
  return [row.row, shown(objective, row[objective.name]), settingsOf(row)].join(" · ");
}

function drawControls(parts) {
  const add = make("select", { id: "look-add", "aria-label": "Add a trial" }, make("option", { value: "" }, "add a trial …"));
  withPictures().filter((row) => !compared.rows.includes(row.row)).forEach((row) => add.append(make("option", { value: row.row }, described(row).slice(0, 120))));
  add.addEventListener("change", () => { addRow(add.value); drawAll(parts); document.getElementById("look-add").focus(); });
  add.disabled = compared.rows.length >= MOST_PANELS;
  const along = make("select", { id: "look-along", "aria-label": "Slide along a parameter" }, make("option", { value: "" }, "no slide"));
  alongColumns().forEach((column) => along.append(make("option", { value: column.name, selected: compared.along === column.name }, `slide along ${column.label}`)));
  along.addEventListener("change", () => {
    Object.assign(compared, { along: along.value || null, slide: 0 });
    drawAll(parts);
    document.getElementById("look-along").focus();
  });
  parts.controls.replaceChildren(add, along, make("span", { className: "look-help" }, `up to ${MOST_PANELS}, or pin a trial and add it from its card`));
}

/** The numbers of which at least two trials with pictures have different values. */
function alongColumns() {
  const rows = withPictures();
  return axesOf().filter((column) => column.type === "number" && new Set(rows.map((row) => row[column.name]).filter((value) => value !== undefined)).size > 1);
}

function slideRows() {
  const rows = withPictures().filter((row) => row.run === "search" && !Number.isNaN(numberOf(row[compared.along])));
  return rows.sort((a, b) => numberOf(a[compared.along]) - numberOf(b[compared.along]) || a.place - b.place);
}

/** What is shown now: the trial on the slide first, then the chosen ones. */
function panelRows() {
  const slide = compared.along ? slideRows()[compared.slide] : null;
  return [...(slide ? [slide.row] : []), ...compared.rows.filter((row) => row !== slide?.row)].slice(0, MOST_PANELS);
}

function epochsOf(row) {
  return Object.keys(album.data.rows[row].epochs).map(Number).sort((a, b) => a - b);
}

/** The last kept epoch up to the one of the slider, else the first one that was kept. */
function epochShown(row) {
  const epochs = epochsOf(row);
  return epochs.filter((epoch) => epoch <= compared.epoch).at(-1) ?? epochs[0];
}

function slider(words, count, at, text, moved) {
  const input = make("input", { type: "range", min: 0, max: count - 1, step: 1, value: at });
  const output = make("output", {}, text(at));
  input.setAttribute("aria-valuetext", text(at));
  input.addEventListener("input", () => {
    output.textContent = text(Number(input.value));
    input.setAttribute("aria-valuetext", output.textContent);
    moved(Number(input.value));
  });
  return make("label", { className: "look-slider", "data-slider": words }, `${words} `, input, " ", output);
}

function drawSliders(parts) {
  const epochs = [...new Set(panelRows().flatMap(epochsOf))].sort((a, b) => a - b);
  const sliders = [];
  if (compared.along) {
    const [rows, column] = [slideRows(), study.columns.find((each) => each.name === compared.along)];
    const text = (at) => `${shown(column, rows[at][column.name])} (trial ${rows[at].row})`;
    sliders.push(slider(column.label, rows.length, compared.slide, text, (at) => {
      compared.slide = at;
      drawPanels(parts);
      drawTraversals(parts);
    }));
  }
  if (epochs.length > 1) {
    const at = epochs.findLastIndex((epoch) => epoch <= compared.epoch);
    sliders.push(slider("epoch", epochs.length, Math.max(0, at), (place) => String(epochs[place]), (place) => {
      compared.epoch = place === epochs.length - 1 ? Infinity : epochs[place];
      drawPanels(parts);
    }));
  }
  parts.sliders.replaceChildren(...sliders);
}

function drawPanels(parts) {
  const rows = panelRows();
  parts.panels.replaceChildren(...rows.map((name, at) => panel(parts, study.byRow.get(name), Boolean(compared.along) && at === 0)));
  if (!rows.length) parts.panels.append(make("p", { className: "look-note" }, "Add a trial to see its pictures."));
}

function panel(parts, row, sliding) {
  const epoch = epochShown(row.row);
  const strip = album.data.rows[row.row].epochs[epoch];
  const remove = make("button", { type: "button", "aria-label": `Take ${nameOf(row)} away`, onclick: () => {
    compared.rows = compared.rows.filter((each) => each !== row.row);
    drawAll(parts);
  } }, "×");
  const name = nameOf(row);
  const head = make("p", { className: "look-card-head" }, make("b", {}, name[0].toUpperCase() + name.slice(1)), ...(study.best.has(row.row) ? [make("span", { className: "look-best" }, "★")] : []), ...(sliding ? [] : [remove]));
  const objective = study.columns.find((column) => column.group === "objective");
  const values = `${objective.label} ${shown(objective, row[objective.name])} · pictures of epoch ${epoch}`;
  const article = make("article", { className: "look-panel", "data-panel": row.row, "data-epoch": epoch }, head, make("p", { className: "look-card-figures" }, values), make("p", { className: "look-card-figures" }, settingsOf(row)));
  const words = album.data.originals ? "originals above reconstructions" : "reconstructions";
  article.append(captioned(words, drawing(reconstructionTiles(strip), acrossOf(strip, 5), `${words} of ${name}`)), captioned("samples", drawing(sampleTiles(strip), acrossOf(strip, 8), `samples of ${name}`)));
  return article;
}

function captioned(words, canvas) {
  return make("figure", {}, make("figcaption", {}, words), canvas);
}

/** Pictures in a row: half as many of wide ones, such as lines and bars. */
function acrossOf(strip, most) {
  return strip.width > WIDE ? Math.ceil(most / 2) : most;
}

/** Rows of originals, each above its reconstructions. */
function reconstructionTiles(strip) {
  const { originals } = album.data;
  const across = acrossOf(strip, 5);
  const tiles = [];
  for (let first = 0; first < strip.reconstructions; first += across) {
    const places = Array.from({ length: across }, (_, step) => first + step).filter((place) => place < strip.reconstructions);
    if (originals) tiles.push(...fill(places.map((place) => (place < originals.reconstructions ? [originals, place] : null)), across));
    tiles.push(...fill(places.map((place) => [strip, place]), across));
  }
  return tiles;
}

function fill(tiles, count) {
  return [...tiles, ...Array(count - tiles.length).fill(null)];
}

function sampleTiles(strip) {
  return Array.from({ length: strip.samples }, (_, place) => [strip, strip.reconstructions + place]);
}

/** A picture of tiles, each a strip and a place in it; strips are decoded when they are first shown. */
function drawing(tiles, across, words) {
  const shapes = tiles.filter(Boolean).map(([strip]) => strip);
  const [width, height] = [Math.max(...shapes.map((strip) => strip.width)), Math.max(...shapes.map((strip) => strip.height))];
  const scale = Math.max(1, Math.floor(64 / width));
  const cell = { width: width * scale, height: height * scale };
  const gap = scale;
  const canvas = make("canvas", { role: "img", "aria-label": words, className: "look-tiles" });
  canvas.width = across * (cell.width + gap) - gap;
  canvas.height = Math.ceil(tiles.length / across) * (cell.height + gap) - gap;
  if (width > WIDE || canvas.width > ROW) canvas.classList.add("look-shrunk");
  const pen = canvas.getContext("2d");
  pen.imageSmoothingEnabled = false;
  tiles.forEach((tile, at) => {
    if (!tile) return;
    const [strip, place] = tile;
    const corner = [(at % across) * (cell.width + gap), Math.floor(at / across) * (cell.height + gap)];
    decoded(strip).then((image) => pen.drawImage(image, place * strip.width, 0, strip.width, strip.height, ...corner, cell.width, cell.height));
  });
  return canvas;
}

function decoded(strip) {
  if (!album.strips.has(strip)) {
    const image = make("img", { src: strip.png, alt: "" });
    album.strips.set(strip, image.decode().then(() => image));
  }
  return album.strips.get(strip);
}

/** The run with traversals of a row: itself, or the first run that confirmed it with a new seed. */
function traversedRun(name) {
  const again = study.rows.filter((row) => String(row.source_trial) === name && row.run.split("+").includes("confirm"));
  return [study.byRow.get(name), ...again].find((row) => album.data.rows[row.row]?.traversals);
}

function drawTraversals(parts) {
  const runs = [...new Set(panelRows().map(traversedRun).filter(Boolean))];
  parts.traversals.replaceChildren();
  if (!runs.length) return;
  const most = Math.max(...runs.map((row) => album.data.rows[row.row].traversals.dimensions.length));
  compared.dimension = Math.min(compared.dimension, most - 1);
  const rows = make("div");
  const redraw = () => rows.replaceChildren(...runs.map(traversal));
  parts.traversals.append(make("h3", {}, "Along a latent dimension"), make("p", { className: "look-note" }, "Runs that were tested kept these. Dimensions are in the order of their activity."));
  if (most > 1) parts.traversals.append(slider("dimension", most, compared.dimension, (at) => `${at + 1} of ${most}`, (at) => { compared.dimension = at; redraw(); }));
  parts.traversals.append(rows);
  redraw();
}

function traversal(row) {
  const strip = album.data.rows[row.row].traversals;
  const at = Math.min(compared.dimension, strip.dimensions.length - 1);
  const tiles = Array.from({ length: strip.steps }, (_, step) => [strip, at * strip.steps + step]);
  const reach = strip.reach ? `, mean ± ${shown({}, strip.reach)} standard deviations` : "";
  const words = `${nameOf(row)}: dimension ${strip.dimensions[at] + 1}${reach}`;
  return make("figure", { className: "look-traversal", "data-traversal": row.row }, drawing(tiles, strip.steps, words), make("figcaption", { className: "look-note" }, words[0].toUpperCase() + words.slice(1)));
}

/** The pictures of a trial in its card; a pinned card can add them to the comparison. */
function cardPicture(row, element, pinned) {
  const own = album.data.rows[row.row];
  if (!own) return;
  const strip = own.epochs[epochsOf(row.row).at(-1)];
  element.append(drawing(sampleTiles(strip).slice(0, 8), acrossOf(strip, 8), `samples of ${nameOf(row)}`));
  if (!pinned || compared.rows.includes(row.row)) return;
  element.append(make("button", { type: "button", className: "look-compare", onclick: () => { tell("compare", row.row); pin(null); } }, "Compare its pictures"));
}
