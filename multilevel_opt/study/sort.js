// Tables whose headings sort them: a click, or Enter or Space on a heading. Without this script they are plain tables.
"use strict";
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  if (!body || body.rows.length < 2) continue;
  const headings = Array.from(table.tHead.rows[0].cells);
  headings.forEach((heading, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    heading.append(button);
    button.addEventListener("click", () => {
      const up = heading.getAttribute("aria-sort") !== "ascending";
      const key = (row) => row.cells[column].dataset.key;
      const numeric = heading.dataset.numeric === "true";
      const compare = (a, b) => numeric ? Number(a) - Number(b) || 0 : a.localeCompare(b, "en", { numeric: true });
      const rows = Array.from(body.rows);
      rows.sort((a, b) => {
        const [x, y] = [key(a), key(b)];
        if (x === "" || y === "") return (x === "") - (y === "");
        return x === y ? 0 : up ? compare(x, y) : compare(y, x);
      });
      headings.forEach((other) => other.removeAttribute("aria-sort"));
      heading.setAttribute("aria-sort", up ? "ascending" : "descending");
      body.append(...rows);
    });
  });
}
