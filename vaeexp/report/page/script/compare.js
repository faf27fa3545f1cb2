// Trials side by side: the settings and figures in which they differ, and pictures of the same images and the same noise.

const MOST_COMPARED = 6;
/** Pixels of a picture beyond which a row has fewer, and of a row of pictures that is never shown larger than it is. */
const WIDE = 80;
const ROW = 480;
/** What is compared: the rows, and whether only what differs is shown. */
const compared = { rows: [], differing: true };
const album = { rows: {}, notes: [], strips: new Map() };

function buildComparison(section) {
  Object.assign(album, study.pictures);
  const input = make("input", { type: "text", id: "look-compared" });
  const differing = make("input", { type: "checkbox", checked: true });
  const parts = { input, table: make("div", { className: "look-scroll", tabIndex: 0, role: "region", "aria-label": "Trials compared" }), panels: make("div", { className: "look-panels" }) };
  const compare = (names) => {
    compared.rows = [...new Set(names)].filter((name) => study.byRow.has(name)).slice(-MOST_COMPARED);
    keepInAddress("compare", compared.rows.join(","));
    drawComparison(parts);
  };
  input.addEventListener("change", () => compare(input.value.split(/[\s,]+/)));
  differing.addEventListener("change", () => { compared.differing = differing.checked; drawComparison(parts); });
  on("compare", (row) => compare([...compared.rows, row]));
  on("card", ({ row, element, pinned }) => cardPicture(row, element, pinned));
  const controls = make("p", { className: "look-controls" }, make("label", {}, "Trials ", input), make("label", {}, differing, " only what differs"));
  const help = [`Up to ${MOST_COMPARED} numbers, or pin a trial and add it from its card.`, ...(Object.keys(album.rows).length ? ["Reconstructions are of the same images. Trials with one latent size and one kind of prior share the noise of their samples."] : []), ...album.notes];
  section.append(heading("Trials side by side"), controls, make("p", { className: "look-note" }, help.join(" ")), parts.table, parts.panels);
  compared.rows = address.get("compare")?.split(",").filter((name) => study.byRow.has(name)) ?? startRows();
  drawComparison(parts);
}

/** The best two trials and the middle one: something to compare at once; with pictures, where there are any. */
function startRows() {
  const searched = study.rows.filter((row) => row.run === "search");
  const pictured = searched.filter((row) => album.rows[row.row]);
  const rows = pictured.length ? pictured : searched;
  return [...new Set([rows[0], rows[1], rows[Math.floor(rows.length / 2)]].filter(Boolean).map((row) => row.row))];
}

function drawComparison(parts) {
  const rows = compared.rows.map((name) => study.byRow.get(name));
  parts.input.value = compared.rows.join(", ");
  const heads = rows.map((row) => make("th", { scope: "col" }, row.row, make("span", { className: "look-best" }, titleOf(row).startsWith("★") ? " ★" : "")));
  const lines = study.columns.map((column) => ({ column, texts: rows.map((row) => shown(column, row[column.name])) }));
  const drawn = lines.filter(({ texts }) => (compared.differing ? new Set(texts).size > 1 : texts.some((text) => text !== MISSING)));
  const cells = (texts) => texts.map((text) => make("td", {}, text));
  parts.table.replaceChildren(make("table", { className: "look-compared" }, make("thead", {}, make("tr", {}, make("td"), ...heads)), make("tbody", {}, ...drawn.map(({ column, texts }) => make("tr", {}, make("th", { scope: "row" }, fullLabel(column)), ...cells(texts))))));
  parts.panels.replaceChildren(...rows.filter((row) => album.rows[row.row]).map(panel));
}

function panel(row) {
  const strip = album.rows[row.row];
  const name = nameOf(row);
  const head = make("p", { className: "look-card-head" }, make("b", {}, name[0].toUpperCase() + name.slice(1)), make("span", { className: "look-best" }, titleOf(row)));
  const words = album.originals ? "originals above reconstructions" : "reconstructions";
  const pictures = [captioned(`${words} of epoch ${strip.epoch}`, drawing(reconstructionTiles(strip), acrossOf(strip, 5), `${words} of ${name}`)), captioned("samples", drawing(sampleTiles(strip), acrossOf(strip, 8), `samples of ${name}`))];
  return make("article", { className: "look-panel", "data-panel": row.row, "data-epoch": strip.epoch }, head, ...pictures);
}

function captioned(words, canvas) {
  return make("figure", {}, make("figcaption", {}, words), canvas);
}

/** Pictures in a row: half as many of wide ones, such as lines and bars. */
function acrossOf(strip, most) {
  return strip.width > WIDE ? Math.ceil(most / 2) : most;
}

function reconstructionTiles(strip) {
  const { originals } = album;
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

function cardPicture(row, element, pinned) {
  const strip = album.rows[row.row];
  if (strip) element.append(drawing(sampleTiles(strip).slice(0, 8), acrossOf(strip, 8), `samples of ${nameOf(row)}`));
  if (!pinned || compared.rows.includes(row.row)) return;
  element.append(make("button", { type: "button", className: "look-compare", onclick: () => { tell("compare", row.row); pin(null); } }, "Compare"));
}
