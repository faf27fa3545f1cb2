// Fills the section `look`, which is hidden without a script, after the report has been painted.
"use strict";

function startLooking() {
  readStudy();
  const section = document.getElementById("look");
  if (study.rows.length) {
    buildCard();
    section.append(heading("All trials"));
    buildParallel(section);
    buildTable(section);
    buildPictures(section);
    linkPlots();
    offerWholePlots();
    section.append(...study.left_out.map((sentence) => make("p", { className: "look-note" }, sentence)));
    section.hidden = false;
  }
  section.dataset.state = "ready";
}

window.addEventListener("load", () => requestAnimationFrame(() => setTimeout(startLooking)));
