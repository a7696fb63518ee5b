"use strict";
// Draws the charts and shows the rows. Text of the data only ever becomes the text of an element.
(() => {
  const ROW = 46; // pixels: as in the style sheet
  const SPARE = 10;
  const SHOWN = { displayModeBar: false, responsive: true, typesetMath: false }; // a price is no formula
  const KEY = 8; // characters of a search that looks at requests too: in their keys stand any few letters
  const LONG = 80; // characters of a text that stands by itself
  const $ = (id) => document.getElementById(id);
  const root = document.documentElement;

  const element = (name, text, kind) => {
    const made = document.createElement(name);
    if (text !== undefined && text !== null) made.textContent = text;
    if (kind) made.className = kind;
    return made;
  };

  const written = (value) => (typeof value === "number" ? String(Number(value.toPrecision(5))) : String(value));
  const told = (value) => { // a cell of any type as one text
    if (Array.isArray(value)) return value.map(told).join(", ");
    if (value === null || typeof value !== "object") return written(value);
    return Object.entries(value).map(([name, one]) => `${name.replaceAll("_", " ")}: ${told(one)}`).join("; ");
  };
  const beginning = (text, longest) => (text.length <= longest ? text : `${text.slice(0, longest - 1)}…`);
  const TEXTS = ["instruction", "input", "reasoning", "output"];
  const ELSEWHERE = new Set([...TEXTS, "messages", "row_id", "drop_reason", "drop_detail", "drop_ref", "parent_id", "root_id",
    "nearest_id", "shown", "demonstrations", "requests"]); // of an opened row these stand where they belong

  // ---- light and dark
  const prefersDark = matchMedia("(prefers-color-scheme: dark)");
  let chosen = null;
  let isPrinting = false;
  const theme = () => (isPrinting ? "light" : chosen || (prefersDark.matches ? "dark" : "light"));
  const colours = () => {
    const style = getComputedStyle(root);
    const of = (name) => style.getPropertyValue(name).trim();
    const axis = { gridcolor: of("--line"), zerolinecolor: of("--line"), linecolor: of("--line") };
    return { ink: of("--ink"), soft: of("--soft"), axis };
  };
  const themed = (layout) => {
    const { ink, axis } = colours();
    const made = { ...layout, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)" };
    made.font = { ...layout.font, color: ink, size: 12, family: "system-ui, sans-serif" };
    for (const name of Object.keys(layout)) {
      if (/^[xy]axis/.test(name)) made[name] = { ...layout[name], ...axis };
    }
    return made;
  };
  const plots = [];
  const wear = () => {
    root.dataset.theme = theme();
    $("theme").textContent = theme() === "dark" ? "Light" : "Dark";
    for (const [place, figure] of plots) {
      Plotly.react(place, figure.data, themed(figure.layout), SHOWN);
    }
  };
  $("theme").addEventListener("click", () => { chosen = theme() === "dark" ? "light" : "dark"; wear(); });
  prefersDark.addEventListener("change", wear);
  addEventListener("beforeprint", () => { isPrinting = true; wear(); });
  addEventListener("afterprint", () => { isPrinting = false; wear(); });
  wear();

  // ---- the data
  const unpack = async () => {
    const packed = Uint8Array.from(atob($("data").textContent), (sign) => sign.charCodeAt(0));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
    return JSON.parse(await new Response(stream).text());
  };

  const draw = (figures) => {
    const places = [...document.querySelectorAll("[data-figure]")];
    const next = () => {
      const place = places.shift();
      if (!place) return;
      const figure = figures[Number(place.dataset.figure)];
      plots.push([place, figure]);
      Plotly.newPlot(place, figure.data, themed(figure.layout), SHOWN);
      setTimeout(next); // a chart at a time, so that the page answers meanwhile
    };
    next();
  };

  // ---- the rows
  const start = (data) => {
    const rows = [];
    const byId = new Map(); // of each run by itself: two runs have the same ids
    const others = data.runs.map((run) => run.others);
    const textsIn = (value) => {
      if (typeof value === "string") return [value];
      return value && typeof value === "object" ? Object.values(value).flatMap(textsIn) : [];
    };
    data.runs.forEach((run, number) => {
      for (const row of run.rows) {
        const { requests, stage, ...shown } = row;
        row.found = textsIn(shown).join("\n").toLowerCase();
        row.asked = textsIn(requests).join("\n").toLowerCase();
        row.run = number;
        rows.push(row);
        byId.set(`${number} ${row.row_id}`, row);
      }
    });
    const referring = (name) => { // the rows that name another there, by that one
      const found = new Map();
      for (const row of rows) {
        if (row[name]) {
          const key = `${row.run} ${row[name]}`;
          if (!found.has(key)) found.set(key, []);
          found.get(key).push(row.row_id);
        }
      }
      return (row) => found.get(`${row.run} ${row.row_id}`) || [];
    };
    const madeOf = referring("parent_id");
    const droppedFor = referring("drop_ref");

    const options = (select, first, values) => {
      const before = select.value;
      select.replaceChildren(new Option(first, ""), ...values.map((value) => new Option(value, value)));
      select.value = values.includes(before) ? before : "";
    };
    const unique = (values) => [...new Set(values)];
    const isOfRun = (row) => !$("run") || $("run").value === "" || data.runs[row.run].name === $("run").value;
    if ($("run")) options($("run"), "both", data.runs.map((run) => run.name));
    const refill = () => {
      const there = rows.filter(isOfRun);
      options($("stage"), "all", unique(there.map((row) => row.stage)));
      const stage = $("stage").value;
      const dropped = there.filter((row) => !row.is_kept && (!stage || row.stage === stage));
      options($("reason"), "all", unique(dropped.map((row) => row.drop_reason)).sort());
    };
    refill();
    const scores = data.columns.filter(([, isNumber]) => isNumber).map(([name]) => name);
    options($("sort"), "place", scores.filter((name) => rows.some((row) => Object.hasOwn(row, name)))
      .concat(["instruction length", "output length"]));

    const valueOf = (row, name) => {
      if (name === "instruction length") return (row.instruction || "").length;
      if (name === "output length") return (row.output || "").length;
      const value = row[name];
      return typeof value === "number" ? value : undefined; // what is infinite comes as a word
    };

    let shown = rows;
    let selected = null;
    const choose = () => {
      const words = $("search").value.toLowerCase();
      const outcome = $("outcome").value;
      const stage = $("stage").value;
      const reason = $("reason").value;
      shown = rows.filter((row) => isOfRun(row)
        && (!outcome || row.is_kept === (outcome === "kept"))
        && (!stage || row.stage === stage)
        && (!reason || row.drop_reason === reason)
        && (!words || row.found.includes(words) || (words.length >= KEY && row.asked.includes(words))));
      const by = $("sort").value;
      if (by) {
        const sign = $("descending").checked ? -1 : 1;
        shown.sort((a, b) => {
          const x = valueOf(a, by), y = valueOf(b, by);
          if (x === undefined || y === undefined) return (x === undefined) - (y === undefined);
          return sign * (x - y);
        });
      }
      $("count").textContent = `${shown.length.toLocaleString("en")} of ${rows.length.toLocaleString("en")} rows`;
      $("space").style.height = `${shown.length * ROW}px`;
      $("list").scrollTop = 0;
      paint();
    };

    const line = (row, at) => {
      const made = element("div", null, "row");
      made.setAttribute("role", "option");
      made.setAttribute("aria-selected", String(row === selected));
      made.dataset.at = at;
      made.append(element("b", beginning(row.instruction || "", 300)));
      const by = $("sort").value;
      const value = by ? valueOf(row, by) : undefined;
      const why = row.is_kept ? "kept" : `dropped by ${row.stage}: ${row.drop_reason}`;
      made.append(element("small", why, row.is_kept ? "kept" : "dropped"));
      made.append(element("small", value === undefined ? row.row_id : `${by.replaceAll("_", " ")} ${written(value)}`));
      return made;
    };
    const paint = () => {
      const list = $("list");
      const first = Math.max(Math.floor(list.scrollTop / ROW) - SPARE, 0);
      const last = Math.min(first + Math.ceil(list.clientHeight / ROW) + 2 * SPARE, shown.length);
      $("window").style.top = `${first * ROW}px`;
      $("window").replaceChildren(...shown.slice(first, last).map((row, at) => line(row, first + at)));
    };

    const link = (run, id) => {
      const item = element("li");
      const row = byId.get(`${run} ${id}`);
      if (row) {
        const button = element("button", id, "link");
        button.type = "button";
        button.addEventListener("click", () => open(row));
        item.append(button, ` ${beginning(row.instruction || "", 200)}`);
      } else {
        const text = Object.hasOwn(others[run], id) ? others[run][id] : undefined;
        item.append(element("strong", id), text === undefined ? "" : ` ${text}`);
      }
      return item;
    };
    const open = (row) => {
      selected = row;
      const detail = $("detail");
      detail.replaceChildren();
      detail.append(element("h3", row.row_id));
      if (data.runs.length > 1) detail.append(element("p", `of ${data.runs[row.run].name}`, "said"));
      detail.append(row.is_kept
        ? element("p", `Kept by all stages to ${row.stage}.`, "kept")
        : element("p", `Dropped by ${row.stage}: ${row.drop_reason}${row.drop_detail ? `, ${row.drop_detail}` : ""}`, "dropped"));
      const leftOut = (name) => {
        const [characters, entries] = (row.cut && row.cut[name]) || [0, 0];
        if (!characters && !entries) return;
        const said = `${characters.toLocaleString("en")} more characters`
          + (entries ? `, with ${entries.toLocaleString("en")} more entries,` : "");
        detail.append(element("p", `${said} of ${name.replaceAll("_", " ")} are not on this page.`, "said"));
      };
      leftOut("drop_detail");
      const block = (title, text) => detail.append(element("h4", title), element("pre", text));
      for (const name of TEXTS.filter((one) => row[one] !== undefined)) {
        block(name, row[name]);
        leftOut(name);
      }
      if (row.messages) {
        detail.append(element("h4", "conversation"));
        for (const { role, content } of row.messages) block(role || "", content || "");
        leftOut("messages");
      }
      const others = data.columns.map(([name]) => name).filter((name) => Object.hasOwn(row, name) && !ELSEWHERE.has(name));
      const isLine = (name) => {
        const value = row[name];
        return typeof value === "object" ? value.every((one) => typeof one !== "object")
          : typeof value !== "string" || (value.length <= LONG && !value.includes("\n"));
      };
      const lines = others.filter(isLine);
      if (lines.length) {
        detail.append(element("h4", "what is known of it"));
        const list = element("ul");
        for (const name of lines) list.append(element("li", `${name.replaceAll("_", " ")}: ${told(row[name])}`));
        detail.append(list);
        lines.forEach(leftOut);
      }
      for (const name of others.filter((one) => !isLine(one))) {
        if (typeof row[name] === "string") {
          block(name.replaceAll("_", " "), row[name]);
        } else {
          const list = element("ul");
          for (const one of row[name]) list.append(element("li", told(one)));
          detail.append(element("h4", name.replaceAll("_", " ")), list);
        }
        leftOut(name);
      }
      const lineage = [["it met", [row.drop_ref]], ["made from", [row.parent_id]],
        ["goes back to", row.root_id === row.row_id ? [] : [row.root_id]],
        ["made into", madeOf(row)], ["most similar", [row.nearest_id]],
        ["dropped for being like it", droppedFor(row)], ["shown to the teacher", row.shown || []],
        ["demonstrations", row.demonstrations || []]];
      for (const [title, ids] of lineage) {
        const there = ids.filter(Boolean);
        if (!there.length) continue;
        const list = element("ul", null, "lineage");
        list.append(...there.map((id) => link(row.run, id)));
        detail.append(element("h4", title), list);
      }
      if (row.requests) {
        detail.append(element("h4", "asked for by"));
        const list = element("ul");
        for (const { stage, template, model, key } of row.requests) {
          list.append(element("li", `${stage}: ${template}, ${model}, reply ${key}`));
        }
        detail.append(list);
        leftOut("requests");
      }
      detail.scrollTop = 0;
      paint();
    };

    $("filters").addEventListener("input", (event) => {
      if (event.target.id === "stage" || event.target.id === "run") refill();
      choose();
    });
    $("filters").addEventListener("submit", (event) => event.preventDefault());
    $("list").addEventListener("scroll", () => requestAnimationFrame(paint), { passive: true });
    addEventListener("resize", () => requestAnimationFrame(paint));
    $("list").addEventListener("click", (event) => {
      const found = event.target.closest(".row");
      if (found) open(shown[Number(found.dataset.at)]);
    });
    $("list").addEventListener("keydown", (event) => {
      const step = { ArrowDown: 1, ArrowUp: -1, PageDown: 10, PageUp: -10 }[event.key];
      if (!step || !shown.length) return;
      event.preventDefault();
      const at = Math.min(Math.max(shown.indexOf(selected) + step, 0), shown.length - 1);
      const list = $("list");
      if (at * ROW < list.scrollTop) list.scrollTop = at * ROW;
      if ((at + 1) * ROW > list.scrollTop + list.clientHeight) list.scrollTop = (at + 1) * ROW - list.clientHeight;
      open(shown[at]);
    });
    choose();
    root.dataset.ready = "rows";
  };

  requestAnimationFrame(() => setTimeout(async () => { // once the page is there to be looked at
    const data = await unpack();
    start(data);
    draw(data.figures);
  }));
})();
