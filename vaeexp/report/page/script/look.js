// Shows the data of the study: fills the section `look`, which is hidden without a script.
"use strict";
(() => {
  const study = JSON.parse(document.getElementById("study-data").textContent);
  const section = document.getElementById("look");
  const line = document.createElement("p");
  line.textContent = `${study.trials.length} trials`;
  section.append(line);
  section.hidden = false;
})();
