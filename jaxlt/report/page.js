// Tables sort by a click on a column's head; figures come alive where the page brings Vega.
"use strict";
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  const key = (row, at) => {
    const cell = row.cells[at];
    const text = cell.dataset.value ?? cell.textContent.trim();
    return text === "" || text === "–" || isNaN(text) ? text : Number(text);
  };
  const compare = (a, b) =>
    typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b));
  heads.forEach((head, at) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const rows = [...table.tBodies[0].rows];
      const first = rows.some((row) => typeof key(row, at) === "number") ? "descending" : "ascending";
      const other = first === "ascending" ? "descending" : "ascending";
      const way = head.getAttribute("aria-sort") === first ? other : first;
      heads.forEach((each) => each.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", way);
      const empty = (row) => key(row, at) === "" || key(row, at) === "–";
      const turn = way === "ascending" ? 1 : -1;
      rows.sort((a, b) => empty(a) - empty(b) || turn * compare(key(a, at), key(b, at)));
      table.tBodies[0].append(...rows);
    });
  });
}
if (window.vegaEmbed) {
  for (const button of document.querySelectorAll("button.alive")) {
    button.hidden = false;
    button.addEventListener("click", async () => {
      const figure = button.closest("figure");
      const spec = JSON.parse(figure.querySelector("script[type='application/json']").textContent);
      const place = figure.querySelector(".picture.wide");
      const options = { actions: false, renderer: "svg", tooltip: true };
      spec.config.mark = { tooltip: { content: "encoding" } };
      figure.classList.add("live");
      await vegaEmbed(place, spec, options);
      button.remove();
    });
  }
}
