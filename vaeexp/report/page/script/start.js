// Fills the section `look`, which is hidden without a script, after the report has been painted.

function startLooking() {
  readStudy();
  const section = document.getElementById("look");
  if (study.rows.length) {
    buildCard();
    section.append(heading("All trials"));
    buildScatter(section);
    buildParallel(section);
    buildTable(section);
    buildComparison(section);
    linkPlots();
    offerWholePlots();
    section.append(...study.left_out.map((sentence) => make("p", { className: "look-note" }, sentence)));
    section.hidden = false;
    if (study.byRow.has(address.get("trial"))) pin(address.get("trial"));
  }
  section.dataset.state = "ready";
}

window.addEventListener("load", () => requestAnimationFrame(() => setTimeout(startLooking)));
