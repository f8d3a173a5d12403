
"use strict";
// The page is whole without this. It adds sorting, filtering, a choice of light or dark, and values under the pointer.
(() => {
  const make = (tag, properties, ...children) => {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
  };

  // A narrow window has space for this many columns beside the labels, so it begins with one split point.
  const NARROW_COLUMNS = 4;
  const narrow = matchMedia("(max-width: 40rem)");

  // What a cell sorts by: its first number, or its text. Empty cells and hyphens come last in either direction.
  const keyOf = (cell) => {
    const text = cell ? cell.textContent.trim() : "";
    if (text === "" || text === "-") return null;
    const number = /^[^\d+-]{0,2}([+-]?\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?)(?![\w=])/i.exec(text);
    return number ? Number(number[1].replaceAll(",", "")) : text.toLowerCase();
  };
  const compare = (a, b) => {
    if (typeof a === typeof b) return typeof a === "number" ? a - b : a.localeCompare(b, undefined, { numeric: true });
    return typeof a === "number" ? -1 : 1;
  };

  const sortable = (table) => {
    const body = table.tBodies[0];
    const original = [...body.rows];
    const headings = [...headingsOf(table).cells];
    if (original.length < 2) return;
    headings.forEach((heading, column) => {
      const button = make("button", { type: "button" }, ...heading.childNodes);
      button.title = "Sort by this column";
      heading.append(button);
      button.addEventListener("click", () => {
        const was = heading.getAttribute("aria-sort");
        const now = was === "ascending" ? "descending" : was === "descending" ? null : "ascending";
        headings.forEach((other) => other.removeAttribute("aria-sort"));
        let rows = original;
        if (now) {
          heading.setAttribute("aria-sort", now);
          const sign = now === "ascending" ? 1 : -1;
          const keyed = original.map((row) => [keyOf(row.cells[column]), row]);
          const last = keyed.filter(([key]) => key === null);
          const rest = keyed.filter(([key]) => key !== null).sort((a, b) => sign * compare(a[0], b[0]));
          rows = [...rest, ...last].map(([, row]) => row);
        }
        body.append(...rows);
      });
    });
  };

  // Split points are the titles of groups of columns, or stand in a column of their own.
  const columnsOf = (table) => {
    let from = 1;
    return [...table.tHead.querySelectorAll('th[scope="colgroup"]')].map((group) => {
      const found = { name: group.textContent, group, from, to: from + group.colSpan };
      from = found.to;
      return found;
    });
  };
  const headingsOf = (table) => table.tHead.rows[table.tHead.rows.length - 1];
  const splitColumnOf = (table) => [...headingsOf(table).cells].findIndex((cell) => cell.textContent.trim() === "split");

  const filterable = (tables) => {
    const regions = [...tables.querySelectorAll(".scroll")];
    const parts = regions.map((region) => {
      const table = region.querySelector("table");
      const groups = tables.classList.contains("splits") ? columnsOf(table) : [];
      if (region.classList.contains("cards")) region.dataset.cards = "";
      return { region, table, rows: [...table.tBodies[0].rows], groups, column: groups.length ? -1 : splitColumnOf(table) };
    });
    const names = new Set(parts.flatMap(({ rows, groups, column }) => (
      column < 0 ? groups.map((group) => group.name) : rows.map((row) => row.cells[column].textContent))));
    names.delete("");
    if (names.size < 2 && parts[0].rows.length < 6) return;
    const wanted = make("input", { type: "search" });
    const chosen = make("select", {}, make("option", { value: "" }, "all"));
    names.forEach((name) => chosen.append(make("option", { value: name }, name)));
    const count = make("output", {});
    const apply = () => {
      const words = wanted.value.toLowerCase().split(/\s+/).filter(Boolean);
      const split = chosen.value;
      parts.forEach(({ region, table, rows, groups, column }) => {
        rows.forEach((row) => {
          const text = row.textContent.toLowerCase();
          row.hidden = !(words.every((word) => text.includes(word))
            && (column < 0 || !split || row.cells[column].textContent === split));
        });
        groups.forEach((group) => {
          group.group.hidden = Boolean(split) && group.name !== split;
          [headingsOf(table), ...rows].forEach((row) => {
            for (let i = group.from; i < group.to; i += 1) row.cells[i].hidden = group.group.hidden;
          });
        });
        region.hidden = groups.length > 0 && groups.every((group) => group.group.hidden);
        if (groups.length) {
          const columns = groups.reduce((sum, { group, from, to }) => sum + (group.hidden ? 0 : to - from), 0);
          region.classList.toggle("cards", columns > NARROW_COLUMNS && region.dataset.cards === "");
        }
      });
      const all = parts[0].rows.length;
      const shown = parts[0].rows.filter((row) => !row.hidden).length;
      count.textContent = shown < all ? `${shown} of ${all} rows` : "";
    };
    wanted.addEventListener("input", apply);
    chosen.addEventListener("change", () => { apply(); settle(); });
    const tools = make("div", { className: "tools" }, make("label", {}, "Rows with", wanted));
    if (names.size > 1) tools.append(make("label", {}, "Split point", chosen));
    tools.append(count);
    tables.prepend(tools);
    if (narrow.matches && tables.classList.contains("splits") && names.size > 1) {
      [chosen.value] = names;
      apply();
    }
  };

  // The values of a figure: under the pointer, or with the arrow keys where the figure has the focus.
  const telling = (card) => {
    const points = [...card.querySelectorAll("svg title")].map((title) => title.parentElement)
      .filter((element) => element.tagName !== "svg");
    if (!points.length) return;
    const told = make("output", { className: "told" });
    card.after(told);
    let at = -1;
    const tell = (number) => {
      if (points[at]) points[at].classList.remove("at");
      at = number;
      points[at].classList.add("at");
      told.textContent = points[at].querySelector("title").textContent;
    };
    card.dataset.points = "";
    card.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (!step) return;
      event.preventDefault();
      tell(at < 0 ? 0 : (at + step + points.length) % points.length);
    });
    card.addEventListener("pointerover", (event) => {
      const number = points.findIndex((point) => point.contains(event.target));
      if (number >= 0) tell(number);
    });
  };

  // A table that fits needs no region to scroll in: its header can stay in the window, and the Tab key need not stop.
  const regions = [...document.querySelectorAll(".scroll, .card")];
  const settle = () => regions.forEach((region) => {
    region.classList.remove("fits");
    const fits = region.scrollWidth <= region.clientWidth;
    region.classList.toggle("fits", fits);
    if (!fits || "points" in region.dataset) region.tabIndex = 0;
    else region.removeAttribute("tabindex");
  });

  // Cards are no table to assistive technology, unless its parts say what they are.
  const roles = { table: "table", tr: "row", td: "cell", "th[scope=row]": "rowheader", "th[scope=col]": "columnheader" };
  const described = (table) => Object.entries(roles).forEach(([part, role]) => {
    (part === "table" ? [table] : table.querySelectorAll(part)).forEach((element) => element.setAttribute("role", role));
  });

  // The contents close when one of them is chosen, and with the Escape key.
  const menu = document.querySelector(".menu");
  const close = (event) => {
    if (event.type === "keydown" ? event.key === "Escape" : !event.target.closest("summary")) menu.open = false;
  };
  document.addEventListener("click", close);
  document.addEventListener("keydown", close);

  const reveal = () => {
    const target = document.getElementById(location.hash.slice(1));
    for (let at = target; at; at = at.parentElement) if (at.tagName === "DETAILS") at.open = true;
    if (target) target.scrollIntoView();
  };

  const root = document.documentElement;
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const toggle = make("button", { type: "button", className: "theme" });
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : dark.matches);
  const name = () => {
    toggle.textContent = isDark() ? "\u263C" : "\u263E";
    toggle.title = isDark() ? "Light colours" : "Dark colours";
    toggle.setAttribute("aria-label", toggle.title);
  };
  toggle.addEventListener("click", () => { root.dataset.theme = isDark() ? "light" : "dark"; name(); });
  dark.addEventListener("change", name);
  name();
  document.querySelector(".bar").append(toggle);

  document.querySelectorAll(".scroll > table").forEach((table) => sortable(table));
  document.querySelectorAll(".cards > table").forEach((table) => described(table));
  document.querySelectorAll(".tables").forEach((tables) => filterable(tables));
  document.querySelectorAll(".card").forEach((card) => telling(card));
  document.querySelectorAll("details").forEach((one) => one.addEventListener("toggle", settle));
  addEventListener("resize", settle);
  addEventListener("hashchange", reveal);
  settle();
  if (location.hash) reveal();
})();
