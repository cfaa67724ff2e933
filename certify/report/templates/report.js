"use strict";
// Filter and sort the table of all gates. The page says everything without this; nothing is hidden until asked for.
{
  const gates = document.getElementById("gates");
  const rows = [...gates.querySelectorAll("tbody tr")];
  const labelled = (text, control) => {
    const label = document.createElement("label");
    label.append(text + " ", control);
    return label;
  };
  const choice = (names) => {
    const select = document.createElement("select");
    for (const name of names) select.append(new Option(name));
    return select;
  };
  const by = (name) => (a, b) => a.dataset[name] - b.dataset[name];
  const named = (row) => row.querySelector("th").textContent;
  const orders = {
    "worst first": by("number"),
    "closest to its limit": by("room"),
    "fewest counted": by("counted"),
    "name": (a, b) => named(a).localeCompare(named(b), "en", { numeric: true }),
  };
  const words = document.createElement("input");
  words.type = "search";
  const verdict = choice(["all", ...new Set(rows.map((row) => row.dataset.outcome))]);
  const order = choice(Object.keys(orders));
  const shown = document.createElement("p");
  shown.setAttribute("role", "status");
  const apply = () => {
    const asked = words.value.toLowerCase().split(/\s+/);
    for (const row of rows) {
      const text = named(row).toLowerCase();
      row.hidden = !asked.every((word) => text.includes(word))
        || (verdict.value !== "all" && verdict.value !== row.dataset.outcome);
    }
    for (const table of gates.querySelectorAll("table")) {
      const own = [...table.tBodies[0].rows].sort(by("number")).sort(orders[order.value]);
      table.tBodies[0].append(...own);
      table.hidden = own.every((row) => row.hidden);
    }
    const left = rows.filter((row) => !row.hidden).length;
    shown.textContent = left < rows.length ? `${left} of ${rows.length} gates shown, the rest is filtered out` : "";
  };
  if (rows.length > 1) {
    const tools = document.createElement("div");
    tools.className = "tools";
    tools.append(labelled("Find", words), labelled("Verdict", verdict), labelled("Sort", order), shown);
    tools.addEventListener("input", apply);
    gates.querySelector("summary").after(tools);
  }
}
