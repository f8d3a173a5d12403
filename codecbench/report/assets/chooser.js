// The choice of device, edge, link and accepted loss: it shows one of the headlines that the page holds, and computes none.
(() => {
  const make = (tag, properties, ...children) => {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
  };
  const drawn = (tag, attributes, ...children) => {
    const element = document.createElementNS(document.querySelector(".bars svg").namespaceURI, tag);
    Object.entries(attributes).forEach(([name, value]) => element.setAttribute(name, value));
    element.append(...children);
    return element;
  };
  const sections = [...document.querySelectorAll(".headline")];

  const chooser = (section) => {
    const data = JSON.parse(section.querySelector("script").textContent);
    const chosen = [...data.chosen];
    const selects = data.lists.map(([name, values], axis) => {
      const options = values.map(([value, title]) => make("option", { value, title }, value));
      const select = make("select", { name }, ...options);
      select.addEventListener("change", () => {
        chosen[axis] = select.selectedIndex;
        show();
        history.replaceState(null, "", `#${fragment()}`);
      });
      return select;
    });

    // A fragment names the workload only where the page has several.
    const fragment = () => {
      const names = new URLSearchParams(sections.length > 1 ? { workload: data.workload } : {});
      data.lists.forEach(([name, values], axis) => names.set(name, values[chosen[axis]][0]));
      return String(names);
    };

    const bar = ([name, , cells, lengths]) => {
      let start = 0;
      const parts = lengths.map((length, i) => {
        const part = drawn("rect", { class: data.parts[i], x: `${start}%`, width: `${length}%`, height: "100%" });
        start = Math.round(10 * (start + length)) / 10;
        return part;
      });
      return make("li", {}, make("span", {}, data.texts[name]), drawn("svg", { "aria-hidden": "true" }, ...parts),
        make("span", {}, [cells[0]].flat().join("")));
    };
    const cell = (value, i, all) => {
      const element = make("td", { className: i < all.length - 1 ? "r" : "" });
      if (Array.isArray(value)) element.append(make("strong", {}, value[0]), value[1]);
      else element.append(value);
      return element;
    };
    const row = ([name, point, cells]) => {
      const label = make("th", { scope: "row" }, data.texts[name]);
      if (data.texts[point]) label.append(" ", make("small", {}, data.texts[point]));
      return make("tr", {}, label, ...cells.map(cell));
    };

    const link = make("a", {}, "Link to this choice");
    const show = () => {
      const number = data.lists.reduce((so, [, values], axis) => so * values.length + chosen[axis], 0);
      const [sentence, rows, remarks] = data.headlines[number];
      section.querySelector(".recommended").textContent = sentence;
      section.querySelector(".bars").replaceChildren(...rows.map(bar));
      section.querySelector("tbody").replaceChildren(...rows.map(row));
      section.querySelector(".remarks").replaceChildren(...remarks.map((remark) => make("li", {}, data.texts[remark])));
      selects.forEach((select, axis) => { select.selectedIndex = chosen[axis]; });
      link.href = `#${fragment()}`;
    };

    // A choice that the fragment does not make, or makes of a value that is not there, is the default.
    const follow = () => {
      const names = new URLSearchParams(location.hash.slice(1));
      if (!names.has("device") || document.getElementById(location.hash.slice(1))) return;
      if (sections.length > 1 && names.get("workload") !== data.workload) return;
      data.lists.forEach(([name, values], axis) => {
        const at = values.findIndex(([value]) => value === names.get(name));
        chosen[axis] = at < 0 ? data.chosen[axis] : at;
      });
      show();
      if (sections.length > 1) section.scrollIntoView();
    };

    const labels = { budget: `loss of ${data.metric}, at most` };
    const tools = make("div", { className: "tools chooser", role: "group", ariaLabel: "Choose" },
      ...selects.map((select) => make("label", {}, labels[select.name] ?? select.name, select)), link);
    section.querySelector(".glance").after(tools);
    section.querySelector(".recommended").setAttribute("aria-live", "polite");
    addEventListener("hashchange", follow);
    link.href = `#${fragment()}`;
    selects.forEach((select, axis) => { select.selectedIndex = chosen[axis]; });
    follow();
  };

  sections.forEach(chooser);
})();
