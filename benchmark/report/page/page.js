"use strict";
// Sorting, filtering, choosing families, data sets and a view, and what figures say. Without this script the page is complete, only still.
(() => {
  const rowsOf = (table) => [...table.querySelectorAll("tr.row")];

  const valueOf = (row, column) => {
    const cell = row.cells[column];
    return "value" in cell.dataset ? Number(cell.dataset.value) : cell.textContent.trim();
  };

  const compare = (a, b, direction) => {
    const bothNumbers = typeof a === "number" && typeof b === "number";
    if (bothNumbers) return direction * (a - b);
    // Whatever has no number (a dash, a dagger) stays below in either direction.
    if (typeof a === "number") return -1;
    if (typeof b === "number") return 1;
    return direction * a.localeCompare(b, "en");
  };

  for (const table of document.querySelectorAll("table.grid")) {
    const bodies = [...table.tBodies];
    const homes = new Map(rowsOf(table).map((row) => [row, row.parentNode]));
    const contents = bodies.map((body) => [body, [...body.rows]]);
    const sorted = document.createElement("tbody");
    const heads = [...table.querySelectorAll("tr.names th")];
    heads.forEach((head, column) => {
      head.setAttribute("aria-sort", "none");
      head.querySelector("button").addEventListener("click", () => {
        const isNumber = head.classList.contains("number");
        const cycle = isNumber
          ? { none: "descending", descending: "ascending", ascending: "none" }
          : { none: "ascending", ascending: "descending", descending: "none" };
        const order = cycle[head.getAttribute("aria-sort")];
        heads.forEach((other) => other.setAttribute("aria-sort", "none"));
        head.setAttribute("aria-sort", order);
        sorted.remove();
        bodies.forEach((body) => body.remove());
        if (order === "none") {
          contents.forEach(([body, lines]) => body.replaceChildren(...lines));
          table.append(...bodies);
        } else {
          const direction = order === "ascending" ? 1 : -1;
          const rows = [...homes.keys()].sort((a, b) =>
            compare(valueOf(a, column), valueOf(b, column), direction));
          sorted.replaceChildren(...rows);
          table.append(sorted);
        }
      });
    });
    for (const [row, body] of homes) {
      const family = body.querySelector(".family");
      row.dataset.family = family ? family.textContent.trim() : "";
      row.dataset.words = `${row.cells[0].textContent} ${family ? family.textContent : ""}`.toLowerCase();
    }
  }

  const filter = document.getElementById("filter");
  const shown = document.getElementById("shown");
  const groups = [...document.querySelectorAll("section.group")];
  const family = document.getElementById("family");
  const group = document.getElementById("group");
  const families = new Set(family ? [...family.options].map((option) => option.text) : []);
  const show = () => {
    const wanted = filter.value.trim().toLowerCase();
    const ofFamily = family ? family.value : "";
    const isFree = wanted === "" && ofFamily === "";
    let count = 0;
    for (const section of groups) {
      section.hidden = Boolean(group) && group.value !== "" && section.id !== group.value;
      for (const row of section.querySelectorAll("tr.row")) {
        // Tables that are not divided into families show all of their rows.
        const isOther = ofFamily !== "" && families.has(row.dataset.family) && row.dataset.family !== ofFamily;
        row.hidden = isOther || (wanted !== "" && !row.dataset.words.includes(wanted));
        if (!row.hidden && !section.hidden && !row.closest("[data-view][hidden]")) count += 1;
      }
      // Rows have their whole names here, so a heading is no loss while only some are shown.
      for (const heading of section.querySelectorAll("tr.heading")) heading.hidden = !isFree;
      for (const title of section.querySelectorAll("tr.family")) {
        title.hidden = ![...title.parentNode.querySelectorAll("tr.row")].some((row) => !row.hidden);
      }
      for (const run of section.querySelectorAll("details.run")) {
        const words = run.querySelector("summary").textContent + run.querySelector("dd").textContent;
        const isOther = ofFamily !== "" && !words.includes(`(${ofFamily})`);
        run.hidden = isOther || (wanted !== "" && !words.toLowerCase().includes(wanted));
      }
    }
    shown.value = isFree ? "" : `${count} ${count === 1 ? "row" : "rows"}`;
  };
  filter.addEventListener("input", show);
  for (const choice of [family, group]) if (choice) choice.addEventListener("change", show);
  const choices = document.querySelector(".choices");
  choices.hidden = !family && !group; // without this script they would do nothing

  const views = document.getElementById("views");
  if (views) {
    const choose = () => {
      const wanted = views.querySelector("input:checked").value;
      for (const part of document.querySelectorAll("[data-view]")) {
        part.hidden = wanted !== "" && part.dataset.view !== wanted;
      }
      show();
    };
    views.hidden = false;
    views.addEventListener("change", choose);
    choose();
  }

  const tip = document.createElement("div");
  tip.id = "tip";
  tip.hidden = true;
  tip.setAttribute("role", "status");
  document.body.append(tip);
  const hide = () => { tip.hidden = true; };
  // A finger is wider than a mark: the nearest one under it is meant.
  const nearest = (event) => {
    const figure = event.target.closest("svg");
    let found = null;
    let least = 24;
    for (const mark of figure ? figure.querySelectorAll(".hover") : []) {
      const box = mark.getBoundingClientRect();
      const across = Math.max(box.left - event.clientX, event.clientX - box.right, 0);
      const down = Math.max(box.top - event.clientY, event.clientY - box.bottom, 0);
      if (Math.hypot(across, down) < least) [found, least] = [mark, Math.hypot(across, down)];
    }
    return found;
  };
  document.addEventListener("click", (event) => {
    // A touch has no pointer to rest, so a tap tells what a pointer would.
    const mark = event.target.closest("svg .hover, td[title], th[title]") || nearest(event);
    if (!mark) { hide(); return; }
    const title = mark.querySelector(":scope > title");
    tip.textContent = title ? title.textContent : mark.getAttribute("title");
    tip.hidden = false;
    tip.style.left = `${Math.max(4, Math.min(event.clientX + 10, innerWidth - tip.offsetWidth - 4))}px`;
    tip.style.top = `${Math.max(4, Math.min(event.clientY + 14, innerHeight - tip.offsetHeight - 4))}px`;
  });
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") hide(); });
  document.addEventListener("scroll", hide, { passive: true, capture: true });
})();
