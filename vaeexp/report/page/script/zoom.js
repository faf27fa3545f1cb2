// Plots that cut their axes where a few trials lie far outside: a button shows all of them.

function offerWholePlots() {
  for (const whole of document.querySelectorAll("main .whole")) {
    const plot = whole.parentElement;
    const button = make("button", { type: "button", className: "look-zoom", "aria-pressed": "false" }, "Show all trials");
    button.addEventListener("click", () => {
      const all = plot.classList.toggle("look-whole");
      whole.hidden = !all;
      button.textContent = all ? "Show the best ones" : "Show all trials";
      button.setAttribute("aria-pressed", String(all));
      highlight(study.pinned);
    });
    plot.after(button);
  }
}
