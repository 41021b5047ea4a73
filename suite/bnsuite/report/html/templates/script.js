(function () {
  "use strict";
  var root = document.documentElement;
  var body = document.querySelector("#table > tbody");
  var rows = Array.prototype.slice.call(body.rows);
  var input = document.getElementById("filter");
  var shown = document.getElementById("shown");
  var none = document.getElementById("none");
  var toggles = Array.prototype.slice.call(document.querySelectorAll(".toggle"));

  // Theme: the system's, until the switch is used.
  var theme = document.getElementById("theme");
  function remembered(value) {
    try {
      if (value) localStorage.setItem("bnsuite-theme", value);
      return localStorage.getItem("bnsuite-theme");
    } catch (error) {
      return value;
    }
  }
  function isDark() {
    var chosen = root.getAttribute("data-theme");
    return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  }
  if (remembered()) root.setAttribute("data-theme", remembered() === "dark" ? "dark" : "light");
  theme.hidden = false;
  theme.addEventListener("click", function () {
    var next = isDark() ? "light" : "dark";
    root.setAttribute("data-theme", next);
    remembered(next);
  });

  // Filter: part of an id, and any of the pressed verdicts.
  var ids = rows.map(function (row) { return row.cells[0].querySelector("summary").textContent.toLowerCase(); });
  function filter() {
    var words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    var pressed = toggles.filter(function (one) { return one.getAttribute("aria-pressed") === "true"; })
      .map(function (one) { return one.getAttribute("data-verdict"); });
    var count = 0;
    rows.forEach(function (row, place) {
      var fits = words.every(function (word) { return ids[place].indexOf(word) >= 0; })
        && (!pressed.length || pressed.indexOf(row.getAttribute("data-v")) >= 0);
      if (row.hidden === fits) row.hidden = !fits;
      if (fits) count += 1;
    });
    shown.textContent = count === rows.length ? rows.length + " cases" : count + " of " + rows.length + " cases";
    none.hidden = count > 0;
  }
  input.addEventListener("input", filter);
  function press(button, on) { button.setAttribute("aria-pressed", on ? "true" : "false"); }
  toggles.forEach(function (button) {
    button.addEventListener("click", function () {
      press(button, button.getAttribute("aria-pressed") !== "true");
      filter();
    });
  });
  document.querySelectorAll("a.count").forEach(function (link) {
    link.addEventListener("click", function () {
      toggles.forEach(function (one) { press(one, one.getAttribute("data-verdict") === link.getAttribute("data-verdict")); });
      filter();
    });
  });
  document.getElementById("tools").hidden = false;
  filter();

  // Sort: by a column's numbers where it has any, else by its text; rows without one come last.
  var heads = Array.prototype.slice.call(document.querySelectorAll("#table > thead th"));
  function key(row, column) {
    var cell = row.cells[column];
    if (column === 0) return cell.querySelector("summary").textContent;
    return cell.hasAttribute("data-n") ? Number(cell.getAttribute("data-n")) : null;
  }
  function sort(column) {
    var up = heads[column].getAttribute("aria-sort") !== "ascending";
    heads.forEach(function (head) { head.removeAttribute("aria-sort"); });
    heads[column].setAttribute("aria-sort", up ? "ascending" : "descending");
    var keyed = rows.map(function (row, place) { return { row: row, key: key(row, column), place: place }; });
    keyed.sort(function (one, other) {
      if (one.key === null || other.key === null) return (one.key === null) - (other.key === null) || one.place - other.place;
      var order = one.key < other.key ? -1 : one.key > other.key ? 1 : 0;
      return (up ? order : -order) || one.place - other.place;
    });
    var all = document.createDocumentFragment();
    keyed.forEach(function (one) { all.appendChild(one.row); });
    body.appendChild(all);
  }
  heads.forEach(function (head, column) {
    var button = document.createElement("button");
    button.type = "button";
    while (head.firstChild) button.appendChild(head.firstChild);
    head.appendChild(button);
    button.addEventListener("click", function () { sort(column); });
  });

  // A link to a case opens it, and shows it where a filter hides it.
  function reveal() {
    var row = /^#c\d+$/.test(location.hash) && document.getElementById(location.hash.slice(1));
    if (!row) return;
    if (row.hidden) {
      input.value = "";
      toggles.forEach(function (one) { press(one, false); });
      filter();
    }
    row.querySelector("details").open = true;
    row.scrollIntoView({ block: "start" });
  }
  addEventListener("hashchange", reveal);
  reveal();
}());
