"use strict";
// A table sorts by the first row of each of its bodies, which stay whole; numbers by value, all else by text.
const keyOf = (body, column) => {
  const text = body.rows[0].cells[column].textContent.trim();
  const match = text.match(/^[a-z< ]*([+-]?\d[\d,]*\.?\d*(?:e[+-]?\d+)?)/i);
  return { text, number: match ? Number(match[1].replaceAll(",", "")) : NaN };
};
for (const button of document.querySelectorAll("thead button")) {
  button.addEventListener("click", () => {
    const head = button.closest("th"), table = button.closest("table");
    const ascending = head.getAttribute("aria-sort") !== "ascending";
    for (const other of head.parentElement.cells) other.setAttribute("aria-sort", "none");
    head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
    const bodies = [...table.tBodies].map((body) => ({ body, key: keyOf(body, head.cellIndex) }));
    const allNumbers = bodies.every(({ key }) => !Number.isNaN(key.number) || key.text === "-" || key.text === "");
    const byNumber = (a, b) => {
      const missing = Number.isNaN(a.number) - Number.isNaN(b.number);  // absent values stay last
      return missing || (ascending ? a.number - b.number : b.number - a.number);
    };
    const byText = (a, b) => (ascending ? 1 : -1) * a.text.localeCompare(b.text, "en", { numeric: true });
    bodies.sort((a, b) => (allNumbers ? byNumber : byText)(a.key, b.key));
    for (const { body } of bodies) table.append(body);
  });
}
let folded = [];
addEventListener("beforeprint", () => {
  folded = [...document.querySelectorAll("details:not([open])")];
  for (const one of folded) one.open = true;
});
addEventListener("afterprint", () => { for (const one of folded) one.open = false; });
const unfold = () => {
  const target = document.getElementById(location.hash.slice(1));
  for (let one = target; one; one = one.parentElement) if (one.tagName === "DETAILS") one.open = true;
  if (target) target.scrollIntoView();
};
addEventListener("hashchange", unfold);
if (location.hash) unfold();
